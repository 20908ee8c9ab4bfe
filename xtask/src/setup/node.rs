//! Clients written for node, as `tests/conformance/node/package-lock.json` pins them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{find, run_quietly, step};
use crate::workspace::root;

/// The folder `node_modules`; made anew when the pinned packages have changed.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let pins = root().join("tests/conformance/node");
    let lock = fs::read_to_string(pins.join("package-lock.json")).context("reading the pinned packages")?;
    let (folder, ready) = (cache.join("node"), cache.join("node/ready"));
    let modules = folder.join("node_modules");
    if fs::read_to_string(&ready).is_ok_and(|made| made == lock) && modules.is_dir() {
        return Ok(modules);
    }
    find("node").context("install by hand: apt-get install nodejs npm")?;
    let npm = find("npm").context("install by hand: apt-get install nodejs npm")?;
    step("fetching clients for node");
    fs::create_dir_all(&folder).context("creating the folder of clients for node")?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(pins.join(file), folder.join(file)).with_context(|| format!("copying {file}"))?;
    }
    run_quietly(
        Command::new(npm).args(["ci", "--silent", "--ignore-scripts", "--no-audit"]).current_dir(&folder),
    )?;
    fs::write(&ready, lock).context("marking the clients for node as ready")?;
    Ok(modules)
}
