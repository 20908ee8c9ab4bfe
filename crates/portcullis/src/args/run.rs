//! Arguments of `run`. Each may also stand in the settings file; a flag wins over the environment, and that over
//! the file.

use std::path::PathBuf;

use clap::Args;

use super::{Listen, WorkloadArgs};
use crate::settings::AccessLog;

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Signals: SIGTERM and SIGINT drain and end, a second one ends at once; SIGHUP looks at every file.
Exit status: 0 after a signal, 2 when it could not run.

Examples:
  portcullis run --config config/ --port-map 80:8080,443:8443
  portcullis run --config base/ --config overrides.yaml --access-log off
  portcullis run --kubernetes --port-offset 20000")]
pub(crate) struct RunArgs {
    /// A file or folder of Kubernetes YAML, followed as it changes; may be repeated
    #[arg(short, long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    /// Settings file; config/portcullis.toml explains each setting
    /// [default: /etc/portcullis/portcullis.toml if it exists]
    #[arg(long, env = "PORTCULLIS_SETTINGS", value_name = "PATH")]
    pub(crate) settings: Option<PathBuf>,

    /// Worker threads [default: the cores this process may use]
    #[arg(long, env = "PORTCULLIS_WORKERS", value_name = "N")]
    pub(crate) workers: Option<usize>,

    /// Form of the access log on standard output [default: json]
    #[arg(long, env = "PORTCULLIS_ACCESS_LOG", value_enum)]
    pub(crate) access_log: Option<AccessLog>,

    /// What is logged on standard error: error, warn, info, debug, trace, or target=level,… [default: info]
    #[arg(long, env = "PORTCULLIS_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<String>,

    /// Seconds between a signal to end and the closing of listeners [default: 5]
    #[arg(long, env = "PORTCULLIS_DRAIN", value_name = "SECONDS")]
    pub(crate) drain: Option<u64>,

    /// Repair HTTP/1 request heads that Istio's gateway repairs, instead of refusing them [default: false]
    #[arg(
        long,
        env = "PORTCULLIS_LENIENT_HTTP1",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) lenient_http1: Option<bool>,

    #[command(flatten)]
    pub(crate) ports: PortArgs,

    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// The cluster whose resources are served.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct ClusterArgs {
    /// Serve the resources of a cluster: the one this runs in, or the kubeconfig's [default: false]
    #[arg(
        long,
        env = "PORTCULLIS_KUBERNETES",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) kubernetes: Option<bool>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "PORTCULLIS_KUBE_CONTEXT", value_name = "NAME")]
    pub(crate) kube_context: Option<String>,

    /// Look into this namespace only, beside the gateway's own; may be repeated [default: all of them]
    #[arg(long, env = "PORTCULLIS_WATCH_NAMESPACES", value_name = "NAME", value_delimiter = ',')]
    pub(crate) watch_namespace: Vec<String>,

    /// The gateway's own Pod: its labels are those that Gateways select [default: the labels given here]
    #[arg(long, env = "PORTCULLIS_POD", value_name = "NAME")]
    pub(crate) pod: Option<String>,

    /// Write status and Events to the cluster [default: in a pod yes, with a kubeconfig no]
    #[arg(
        long,
        env = "PORTCULLIS_WRITE_STATUS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) write_status: Option<bool>,

    /// Folder for the last state of the cluster, served at a start without the API server [default: none]
    #[arg(long, env = "PORTCULLIS_CACHE_DIR", value_name = "PATH")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// File of 32 random bytes that seals the Secrets in that folder [default: none, and Secrets are left out]
    #[arg(long, env = "PORTCULLIS_CACHE_KEY_FILE", value_name = "PATH")]
    pub(crate) cache_key_file: Option<PathBuf>,
}

/// Ports of the gateway's own; each may be `off`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Own ports")]
pub(crate) struct PortArgs {
    /// Admin pages, loopback only [default: 127.0.0.1:15000]
    #[arg(long, env = "PORTCULLIS_ADMIN", value_name = "ADDR|off")]
    pub(crate) admin: Option<Listen>,

    /// Metrics and probes [default: 0.0.0.0:15020]
    #[arg(long, env = "PORTCULLIS_METRICS", value_name = "ADDR|off")]
    pub(crate) metrics: Option<Listen>,

    /// Metrics alone, for older scrape configurations [default: 0.0.0.0:15090]
    #[arg(long, env = "PORTCULLIS_STATS", value_name = "ADDR|off")]
    pub(crate) stats: Option<Listen>,

    /// Readiness probe [default: 0.0.0.0:15021]
    #[arg(long, env = "PORTCULLIS_HEALTH", value_name = "ADDR|off")]
    pub(crate) health: Option<Listen>,
}
