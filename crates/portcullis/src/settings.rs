//! Settings of `run`: flags over environment over file over defaults.
//!
//! The file is TOML; `config/portcullis.toml` explains every key. A key that does not exist is an error, so
//! that a misspelt one is not silently without effect.

mod file;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use portcullis_compile::{CertificateRules, Environment, PortMap};
use portcullis_control::{SettleTimes, cache};
use serde::Deserialize;

pub(crate) use file::FileSettings;

use crate::args::{ClusterArgs, Listen, RunArgs, WorkloadArgs, expect_header};

/// Where a settings file is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/portcullis/portcullis.toml";

/// Form of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessLog {
    /// Istio's JSON, one object a line
    Json,
    /// Istio's text
    Text,
    /// None
    Off,
}

/// Everything `run` needs to know, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Files and folders to follow.
    pub(crate) config: Vec<PathBuf>,
    /// The cluster to follow.
    pub(crate) cluster: Option<Cluster>,
    /// How changes of them are gathered.
    pub(crate) settle: SettleTimes,
    /// Worker threads, at least 1.
    pub(crate) workers: usize,
    /// Who the gateway is.
    pub(crate) workload: Workload,
    /// Own ports.
    pub(crate) ports: Ports,
    /// Form of the access log.
    pub(crate) access_log: AccessLog,
    /// Bytes of access log that may wait for standard output.
    pub(crate) access_log_buffer: usize,
    /// Filter of the process' own log.
    pub(crate) log: String,
    /// Form of the process' own log.
    pub(crate) log_json: bool,
    /// Between a signal to end and the closing of listeners.
    pub(crate) drain: Duration,
    /// How long busy connections may go on after that.
    pub(crate) finish: Duration,
    /// Most metric series of each kind in a worker.
    pub(crate) max_series: usize,
    /// Bounds on peers.
    pub(crate) limits: file::Limits,
    /// Whether HTTP/1 heads are repaired where Istio's gateway repairs them.
    pub(crate) lenient_http1: bool,
}

/// Which cluster is followed, and how much of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Context of the kubeconfig.
    pub(crate) context: Option<String>,
    /// The only namespaces to look into; empty = all.
    pub(crate) namespaces: BTreeSet<String>,
    /// The gateway's own Pod.
    pub(crate) pod: Option<String>,
    /// Whether status and Events are written; `None` = only with a pod's own account.
    pub(crate) write_status: Option<bool>,
    /// Where the last good state is kept.
    pub(crate) cache: Option<cache::Place>,
    /// Which Gateways may ask cert-manager for certificates; `None` = nobody writes them.
    pub(crate) certificates: Option<CertificateRules>,
}

/// Who the gateway is; applied to an [`Environment`].
#[derive(Debug)]
pub(crate) struct Workload {
    file: file::Gateway,
    listen: file::Ports,
    proxy_protocol: file::ProxyProtocol,
    args: WorkloadArgs,
    /// Whether the gateway's own Services say which port is bound, where nothing here does.
    by_services: bool,
}

/// Ports of the gateway's own; `None` = off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Admin pages.
    pub(crate) admin: Option<SocketAddr>,
    /// Metrics and probes.
    pub(crate) metrics: Option<SocketAddr>,
    /// Metrics alone.
    pub(crate) stats: Option<SocketAddr>,
    /// Readiness.
    pub(crate) health: Option<SocketAddr>,
}

impl Settings {
    /// Reads the settings file, if there is one, and joins it with `args`.
    ///
    /// # Errors
    /// When the file cannot be read or holds something unknown, or a setting is out of bounds.
    pub(crate) fn load(args: RunArgs) -> anyhow::Result<Self> {
        let file = match &args.settings {
            Some(path) => FileSettings::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => FileSettings::read(Path::new(DEFAULT_FILE))?,
            None => FileSettings::default(),
        };
        Self::join(args, file)
    }

    /// Joins the two, flags first.
    fn join(args: RunArgs, file: FileSettings) -> anyhow::Result<Self> {
        let FileSettings {
            config,
            kubernetes,
            cert_manager,
            gateway,
            ports,
            proxy_protocol,
            log,
            drain,
            metrics,
            limits,
            compat,
            ..
        } = file;
        let own = Ports::join(&args, &ports)?;
        let paths = if args.config.is_empty() { config.paths } else { args.config };
        let cluster = Cluster::join(args.cluster, kubernetes, cert_manager)?;
        ensure!(
            cluster.is_some() || !paths.is_empty(),
            "no configuration: name a file or folder with --config PATH, or follow a cluster with --kubernetes"
        );
        for path in &paths {
            std::fs::metadata(path).with_context(|| format!("--config {}", path.display()))?;
        }
        let workers = args.workers.or(file.workers).unwrap_or_else(cores);
        ensure!((1..=MAX_WORKERS).contains(&workers), "workers must be between 1 and {MAX_WORKERS}");
        let default = SettleTimes::DEFAULT;
        let millis = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        Ok(Self {
            config: paths,
            workload: Workload {
                file: gateway,
                listen: ports,
                proxy_protocol,
                args: args.workload,
                by_services: cluster.is_some(),
            },
            cluster,
            settle: SettleTimes {
                quiet: millis(config.settle_quiet_ms, default.quiet),
                quiet_whole: millis(config.settle_whole_ms, default.quiet_whole),
                longest: millis(config.settle_longest_ms, default.longest),
            },
            workers,
            ports: own,
            access_log: args.access_log.or(log.access_log).unwrap_or(AccessLog::Json),
            access_log_buffer: log.access_log_buffer_bytes.unwrap_or(DEFAULT_LOG_BUFFER),
            log: args.log.or(log.level).unwrap_or_else(|| "info".to_owned()),
            log_json: log.json.unwrap_or(false),
            drain: Duration::from_secs(args.drain.or(drain.delay_seconds).unwrap_or(DEFAULT_DRAIN)),
            finish: Duration::from_secs(drain.finish_seconds.unwrap_or(DEFAULT_FINISH)),
            max_series: metrics.max_series.unwrap_or(DEFAULT_MAX_SERIES),
            limits,
            lenient_http1: args.lenient_http1.or(compat.lenient_http1).unwrap_or(false),
        })
    }
}

impl Cluster {
    fn join(
        args: ClusterArgs,
        file: file::Kubernetes,
        cert_manager: file::CertManager,
    ) -> anyhow::Result<Option<Self>> {
        if !args.kubernetes.or(file.enabled).unwrap_or(false) {
            return Ok(None);
        }
        let named = if args.watch_namespace.is_empty() { file.namespaces } else { args.watch_namespace };
        let given = |text: &String| !text.is_empty();
        let folder = |path: &PathBuf| !path.as_os_str().is_empty();
        let cache_dir = args.cache_dir.or(file.cache_dir).filter(folder);
        let key_file = args.cache_key_file.or(file.cache_key_file).filter(folder);
        Ok(Some(Self {
            context: args.kube_context.or(file.context).filter(given),
            namespaces: named.into_iter().filter(given).collect(),
            pod: args.pod.or(file.pod).filter(given),
            write_status: args.write_status.or(file.write_status),
            cache: cache_place(cache_dir, key_file.as_deref())?,
            certificates: cert_manager.enabled.unwrap_or(true).then_some(CertificateRules {
                namespaces: cert_manager.namespaces,
                issuers: cert_manager.issuers,
            }),
        }))
    }
}

fn cache_place(folder: Option<PathBuf>, key_file: Option<&Path>) -> anyhow::Result<Option<cache::Place>> {
    ensure!(folder.is_some() || key_file.is_none(), "--cache-key-file needs --cache-dir");
    let key = match key_file {
        Some(path) => {
            Some(cache::read_key(path).with_context(|| format!("--cache-key-file {}", path.display()))?)
        }
        None => None,
    };
    Ok(folder.map(|folder| cache::Place { folder, key }))
}

impl Ports {
    fn join(args: &RunArgs, file: &file::Ports) -> anyhow::Result<Self> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let pick = |flag: Option<Listen>, file: Option<Listen>, ip, port| {
            flag.or(file).unwrap_or(Listen(Some(SocketAddr::new(ip, port)))).0
        };
        let ports = Self {
            admin: pick(args.ports.admin, file.admin, loopback, 15_000),
            metrics: pick(args.ports.metrics, file.metrics, any, 15_020),
            stats: pick(args.ports.stats, file.stats, any, 15_090),
            health: pick(args.ports.health, file.health, any, 15_021),
        };
        if let Some(admin) = ports.admin {
            // The pages show all configuration and can end the process; nobody is asked who they are.
            ensure!(admin.ip().is_loopback(), "the admin port must be on a loopback address, not {admin}");
        }
        Ok(ports)
    }
}

impl Workload {
    /// Puts who the gateway is into `environment`.
    pub(crate) fn apply(&self, environment: &mut Environment) {
        let file = &self.file;
        let set = |to: &mut String, from: &Option<String>| {
            if let Some(from) = from {
                to.clone_from(from);
            }
        };
        set(&mut environment.workload.name, &file.name);
        set(&mut environment.workload.namespace, &file.namespace);
        set(&mut environment.workload.locality, &file.locality);
        set(&mut environment.workload.node, &file.node);
        set(&mut environment.root_namespace, &file.root_namespace);
        set(&mut environment.cluster_domain, &file.cluster_domain);
        if let Some(labels) = &file.labels {
            environment.workload.labels = labels.clone().into_iter().collect();
        }
        let map = self.listen.map.iter().flatten();
        environment.ports = Some(PortMap {
            map: map.map(|(declared, bound)| (declared.0, *bound)).collect(),
            offset: self.listen.offset.unwrap_or(0),
        });
        let headers = &mut environment.proxy_protocol;
        if let Some(mode) = self.proxy_protocol.mode {
            expect_header(headers, None, mode);
        }
        for (port, mode) in self.proxy_protocol.ports.iter().flatten() {
            expect_header(headers, Some(port.0), *mode);
        }
        headers.trusted = self.proxy_protocol.trusted.iter().flatten().map(|range| range.0).collect();
        self.args.apply(environment);
        environment.ports.take_if(|ports| self.by_services && *ports == PortMap::default());
    }
}

/// Cores this process may use: affinity and the cgroup's quota count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// More threads than this are a mistake in the setting.
const MAX_WORKERS: usize = 1024;

/// Seconds a load balancer has to see that the gateway is not ready any more (Istio's
/// `terminationDrainDuration`).
const DEFAULT_DRAIN: u64 = 5;

/// Seconds for what is still busy then; both together stay below Kubernetes' grace period of 30 s.
const DEFAULT_FINISH: u64 = 20;

/// Some 30,000 lines: a second of a very busy gateway.
const DEFAULT_LOG_BUFFER: usize = 16 << 20;

/// As in the telemetry crate.
const DEFAULT_MAX_SERIES: usize = 20_000;

#[cfg(test)]
mod tests;
