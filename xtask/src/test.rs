//! `test`: install what is missing, then every kind of test, then one line that counts them all.

use std::env;

use anyhow::{Result, bail};

use crate::process::{cargo, loud, repeat_loud, run, step};
use crate::setup::{self, Parts};
use crate::tally::Tally;
use crate::workspace::root;
use crate::{cluster, conformance, fuzz, h2spec, libtest};

/// Where proptest takes its seed from.
const SEED: &str = "PROPTEST_RNG_SEED";
/// One run says the same as the next: what fails here fails for whoever looks. A plain `cargo test` draws a new
/// seed each time, and that is where new counterexamples come from.
const FIXED_SEED: &str = "20061";

/// Runs everything; with `filters` only the tests and cases whose name contains one of them.
pub(crate) fn test(filters: &[String]) -> Result<()> {
    let parts = setup::setup_all(build_tests)?;
    let mut tally = Tally::default();
    add(&mut tally, "cargo test", cargo_test(filters, &parts));
    add(&mut tally, "cluster tests", cluster::test(filters, &parts));
    add(&mut tally, "load balancer tests", cluster::test_network(filters, &parts));
    add(&mut tally, "recorded cases", conformance::run_cases(&conformance::Options::matching(filters)));
    if filters.is_empty() {
        add(&mut tally, "h2spec", h2spec::run_suite());
        add(&mut tally, "fuzz targets", fuzz::run_targets(&fuzz::Options::short()));
    }
    conclude(tally)
}

/// Runs the tests against a cluster with K3s's datastore.
pub(crate) fn test_on_kine(filters: &[String]) -> Result<()> {
    let parts = setup::setup_all(build_tests)?;
    let mut tally = Tally::default();
    add(&mut tally, "cluster tests", cluster::test_on(cluster::Store::Kine, filters, &parts));
    conclude(tally)
}

/// Says how it all went.
fn conclude(tally: Tally) -> Result<()> {
    println!();
    repeat_loud();
    println!("{tally}");
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}

/// Builds what will be run. A failure shows again when it is.
fn build_tests() {
    step("building the tests");
    if let Err(error) = run(cargo().args(["test", "--workspace", "--no-run", "--quiet"]).current_dir(root()))
    {
        loud(&format!("{error:#}"));
    }
}

/// Adds the count of one kind of test; a kind that could not run at all counts as one failure.
fn add(total: &mut Tally, name: &str, counted: Result<Tally>) {
    let counted = counted.unwrap_or_else(|error| {
        loud(&format!("{name}: {error:#}"));
        Tally { failed: 1, ..Tally::default() }
    });
    step(&format!("{name}: {counted}"));
    *total += counted;
}

fn cargo_test(filters: &[String], parts: &Parts) -> Result<Tally> {
    step("cargo test");
    let command = |arguments: &[&str]| {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(arguments).current_dir(root());
        parts.tell(&mut command);
        if env::var_os(SEED).is_none() {
            command.env(SEED, FIXED_SEED);
        }
        command
    };
    libtest::run(command, &words(filters))
}

/// The filters as arguments of a test program.
pub(crate) fn words(filters: &[String]) -> Vec<&str> {
    filters.iter().map(String::as_str).collect()
}
