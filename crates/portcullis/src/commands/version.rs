//! `version`: what this binary is.

use std::io::{Write as _, stdout};

use crate::Exit;

/// The version of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the command.
pub(crate) fn run() -> anyhow::Result<Exit> {
    let target = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    writeln!(stdout().lock(), "portcullis {VERSION} ({target})")?;
    Ok(Exit::Fine)
}
