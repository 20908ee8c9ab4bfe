//! kubectl, of the version of the API server and from the same modules: what users type is typed into it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const KUBECTL: Program = Program {
    module: "kubectl",
    sources: "cluster/apiserver",
    files: &["go.mod", "go.sum"],
    packages: &["k8s.io/kubernetes/cmd/kubectl"],
};

/// The program.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    Ok(KUBECTL.ensure(cache)?.join("kubectl"))
}
