//! external-dns as a test program: `tests/cluster/external-dns`, which links its sources and its provider in memory.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const EXTERNAL_DNS: Program = Program {
    module: "external-dns",
    sources: "cluster/external-dns",
    files: &["main.go", "go.mod", "go.sum"],
    packages: &["."],
};

/// The program.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    Ok(EXTERNAL_DNS.ensure(cache)?.join("external-dns"))
}
