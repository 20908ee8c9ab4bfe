//! Istio's sources, for what its users have: its resource definitions, its samples and the values of its charts. Nothing
//! of them is built, and nothing of them is kept in this repository.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Sources;

const ISTIO: Sources = Sources {
    module: "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad",
    sum: "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI=",
};

/// The folder.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    ISTIO.ensure(cache)
}
