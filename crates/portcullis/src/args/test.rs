//! Arguments of `test`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::WorkloadArgs;

/// Arguments of `test`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 when every case is as expected, 1 when one is not, 2 when a test or path cannot be read or there is none.

A test is a document of kind RouteTest among the resources; docs/route-tests.md has the format. Nothing is served and
nothing is asked of a network: the answers are those of `explain`, as if every certificate were there.

Examples:
  portcullis test config/
  portcullis test config/shop.test.yaml
  portcullis test tests/ --config config/ -o junit > report.xml")]
pub(crate) struct TestArgs {
    /// Files and folders with route tests
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Where the resources are, a file or folder; may be repeated [default: beside the tests]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) config: Vec<PathBuf>,

    /// Print for people, for programs, or for a CI server
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: TestFormat,

    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// Form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
    /// The XML that CI servers read.
    Junit,
}
