//! kine, the datastore of K3s, as a store for the API server: `tests/cluster/kine`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const KINE: Program = Program {
    module: "kine",
    sources: "cluster/kine",
    files: &["main.go", "go.mod", "go.sum"],
    packages: &["."],
};

/// The program.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    Ok(KINE.ensure(cache)?.join("kine"))
}
