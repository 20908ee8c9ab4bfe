//! The server in Go among those that the gateway's reading of requests is compared with: `tests/backends/go`, which needs
//! nothing but Go's own library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::go::toolchain;
use crate::process::{run, step};
use crate::workspace::root;

/// The program; built anew when its source has changed.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let sources = root().join("tests/backends/go");
    let source = fs::read_to_string(sources.join("main.go")).context("reading the server in Go")?;
    let (program, ready) = (cache.join("go-backend"), cache.join("go-backend.ready"));
    if fs::read_to_string(&ready).is_ok_and(|made| made == source) && program.is_file() {
        return Ok(program);
    }
    step("building the server in Go");
    let mut build = Command::new(toolchain(cache)?);
    run(build.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".").current_dir(&sources))?;
    fs::write(&ready, source).context("marking the server in Go as built")?;
    Ok(program)
}
