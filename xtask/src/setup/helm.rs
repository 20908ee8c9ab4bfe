//! Helm, built from the sources that `tests/conformance/helm/go.sum` pins: it renders the chart as users' own does.
//!
//! Its Kubernetes modules are those of the API server, so that built one after the other they share most of the work.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const HELM: Program = Program {
    module: "helm",
    sources: "conformance/helm",
    files: &["go.sum"],
    packages: &["helm.sh/helm/v3/cmd/helm"],
};

/// The program.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    Ok(HELM.ensure(cache)?.join("helm"))
}
