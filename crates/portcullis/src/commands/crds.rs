//! `crds`: the custom resource definitions of the kinds that are read.

use std::io::{Write as _, stdout};

use portcullis_api::schema;

use crate::{Exit, yaml};

/// Runs the command: a stream of YAML documents for `kubectl apply -f -`.
pub(crate) fn run() -> anyhow::Result<Exit> {
    let mut out = stdout().lock();
    for definition in schema::crds() {
        write!(out, "---\n{}", yaml::document(&definition))?;
    }
    Ok(Exit::Fine)
}
