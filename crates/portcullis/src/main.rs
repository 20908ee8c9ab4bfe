//! The Portcullis binary: reads the command line, wires the parts together, prints.
//!
//! Exit status, for every command: 0 fine, 1 findings, 2 could not run.

mod admin;
mod args;
mod commands;
mod decide;
mod demo;
mod gateway;
mod life;
mod limits;
mod log_writer;
mod logging;
mod output;
mod question;
mod settings;
mod table;
mod time;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing to object to.
    Fine,
    /// There are findings.
    Findings,
}

/// Requests allocate and free on the thread they belong to; this allocator keeps such memory on that
/// thread without locks, and gives idle pages back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // clap ends the process with 2 on a command line it cannot read, and with 0 after help.
    let args = Args::parse();
    let result = match args.command {
        Command::Run(run) => commands::run::run(*run),
        Command::Demo(demo) => commands::demo::run(&demo),
        Command::Check(check) => commands::check::run(&check),
        Command::Explain(explain) => commands::explain::run(&explain),
        Command::Test(test) => commands::test::run(&test),
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Crds => commands::crds::run(),
        Command::Version => commands::version::run(),
    };
    match result {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether the reader of our output has left, as `head` does: no reason to complain.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
