//! inferno, which draws flame graphs, for `bench flame` only.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::{cargo, run, step};

const VERSION: &str = "0.12.8";

/// The folder of its programs.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let place = cache.join(format!("inferno-{VERSION}"));
    let programs = place.join("bin");
    if !programs.join("inferno-flamegraph").is_file() {
        step("building inferno");
        let mut install = cargo();
        install.args(["install", "--locked", "--version", VERSION, "inferno", "--root"]).arg(&place);
        run(&mut install)?;
    }
    Ok(programs)
}
