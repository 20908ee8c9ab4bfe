//! What one request costs: CPU time of a gateway per request, for several builds and for nginx, in turn.
//!
//! Every subject stands between the same backend and the same load, with one worker on a core of its own, JSON
//! access log and metrics on. Rounds go through all subjects one after the other, so that whatever else the
//! machine does hits each alike; the median of the rounds counts, and the spread is told.

mod backend;
mod cpu;
mod load;
mod report;
mod subject;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::backend::Backend;
use crate::load::{Run, WORKLOADS, Workload};
use crate::report::Report;
use crate::subject::{Choice, Site};

/// Measures CPU time per request.
#[derive(Parser)]
struct Arguments {
    /// What is measured: `NAME=PATH` for a built gateway, `nginx` for the one of this machine.
    #[arg(long = "subject", value_name = "NAME=PATH|nginx", required = true)]
    subjects: Vec<Choice>,
    /// Only the workloads whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// How often each subject is measured under each workload.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Per cent of the usual number of requests.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    percent: u32,
    /// Writes every single figure to this file, as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // The load, and all that is started from here, stays off the subject's core.
    let cores = cpu::cores()?;
    cpu::stay_on(cores.load)?;
    let backend = Backend::start()?;
    let site = Site::new(backend.address())?;
    let wanted =
        |workload: &&Workload| arguments.only.as_ref().is_none_or(|part| workload.name.contains(part));
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(wanted).collect();
    ensure!(!workloads.is_empty(), "no workload has this name; there are {}", load::names());

    let mut subjects = Vec::new();
    for choice in &arguments.subjects {
        subjects.push(choice.start(&site, cores.subject).with_context(|| format!("starting {choice}"))?);
    }
    let mut report = Report::default();
    let watched = io::stderr().is_terminal();
    for workload in workloads {
        let requests = workload.requests * u64::from(arguments.percent) / 100;
        for subject in &subjects {
            // Connections to the backend, allocator and branch predictors get used to it.
            Run::of(workload, subject, requests / 10 + 1)?;
        }
        for round in 0..arguments.rounds {
            if watched {
                eprint!("\r{:<24} round {} of {}", workload.name, round + 1, arguments.rounds);
            }
            for subject in &subjects {
                report.add(workload, subject.name(), Run::of(workload, subject, requests)?);
            }
        }
        if watched {
            eprintln!();
        }
    }
    println!("{report}");
    if let Some(path) = &arguments.output {
        fs::write(path, report.json()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
