//! h2spec, built from the sources that `tests/conformance/h2spec/go.sum` pins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{find, run, step};
use crate::workspace::root;

/// The program; built anew when its pinned sources have changed.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let module = root().join("tests/conformance/h2spec");
    let pinned = fs::read_to_string(module.join("go.sum")).context("reading h2spec's go.sum")?;
    let (program, ready) = (cache.join("h2spec/h2spec"), cache.join("h2spec/ready"));
    if fs::read_to_string(&ready).is_ok_and(|made| made == pinned) && program.is_file() {
        return Ok(program);
    }
    step("building h2spec");
    let go = find("go").context("install by hand: apt-get install golang-go")?;
    fs::create_dir_all(cache.join("h2spec")).context("creating h2spec's folder")?;
    run(Command::new(go)
        .args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
        .arg(&program)
        .arg("github.com/summerwind/h2spec/cmd/h2spec")
        .current_dir(&module))?;
    fs::write(&ready, pinned).context("marking h2spec as built")?;
    Ok(program)
}
