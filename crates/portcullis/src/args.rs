//! The command line.

mod demo;
mod doctor;
mod inspect;
mod run;
mod test;
mod values;
mod workload;

use clap::{Parser, Subcommand};

pub(crate) use demo::DemoArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use inspect::{CheckArgs, ExplainArgs, Threshold};
pub(crate) use run::ClusterArgs;
#[cfg(test)]
pub(crate) use run::PortArgs;
pub(crate) use run::RunArgs;
pub(crate) use test::{TestArgs, TestFormat};
pub(crate) use values::{Label, Listen, MappedPort, ProxyMode, ProxyPort, Range};
pub(crate) use workload::{WorkloadArgs, expect_header};

/// An ingress gateway that serves the Istio resources you already have.
///
/// Exit status: 0 fine, 1 findings, 2 could not run.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, propagate_version = false, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what files and folders of YAML say, and follow their changes
    Run(Box<RunArgs>),
    /// Run a gateway with backends and certificates of its own, and print what to try
    Demo(DemoArgs),
    /// Compile configuration offline and print what is wrong with it
    Check(CheckArgs),
    /// Print the way a request would take, and why
    Explain(ExplainArgs),
    /// Ask what is written in route tests, and compare
    Test(TestArgs),
    /// Look over a cluster for what keeps traffic from the gateway, and change nothing
    Doctor(DoctorArgs),
    /// Print the custom resource definitions of the kinds that are read, as YAML
    Crds,
    /// Print version and build
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
