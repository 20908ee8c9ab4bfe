//! Arguments of the commands that look at configuration without serving it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_api::Severity;

use super::WorkloadArgs;
use crate::output::Format;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 when the configuration is accepted, 1 when something is as bad as --fail-on says (by default an error),
2 when a path cannot be read.

One object alone is judged as `kubectl apply` would judge it: the API server's schema and Istio's webhook decide. What
it refers to is somewhere else, so findings about that are hints then.

Examples:
  portcullis check config/
  portcullis check gateway.yaml
  kubectl get gateways,virtualservices -A -o yaml | portcullis check -
  portcullis check --routes config/
  portcullis check config/ -o json | jq '.findings[].code'")]
pub(crate) struct CheckArgs {
    /// Files and folders of YAML; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Print for people or for programs
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,

    /// Findings below this are not printed
    #[arg(long, value_enum, default_value_t = Threshold::Warning, value_name = "SEVERITY")]
    pub(crate) severity: Threshold,

    /// Findings from this on make the exit status 1
    #[arg(long, value_enum, default_value_t = Threshold::Error, value_name = "SEVERITY")]
    pub(crate) fail_on: Threshold,

    /// Print the effective table, too: every listener, server and host with its rules in the order they are tried
    #[arg(long)]
    pub(crate) routes: bool,

    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 when the request is routed, 1 when it gets an error (404, 503, a closed connection),
2 when the question or a path cannot be read.

Examples:
  portcullis explain config/ 'GET https://shop.example.com/cart'
  portcullis explain config/ 'POST http://shop.example.com/cart' -H 'x-team: blue'
  portcullis explain config/ 'TLS db.example.com:5432'
  portcullis explain config/ postgres://db.example.com -o json")]
pub(crate) struct ExplainArgs {
    /// Files and folders of YAML, `-` for standard input, then what arrives: `GET https://host/path`,
    /// `TLS host:port`, `postgres://host` or `tcp://:port`
    #[arg(required = true, num_args = 2.., value_names = ["PATH", "QUESTION"])]
    pub(crate) paths_and_question: Vec<String>,

    /// A request header, `name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,

    /// Address the client comes from
    #[arg(long, value_name = "IP")]
    pub(crate) source_ip: Option<IpAddr>,

    /// Port the request arrives at, where it is not the URL's
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// Print for people or for programs
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// Smallest severity that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threshold {
    /// Everything, hints too.
    Info,
    /// What probably is not meant, and what cannot be used.
    Warning,
    /// Only what cannot be used.
    Error,
}

impl Threshold {
    /// As findings have it.
    pub(crate) fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
        }
    }
}
