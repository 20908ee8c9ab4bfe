//! `bench flame`: where the gateway's time goes under a workload, as a picture.
//!
//! Linux's `perf` samples the stacks of the gateway that the bench loads, kernel included, and inferno draws them. The
//! program is built with frame pointers, by which stacks are walked; it is else that of the profile `release`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, find, run, run_quietly, step};
use crate::setup;
use crate::workspace::{Workspace, root};

/// Workloads drawn where none is named.
const USUAL: [&str; 4] = ["http1", "https2", "grpc", "tls-new-ecdsa"];

/// Draws the workloads of these names.
pub(crate) fn command(workloads: &[String]) -> Result<()> {
    ensure!(find("perf").is_some(), "perf is missing; install by hand: apt-get install linux-perf");
    setup::peers(&["forwarder".to_owned()])?;
    let inferno = setup::inferno()?;
    let program = build()?;
    let folder = root().join("bench/results/flame");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let usual = || USUAL.map(str::to_owned).to_vec();
    for workload in if workloads.is_empty() { usual() } else { workloads.to_vec() } {
        step(&format!("sampling {workload}"));
        let samples = sample(&program, &workload)?;
        draw(&inferno, &samples, &workload, &folder.join(format!("{workload}.svg")))?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let target = Workspace::load()?.target.join("flame");
    step("building with frame pointers");
    let mut build = cargo();
    build.args(["build", "--locked", "--release", "--package", "portcullis", "--bin", "portcullis"]);
    build.arg("--target-dir").arg(&target).env("RUSTFLAGS", "-C force-frame-pointers=yes");
    run(build.current_dir(root()))?;
    Ok(target.join("release/portcullis"))
}

/// Has the bench load a gateway that `perf` looks at.
fn sample(program: &Path, workload: &str) -> Result<PathBuf> {
    let place = program.parent().context("the program is in a folder")?;
    let (samples, script) = (place.join("samples"), place.join("sampled"));
    let perf = "perf record --quiet --event cpu-clock --freq 1999 --call-graph fp";
    // The bench asks for its version, too.
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = run ] && exec {perf} --output {} -- {program} \"$@\"\nexec {program} \"$@\"\n",
        samples.display(),
        program = program.display()
    );
    fs::write(&script, text).context("writing the script that samples")?;
    fs::set_permissions(&script, Permissions::from_mode(0o755)).context("making it executable")?;
    let mut load = cargo();
    load.args(["run", "--quiet", "--release", "--package", "portcullis-bench-load", "--", "--rounds", "1"]);
    load.args(["--milliseconds", "5000", "--only", workload]);
    load.arg("--subject").arg(format!("portcullis={}", script.display())).current_dir(root());
    setup::tell_path(&mut load);
    run_quietly(&mut load)?;
    Ok(samples)
}

fn draw(inferno: &Path, samples: &Path, workload: &str, picture: &Path) -> Result<()> {
    let place = samples.parent().context("samples are in a folder")?;
    let (stacks, folded) = (place.join("stacks"), place.join("folded"));
    let told = |command: &mut Command, into: &Path| -> Result<()> {
        let file = File::create(into).with_context(|| format!("writing {}", into.display()))?;
        // It warns of every symbol that it does not know.
        let status = command.stdout(file).stderr(Stdio::null()).status().context("drawing samples")?;
        ensure!(status.success(), "{} failed: {status}", command.get_program().display());
        Ok(())
    };
    told(Command::new("perf").arg("script").arg("--input").arg(samples), &stacks)?;
    told(Command::new(inferno.join("inferno-collapse-perf")).arg(&stacks), &folded)?;
    let title = format!("portcullis under {workload}: samples of its CPU time");
    let mut flames = Command::new(inferno.join("inferno-flamegraph"));
    flames
        .args(["--no-javascript", "--width", "1600", "--title", &title, "--minwidth", "0.3", "--hash"])
        .arg(&folded);
    told(&mut flames, picture)?;
    let drawn = fs::read_to_string(picture).with_context(|| format!("reading {}", picture.display()))?;
    println!("bench: {}, {} frames", picture.display(), drawn.matches("<title>").count());
    Ok(())
}
