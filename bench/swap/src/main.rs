//! Hot swap under load, as a program: prints its report, and ends with status 1 when something was violated.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use portcullis_bench_swap::{Plan, run};

/// The gateway's own, so that its memory is what is looked at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Replaces the whole routing state many times a second under load of every kind.
#[derive(Parser)]
struct Arguments {
    /// How long, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Load without swaps before that, for comparison, in seconds.
    #[arg(long, default_value_t = 5)]
    still: u64,
    /// Swaps a second.
    #[arg(long, default_value_t = Plan::RATE)]
    rate: u32,
    /// Worker threads of the gateway.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let report = run(&Plan {
        still: Duration::from_secs(arguments.still),
        swapping: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        workers: arguments.workers,
    })?;
    println!("{report}");
    let violations = report.violations();
    for violation in &violations {
        println!("VIOLATED: {violation}");
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
