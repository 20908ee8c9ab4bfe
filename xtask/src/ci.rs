//! `ci` and `lint`: the checks in the order in which they fail fastest.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{cargo, loud, run, step};
use crate::workspace::root;
use crate::{codegen, deps, test, tidy};

/// Everything: [`lint`], then every test.
pub(crate) fn ci() -> Result<()> {
    lint()?;
    test::test(&[])
}

/// Every check but the tests. All of them run, so that one look shows every finding.
pub(crate) fn lint() -> Result<()> {
    let checks: [Check; 6] = [
        ("format", format),
        ("tidy", tidy::tidy),
        ("dependencies and licences", deps::deps),
        ("clippy", clippy),
        ("documentation", documentation),
        ("generated tables", codegen::check),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        step(name);
        if let Err(error) = check() {
            loud(&format!("{name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} of {} checks failed: {}", failed.len(), checks.len(), failed.join(", "));
    }
    println!("lint: {} checks passed", checks.len());
    Ok(())
}

/// A check's name, and the check.
type Check = (&'static str, fn() -> Result<()>);

fn format() -> Result<()> {
    run(at_root(cargo().args(["fmt", "--all", "--check"])))?;
    for other in ["fuzz/Cargo.toml", "bench/peers/pingora/Cargo.toml"] {
        run(at_root(cargo().args(["fmt", "--check", "--manifest-path", other])))?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"];
    run(at_root(cargo().args(args)))
}

fn documentation() -> Result<()> {
    let args = ["doc", "--workspace", "--no-deps", "--quiet"];
    run(at_root(cargo().args(args).env("RUSTDOCFLAGS", "-D warnings")))
}

fn at_root(command: &mut Command) -> &mut Command {
    command.current_dir(root())
}
