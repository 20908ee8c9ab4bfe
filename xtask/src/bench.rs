//! `bench`: what is promised about speed and steadiness, measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::dist::program::{self, Guide};
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
    /// Where the gateway's CPU time goes under a workload, drawn as a flame graph.
    Flame {
        /// Workloads by name; some usual ones where none is named.
        workloads: Vec<String>,
    },
    /// Large configurations and their changes, beside the peers.
    Scale(Scale),
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

/// Who is measured.
#[derive(Args, Debug)]
struct Subjects {
    /// Only this peer; may be given again. `none` measures the gateway alone.
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// This program instead of one of this tree: what `dist` has made, say.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Another built gateway to compare with; may be given again.
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
}

/// CPU time, memory and latency of this tree's gateway beside its peers, under the same load.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// Fewer and shorter rounds, and the release profile: some ten minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// Only the workload of this name, or those whose name contains it; table and README stay as they are.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    subjects: Subjects,
    /// Keeps the results in bench/baselines, by host and commit.
    #[arg(long)]
    keep: bool,
    /// Measures nothing, and says what has moved between this host's baseline and the newest results.
    #[arg(long, exclusive = true)]
    compare: bool,
}

/// Load time, memory, the cost of a look-up and how soon a change is served, of this tree's gateway beside its peers.
#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// One round, fewer changes and the release profile.
    #[arg(long)]
    quick: bool,
    /// Only the scenario of this name, or those whose name contains it; the page stays as it is.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    subjects: Subjects,
}

/// The command.
pub(crate) fn command(load_options: &Load, bench: Option<&Bench>) -> Result<()> {
    match bench {
        None => load(load_options),
        Some(Bench::Load(options)) => load(options),
        Some(Bench::Swap { seconds }) => swap(*seconds),
        Some(Bench::Flame { workloads }) => flame::command(workloads),
        Some(Bench::Scale(options)) => scale(options),
        Some(Bench::Micro { filter, save_baseline, baseline }) => {
            micro(filter.as_deref(), save_baseline.as_deref(), baseline.as_deref())
        }
    }
}

fn load(options: &Load) -> Result<()> {
    if options.compare {
        return run(harness(LOAD).arg("--compare").arg(root()));
    }
    let peers = match options.subjects.peers.as_slice() {
        [none] if none == "none" => Vec::new(),
        wanted => setup::peers(wanted)?,
    };
    let built = build(options.quick, options.subjects.binary.as_deref())?;
    step("load");
    let mut command = harness(LOAD);
    subjects(&mut command, &built, &options.subjects.against, &peers)?;
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

/// The gateway, and in words how it was built: as it is shipped, or in less time, or before.
fn build(quick: bool, built: Option<&Path>) -> Result<(PathBuf, String)> {
    if let Some(built) = built {
        let shown = built.file_name().unwrap_or(built.as_os_str()).display();
        return Ok((whole(built)?, format!("as {shown}")));
    }
    if !quick {
        return Ok((program::build(&Guide::Counted)?.program, "as shipped".to_owned()));
    }
    step("building with the profile release");
    let build = ["build", "--release", "--package", "portcullis", "--bin", "portcullis"];
    run(cargo().args(build).current_dir(root()))?;
    Ok((Workspace::load()?.target.join("release/portcullis"), "profile release".to_owned()))
}

/// This tree's build comes first: the tables tell the others' ratios to it.
fn subjects(
    command: &mut Command,
    (built, how): &(PathBuf, String),
    others: &[PathBuf],
    peers: &[(&str, PathBuf)],
) -> Result<()> {
    command.args(["--built", how]);
    let mut subject = |name: &str, program: &Path| {
        command.arg("--subject").arg(format!("{name}={}", program.display()));
    };
    subject("portcullis", built);
    for (number, path) in others.iter().enumerate() {
        subject(&format!("build-{}", number + 1), &whole(path)?);
    }
    for (name, program) in peers {
        subject(name, program);
    }
    Ok(())
}

/// The whole path of a program: subjects run in folders of their own.
fn whole(program: &Path) -> Result<PathBuf> {
    program.canonicalize().with_context(|| format!("{} is not there", program.display()))
}

/// The packages of the harnesses.
const LOAD: &str = "portcullis-bench-load";
const SCALE: &str = "portcullis-bench-scale";

/// A program that measures.
fn harness(package: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", package, "--"]);
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

/// Peers that can be told thousands of hosts, and learn of changes.
const SCALED: [&str; 4] = ["nginx", "haproxy", "envoy", "traefik"];
/// Scenarios that need an API server, which takes long to build.
const OF_CLUSTER: [&str; 3] = ["attached-routes", "probe-api", "route-scale"];

fn scale(options: &Scale) -> Result<()> {
    let peers = match options.subjects.peers.as_slice() {
        [none] if none == "none" => Vec::new(),
        [] => setup::peers(&SCALED.map(str::to_owned))?,
        wanted => setup::peers(wanted)?,
    };
    let wants_cluster =
        options.only.as_ref().is_none_or(|only| OF_CLUSTER.iter().any(|name| name.contains(only)));
    let apiserver = if wants_cluster { setup::apiserver()? } else { None };
    let built = build(options.quick, options.subjects.binary.as_deref())?;
    step("scale");
    let mut command = harness(SCALE);
    subjects(&mut command, &built, &options.subjects.against, &peers)?;
    command.arg("--write").arg(root()).env("PORTCULLIS_TEST_BINARY", &built.0);
    if let Some(apiserver) = apiserver {
        // No endpoint is asked, so it does not matter that none may be at loopback.
        command.env("PORTCULLIS_TEST_APISERVER", apiserver).env("PORTCULLIS_TEST_ADDRESS", "127.0.0.1");
    }
    if let Some(part) = &options.only {
        command.args(["--only", part]);
    }
    if options.quick {
        command.arg("--quick");
    }
    let done = run(&mut command);
    repeat_loud();
    done
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
