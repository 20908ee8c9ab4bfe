//! The sources of the Prometheus operator, for its resource definitions: the chart's monitors are held against them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Sources;

const OPERATOR: Sources = Sources {
    module: "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};

/// The folder.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    OPERATOR.ensure(cache)
}
