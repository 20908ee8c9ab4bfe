//! `bench`: what is promised about speed and steadiness, measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::flame;
use crate::process::{cargo, repeat_loud, run, step};
use crate::setup;
use crate::workspace::{Workspace, root};

/// What is measured.
#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// The same as without a word: what work costs, beside the peers.
    Load(Load),
    /// A hundred swaps a second of everything under load of every kind; fails when anything was lost.
    Swap {
        /// How long, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Starting with many hosts, and how soon one change among them is served.
    Scale {
        /// Another built gateway instead of this tree's.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Where the gateway's CPU time goes under a workload, drawn as a flame graph.
    Flame {
        /// Workloads by name; some usual ones where none is named.
        workloads: Vec<String>,
    },
    /// Small pieces: look-up, compile, pick, a log line, a request's counts.
    Micro {
        /// Only the benchmarks whose name contains this.
        filter: Option<String>,
        /// Keeps the figures under this name.
        #[arg(long)]
        save_baseline: Option<String>,
        /// Compares with what was kept under this name, instead of with the last run.
        #[arg(long, conflicts_with = "save_baseline")]
        baseline: Option<String>,
    },
}

/// CPU time, memory and latency of this tree's gateway beside its peers, under the same load.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// Fewer and shorter rounds, and the release profile: some ten minutes instead of forty.
    #[arg(long)]
    quick: bool,
    /// Only the workloads whose name contains this; table and README stay as they are.
    #[arg(long)]
    only: Option<String>,
    /// Only this peer; may be given again. `none` measures the gateway alone.
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Another built gateway to compare with; may be given again.
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
    /// Keeps the results in bench/baselines, by host and commit.
    #[arg(long)]
    keep: bool,
    /// Measures nothing, and says what has moved between this host's baseline and the newest results.
    #[arg(long, exclusive = true)]
    compare: bool,
}

/// The command.
pub(crate) fn command(load_options: &Load, bench: Option<&Bench>) -> Result<()> {
    match bench {
        None => load(load_options),
        Some(Bench::Load(options)) => load(options),
        Some(Bench::Swap { seconds }) => swap(*seconds),
        Some(Bench::Scale { binary }) => scale(binary.as_deref()),
        Some(Bench::Flame { workloads }) => flame::command(workloads),
        Some(Bench::Micro { filter, save_baseline, baseline }) => {
            micro(filter.as_deref(), save_baseline.as_deref(), baseline.as_deref())
        }
    }
}

/// This tree's build comes first: the tables tell the others' ratios to it.
fn load(options: &Load) -> Result<()> {
    if options.compare {
        return run(harness().arg("--compare").arg(root()));
    }
    let peers = match options.peers.as_slice() {
        [none] if none == "none" => Vec::new(),
        wanted => setup::peers(wanted)?,
    };
    let profile = if options.quick { "release" } else { "dist" };
    step(&format!("building with the profile {profile}"));
    let build = ["build", "--profile", profile, "--package", "portcullis", "--bin", "portcullis"];
    run(cargo().args(build).current_dir(root()))?;
    let built = Workspace::load()?.target.join(profile).join("portcullis");
    step("load");
    let mut command = harness();
    let mut subject = |name: &str, program: &Path| {
        command.arg("--subject").arg(format!("{name}={}", program.display()));
    };
    subject("portcullis", &built);
    for (number, path) in options.against.iter().enumerate() {
        subject(&format!("build-{}", number + 1), path);
    }
    for (name, program) in &peers {
        subject(name, program);
    }
    command.arg("--write").arg(root());
    if let Some(part) = &options.only {
        command.args(["--only", part]);
    }
    if options.quick {
        command.arg("--quick");
    }
    if options.keep {
        command.arg("--keep");
    }
    setup::tell_path(&mut command);
    let done = run(&mut command);
    repeat_loud();
    done
}

/// The program of `bench/load`.
fn harness() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "portcullis-bench-load", "--"]);
    command.current_dir(root());
    command
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

fn micro(filter: Option<&str>, save: Option<&str>, baseline: Option<&str>) -> Result<()> {
    step("micro-benchmarks");
    let mut command = cargo();
    command.args(["bench", "--package", "portcullis-bench-micro", "--benches", "--"]).args(filter);
    for (flag, name) in [("--save-baseline", save), ("--baseline", baseline)] {
        if let Some(name) = name {
            command.args([flag, name]);
        }
    }
    run(command.current_dir(root()))
}
