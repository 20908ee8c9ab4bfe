//! The bench as a program: measures, prints a page, and writes what was found below a tree.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use portcullis_bench_load::Choice;
use portcullis_bench_scale::{Extent, Plan, run};

/// Measures large configurations and their changes.
#[derive(Parser)]
struct Arguments {
    /// What is measured: `nginx`, `haproxy`, `envoy` or `traefik` and its program; any other name is a build of the gateway.
    #[arg(long = "subject", value_name = "NAME=PROGRAM")]
    subjects: Vec<Choice>,
    /// Only the scenarios whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// One round, shorter phases, fewer changes.
    #[arg(long)]
    quick: bool,
    /// How the gateway was built, in words for the report.
    #[arg(long, default_value = "", hide_default_value = true)]
    built: String,
    /// Writes the results into this tree: all of them beside a page for people, or those of `--only` by its name.
    #[arg(long, value_name = "ROOT")]
    write: Option<PathBuf>,
}

/// A whole run: rounds, and what each is.
const WHOLE: (u32, Extent) = (
    2,
    Extent {
        settled: Duration::from_secs(2),
        samples: 5,
        requests: 6_000,
        additions: (3_000, 200),
        adding: Duration::from_secs(30),
        phase: Duration::from_secs(5),
        routes: 1_000,
        outages: 2,
    },
);
/// A quick one.
const QUICK: (u32, Extent) = (
    1,
    Extent {
        settled: Duration::from_secs(2),
        samples: 3,
        requests: 3_000,
        additions: (300, 20),
        adding: Duration::from_secs(10),
        phase: Duration::from_secs(3),
        routes: 200,
        outages: 1,
    },
);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (rounds, extent) = if arguments.quick { QUICK } else { WHOLE };
    let plan = Plan {
        choices: arguments.subjects,
        only: arguments.only,
        rounds,
        extent,
        quick: arguments.quick,
        built: arguments.built,
    };
    let report = run(&plan)?;
    println!("{report}");
    if let Some(root) = &arguments.write {
        report.write(root)?;
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("!!! {failure}");
    }
    // A peer that loses requests is a finding and no failure of the bench.
    let ours = failures.iter().any(|failure| failure.starts_with("portcullis "));
    Ok(if ours { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
