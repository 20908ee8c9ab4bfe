//! A Python environment with the clients and the recorded cases' runner needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{find, run, step};
use crate::workspace::root;

/// The environment's Python; made anew when the list of packages has changed.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let list = root().join("tests/conformance/requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let (folder, ready) = (cache.join("python"), cache.join("python/ready"));
    let python = folder.join("bin/python");
    if fs::read_to_string(&ready).is_ok_and(|made| made == wanted) && python.is_file() {
        return Ok(python);
    }
    step("making the Python environment");
    let base = find("python3").context("install by hand: apt-get install python3 python3-venv")?;
    run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&list))?;
    fs::write(&ready, wanted).context("marking the Python environment as ready")?;
    Ok(python)
}
