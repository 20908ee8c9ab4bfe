//! h2spec, built from the sources that `tests/conformance/h2spec/go.sum` pins.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const H2SPEC: Program = Program {
    module: "h2spec",
    sources: "conformance/h2spec",
    files: &["go.sum"],
    packages: &["github.com/summerwind/h2spec/cmd/h2spec"],
};

/// The program.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    Ok(H2SPEC.ensure(cache)?.join("h2spec"))
}
