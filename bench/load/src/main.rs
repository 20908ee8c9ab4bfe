//! The bench as a program: measures, prints a table, and writes what was found below a tree.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use portcullis_bench_load::{Choice, Places, Plan, compare, redraw, run};

/// Measures what work costs.
#[derive(Parser)]
struct Arguments {
    /// What is measured: `nginx`, `haproxy`, `envoy`, `caddy`, `traefik`, `pingora` or `forwarder` and its program; any
    /// other name is a build of the gateway.
    #[arg(long = "subject", value_name = "NAME=PROGRAM")]
    subjects: Vec<Choice>,
    /// Only the workload of this name, or those whose name contains it.
    #[arg(long)]
    only: Option<String>,
    /// How often each subject is measured under each workload.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes, in milliseconds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    milliseconds: u64,
    /// Idle connections.
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Fewer rounds, shorter measurements, fewer connections.
    #[arg(long)]
    quick: bool,
    /// How the gateway was built, in words for the report.
    #[arg(long, default_value = "", hide_default_value = true)]
    built: String,
    /// Writes results, table and plots into this tree; its README shows them when everything was measured.
    #[arg(long, value_name = "ROOT")]
    write: Option<PathBuf>,
    /// Keeps the results as this host's baseline.
    #[arg(long, requires = "write")]
    keep: bool,
    /// Measures nothing, and compares the newest results of this tree with this host's baseline.
    #[arg(long, value_name = "ROOT", conflicts_with = "subjects")]
    compare: Option<PathBuf>,
    /// Measures nothing, and writes table, plots and README of this tree anew from its newest whole results.
    #[arg(long, value_name = "ROOT", conflicts_with_all = ["subjects", "compare"])]
    redraw: Option<PathBuf>,
}

/// What a quick run is: rounds, milliseconds, connections.
const QUICK: (u32, u64, u64) = (3, 700, 2_000);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(root) = &arguments.compare {
        println!("{}", compare(&Places::of(root))?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(root) = &arguments.redraw {
        redraw(&Places::of(root))?;
        return Ok(ExitCode::SUCCESS);
    }
    let thorough = (arguments.rounds, arguments.milliseconds, arguments.connections);
    let (rounds, milliseconds, connections) = if arguments.quick { QUICK } else { thorough };
    let plan = Plan {
        choices: arguments.subjects,
        only: arguments.only,
        rounds,
        time: Duration::from_millis(milliseconds),
        connections,
        quick: arguments.quick,
        built: arguments.built,
    };
    let report = run(&plan)?;
    println!("{report}");
    if let Some(root) = &arguments.write {
        report.write(&Places::of(root), arguments.keep)?;
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("!!! {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
