//! The client and the server of gRPC's own interoperability tests, built from the sources that
//! `tests/conformance/grpc-interop/go.sum` pins.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::go::Program;

const PROGRAMS: Program = Program {
    module: "grpc-interop",
    sources: "conformance/grpc-interop",
    files: &["go.sum"],
    packages: &["google.golang.org/grpc/interop/client", "google.golang.org/grpc/interop/server"],
};

/// The folder with `client` and `server`.
pub(super) fn ensure(cache: &Path) -> Result<PathBuf> {
    PROGRAMS.ensure(cache)
}
