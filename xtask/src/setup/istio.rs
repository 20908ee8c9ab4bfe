//! Istio's sources, for what its users have: its resource definitions, its samples and the values of its charts. Nothing
//! of them is built, and nothing of them is kept in this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::go::toolchain;
use crate::process::output;

/// The module, and the checksum of its content as Go writes it.
const MODULE: &str = "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad";
const SUM: &str = "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI=";

/// What `go mod download -json` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: PathBuf,
    sum: String,
}

/// The folder, in Go's own cache of modules; fetched where it is not there yet.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    let said =
        output(Command::new(toolchain(cache)?).args(["mod", "download", "-json", MODULE]).current_dir("/"))?;
    let download: Download = serde_json::from_str(&said).context("reading what Go downloaded")?;
    ensure!(download.sum == SUM, "{MODULE} is not what it was");
    Ok(download.dir)
}
