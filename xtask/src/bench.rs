//! `bench`: what is promised about speed and steadiness, measured.

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, run, step};
use crate::setup;
use crate::workspace::root;

/// What is measured.
#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// A hundred swaps a second of everything under load of every kind; fails when anything was lost.
    Swap {
        /// How long, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Small pieces: look-up, compile, pick, a log line, a request's counts.
    Micro {
        /// Only the benchmarks whose name contains this.
        filter: Option<String>,
    },
}

/// The command.
pub(crate) fn command(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Swap { seconds } => swap(*seconds),
        Bench::Micro { filter } => micro(filter.as_deref()),
    }
}

fn swap(seconds: u64) -> Result<()> {
    let parts = setup::setup()?;
    step("hot swap");
    let mut command = cargo();
    command.args(["run", "--release", "--package", "portcullis-bench-swap", "--"]);
    command.args(["--seconds", &seconds.to_string()]).current_dir(root());
    parts.tell(&mut command);
    run(&mut command)
}

fn micro(filter: Option<&str>) -> Result<()> {
    step("micro-benchmarks");
    let mut command = cargo();
    command.args(["bench", "--package", "portcullis-bench-micro", "--benches", "--"]).args(filter);
    run(command.current_dir(root()))
}
