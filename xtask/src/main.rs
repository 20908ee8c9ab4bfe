//! The project's commands, the same on a desk and in CI: `cargo xtask help`.
//!
//! `ci` is everything; `lint` and `test` are its two halves. Each command prints what it runs, and
//! ends with status 0 only when all of it held.

mod bench;
mod ci;
mod cluster;
mod codegen;
mod conformance;
mod deps;
mod dist;
mod flame;
mod fuzz;
mod h2spec;
mod libtest;
mod process;
mod setup;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Ci => ci::ci(),
        Command::Lint => ci::lint(),
        Command::Test { filters, kine: false } => test::test(&filters),
        Command::Test { filters, kine: true } => test::test_on_kine(&filters),
        Command::Tidy => tidy::tidy(),
        Command::Codegen(options) => codegen::command(&options),
        Command::Deps => deps::deps(),
        Command::Setup => setup::setup_all(|| ()).map(drop),
        Command::Conformance(options) => conformance::command(&options),
        Command::H2spec => h2spec::command(),
        Command::Fuzz(options) => fuzz::command(&options),
        Command::Dist(options) => dist::command(&options),
        Command::Bench { load, bench } => bench::command(&load, bench.as_ref()),
    }
}

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything CI checks: lint, then test.
    Ci,
    /// Format, clippy, tidy, generated tables, documentation, dependencies and licences.
    Lint,
    /// Install what the tests need, then run every test, the recorded cases and the fuzz targets.
    Test {
        /// Run only the tests and cases whose name contains one of these.
        filters: Vec<String>,
        /// Run the tests against a cluster alone, and all of them on kine, the datastore of K3s.
        #[arg(long)]
        kine: bool,
    },
    /// The project's own rules: arrows between crates, purity, sizes, words.
    Tidy,
    /// Write the tables of the documentation from the code.
    Codegen(codegen::Options),
    /// Licences, banned crates, sources and smallest safe versions of every dependency.
    Deps,
    /// Install what the tests need, and print what is missing.
    Setup,
    /// Replay the behaviour recorded from a real Istio gateway.
    Conformance(conformance::Options),
    /// Put HTTP/2's rules to the built gateway with h2spec.
    H2spec,
    /// Fuzz the parsers of foreign bytes, guided by coverage, on the stable toolchain.
    Fuzz(fuzz::Options),
    /// Make what is shipped: static program, image, chart, bill of materials.
    Dist(dist::Options),
    /// Measure what is promised; without a further word, what work costs, beside nginx, HAProxy, Envoy and others.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(flatten)]
        load: bench::Load,
        /// What else is measured.
        #[command(subcommand)]
        bench: Option<bench::Bench>,
    },
}
