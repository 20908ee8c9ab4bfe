//! A Kubernetes API server for the tests: `tests/cluster/apiserver`, built from the modules that its go.sum pins.
//!
//! It is the longest build there is: 2,500 packages, ten minutes on two idle cores and three times that on busy ones,
//! unless Go's own cache has them. So it runs beside the Rust build, and behind it when both want the processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::go::toolchain;
use crate::process::{run, step};
use crate::workspace::root;

/// What makes the program.
const SOURCES: &[&str] = &["main.go", "controllers.go", "keys.go", "go.mod", "go.sum"];
/// What `/version` says; the version that go.mod pins.
const VERSION: &str = "v1.35.4";
/// No build takes longer; without this one, the tests that need it are skipped.
const LIMIT: &str = "45m";

/// The program; built anew when its sources have changed.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let sources = root().join("tests/cluster/apiserver");
    let read =
        |name: &&str| fs::read_to_string(sources.join(name)).with_context(|| format!("reading {name}"));
    let texts = SOURCES.iter().map(read).collect::<Result<String>>()?;
    let (program, ready) = (cache.join("apiserver"), cache.join("apiserver.ready"));
    if fs::read_to_string(&ready).is_ok_and(|made| made == texts) && program.is_file() {
        return Ok(program);
    }
    step("building a Kubernetes API server in the background: 10 to 30 minutes the first time");
    let draft = cache.join("apiserver.new");
    let mut build = Command::new("timeout");
    build.args([LIMIT, "nice", "-n", "10"]).arg(toolchain(cache)?);
    build.args(["build", "-buildvcs=false", "-mod=readonly", "-trimpath", "-tags", "kcm"]);
    build.args(["-ldflags", &format!("-s -w -X k8s.io/component-base/version.gitVersion={VERSION}"), "-o"]);
    run(build.arg(&draft).arg(".").current_dir(&sources).env("CGO_ENABLED", "0"))?;
    fs::rename(&draft, &program).context("putting the API server into its place")?;
    fs::write(&ready, texts).context("marking the API server as built")?;
    step("the Kubernetes API server is built");
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_pinned_one() {
        let pinned = fs::read_to_string(root().join("tests/cluster/apiserver/go.mod")).unwrap();
        assert!(pinned.contains(&format!("k8s.io/kubernetes {VERSION}\n")));
    }
}
