//! Coverage-guided fuzzing of every parser of foreign bytes, on the stable toolchain.
//!
//! The targets are programs of the workspace in `fuzz/`, linked with libFuzzer and compiled with LLVM's
//! coverage counters; both are there without a nightly compiler. (What nightly would add is the address
//! sanitizer, which finds what safe Rust cannot do.) Each target starts from `fuzz/seeds/<target>`, tries the
//! words of `fuzz/dictionaries/<target>.dict`, keeps what it learns below the target folder, and leaves an
//! input that fails in `fuzz/artifacts/<target>`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{cargo, loud, output, run, step};
use crate::tally::Tally;
use crate::workspace::{Workspace, root};

/// No input needs longer, seconds: a parser that does is a way to stall a worker.
const LONGEST_INPUT_SECONDS: u32 = 5;
/// No target needs more memory, MiB.
const MOST_MEMORY: u32 = 1024;
/// The longest input tried, bytes: beyond every bound of the parsers.
const LONGEST_INPUT: u32 = 80 * 1024;
/// How long each target runs among the other tests.
const SHORT_SECONDS: u32 = 10;

/// Which targets to run, and how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// One target; all when left out.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Replays a run: the seed that it printed.
    #[arg(long)]
    seed: Option<u32>,
}

impl Options {
    /// Every target for a moment, as among the other tests.
    pub(crate) fn short() -> Options {
        Options { target: None, seconds: SHORT_SECONDS, seed: None }
    }
}

/// The command: runs the targets and fails when an input was found that breaks one.
pub(crate) fn command(options: &Options) -> Result<()> {
    let tally = run_targets(options)?;
    println!("\n{tally}");
    if tally.failed > 0 {
        bail!("{} targets broke", tally.failed);
    }
    Ok(())
}

/// Runs the targets, one after the other.
pub(crate) fn run_targets(options: &Options) -> Result<Tally> {
    let targets = targets(options.target.as_deref())?;
    let built = build(&Workspace::load()?.target.join("fuzz"))?;
    let mut tally = Tally::default();
    for target in &targets {
        step(&format!("fuzz {target}, {} s", options.seconds));
        match run_target(&built, target, options) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                loud(&format!("fuzz {target}: {error:#}"));
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

/// The targets that are asked for: the files of `fuzz/targets`.
fn targets(one: Option<&str>) -> Result<Vec<String>> {
    let folder = root().join("fuzz/targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading the targets")?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    let Some(one) = one else { return Ok(names) };
    if !names.iter().any(|name| name == one) {
        bail!("no target `{one}`; there are {}", names.join(", "));
    }
    Ok(vec![one.to_owned()])
}

/// Builds every target; gives the folder of the programs.
fn build(target_folder: &Path) -> Result<PathBuf> {
    step("building the fuzz targets");
    let host = host()?;
    // Naming the platform keeps the counters out of build scripts and macros.
    let mut command = cargo();
    command.args(["build", "--release", "--bins", "--target", &host]);
    command.arg("--manifest-path").arg(root().join("fuzz/Cargo.toml"));
    command.env("CARGO_TARGET_DIR", target_folder).env("RUSTFLAGS", COUNTERS.join(" "));
    run(&mut command)?;
    Ok(target_folder.join(host).join("release"))
}

fn host() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// The target whose seeds and dictionary serve `target`, too: both read the same texts.
fn language(target: &str) -> &str {
    match target {
        "compile_yaml" => "load_yaml",
        target => target,
    }
}

fn run_target(built: &Path, target: &str, options: &Options) -> Result<()> {
    let learned = built.join("../../corpus").join(target);
    let seeds = root().join("fuzz/seeds").join(language(target));
    let artifacts = root().join("fuzz/artifacts").join(target);
    for folder in [&learned, &seeds, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut command = Command::new(built.join(target));
    command.args([
        format!("-max_total_time={}", options.seconds),
        format!("-timeout={LONGEST_INPUT_SECONDS}"),
        format!("-rss_limit_mb={MOST_MEMORY}"),
        format!("-max_len={LONGEST_INPUT}"),
        format!("-artifact_prefix={}/", artifacts.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    let dictionary = root().join(format!("fuzz/dictionaries/{}.dict", language(target)));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    if let Some(seed) = options.seed {
        command.arg(format!("-seed={seed}"));
    }
    let out = command.arg(learned).arg(seeds).output().context("starting the target")?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        println!("{}", tail(&said));
        bail!("an input broke it; it is kept in fuzz/artifacts/{target}");
    }
    println!("{}", summary(&said));
    Ok(())
}

/// The end of what a broken target said: the panic, the stack, the input and how to make it again.
fn tail(said: &str) -> String {
    let seed = said.lines().find(|line| line.contains("Seed:")).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    format!("{seed}\n{}", end.join("\n"))
}

/// How much was tried: `2076727 inputs, 188793 a second`.
fn summary(said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |value| value.trim_start_matches(':').trim())
    };
    format!("{} inputs, {} a second", stat("number_of_executed_units"), stat("average_exec_per_sec"))
}

/// Enough for a panic's message, its stack and libFuzzer's own words.
const SHOWN_LINES: usize = 60;

/// LLVM's coverage counters as libFuzzer reads them; `fuzzing` lets code leave out what only slows it.
const COUNTERS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_made_short() {
        let said =
            "INFO: Seed: 7\nDone\nstat::number_of_executed_units: 20\nstat::average_exec_per_sec:     3\n";
        assert_eq!(summary(said), "20 inputs, 3 a second");
        assert!(tail(said).starts_with("INFO: Seed: 7\n"));
    }
}
