//! `bench`: what is promised about speed and steadiness, measured.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, find, run, step};
use crate::setup;
use crate::workspace::{Workspace, root};

/// What is measured.
#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// A hundred swaps a second of everything under load of every kind; fails when anything was lost.
    Swap {
        /// How long, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// CPU time a request, of this tree's gateway, of other builds of it, and of nginx where it is installed.
    Load {
        /// Another built gateway to compare with; may be given again.
        #[arg(long)]
        against: Vec<PathBuf>,
        /// Only the loads whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// The release profile and fewer requests: builds and measures in a minute or two.
        #[arg(long)]
        quick: bool,
        /// Writes every single figure to this file, as JSON.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Starting with many hosts, and how soon one change among them is served.
    Scale {
        /// Another built gateway instead of this tree's.
        #[arg(long)]
        binary: Option<PathBuf>,
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
        Bench::Load { against, only, quick, output } => {
            load(against, only.as_deref(), *quick, output.as_deref())
        }
        Bench::Scale { binary } => scale(binary.as_deref()),
        Bench::Micro { filter } => micro(filter.as_deref()),
    }
}

/// The builds stand in the order given, this tree's last: the table tells what it costs to the first.
fn load(against: &[PathBuf], only: Option<&str>, quick: bool, output: Option<&Path>) -> Result<()> {
    setup::setup()?;
    let profile = if quick { "release" } else { "dist" };
    step(&format!("building with the profile {profile}"));
    let build = ["build", "--profile", profile, "--package", "portcullis", "--bin", "portcullis"];
    run(cargo().args(build).current_dir(root()))?;
    let built = Workspace::load()?.target.join(profile).join("portcullis");
    step("load");
    let mut command = cargo();
    command.args(["run", "--release", "--package", "portcullis-bench-load", "--"]).current_dir(root());
    for (number, path) in against.iter().enumerate() {
        command.arg("--subject").arg(format!("build-{}={}", number + 1, path.display()));
    }
    command.arg("--subject").arg(format!("portcullis={}", built.display()));
    if find("nginx").is_some() {
        command.args(["--subject", "nginx"]);
    }
    if let Some(part) = only {
        command.args(["--only", part]);
    }
    if quick {
        command.args(["--rounds", "5", "--percent", "50"]);
    }
    if let Some(path) = output {
        command.arg("--output").arg(path);
    }
    run(&mut command)
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

fn scale(binary: Option<&Path>) -> Result<()> {
    let built = match binary {
        Some(binary) => binary.to_owned(),
        None => {
            step("building");
            let build = ["build", "--release", "--package", "portcullis", "--bin", "portcullis"];
            run(cargo().args(build).current_dir(root()))?;
            Workspace::load()?.target.join("release").join("portcullis")
        }
    };
    step("scale");
    let mut command = cargo();
    command.args(["run", "--release", "--package", "portcullis-bench-scale"]);
    run(command.env("PORTCULLIS_TEST_BINARY", built).current_dir(root()))
}

fn micro(filter: Option<&str>) -> Result<()> {
    step("micro-benchmarks");
    let mut command = cargo();
    command.args(["bench", "--package", "portcullis-bench-micro", "--benches", "--"]).args(filter);
    run(command.current_dir(root()))
}
