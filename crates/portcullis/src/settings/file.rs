//! The settings file as it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::AccessLog;
use crate::args::{Listen, ProxyMode, Range};

/// The whole file; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileSettings {
    pub(super) workers: Option<usize>,
    pub(super) config: Config,
    pub(super) kubernetes: Kubernetes,
    pub(super) cert_manager: CertManager,
    pub(super) gateway: Gateway,
    pub(super) ports: Ports,
    pub(super) proxy_protocol: ProxyProtocol,
    pub(super) log: Log,
    pub(super) drain: Drain,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    pub(super) compat: Compat,
}

/// `[config]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    pub(super) paths: Vec<PathBuf>,
    pub(super) settle_quiet_ms: Option<u64>,
    pub(super) settle_whole_ms: Option<u64>,
    pub(super) settle_longest_ms: Option<u64>,
}

/// `[kubernetes]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Kubernetes {
    pub(super) enabled: Option<bool>,
    pub(super) context: Option<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) pod: Option<String>,
    pub(super) write_status: Option<bool>,
    pub(super) cache_dir: Option<PathBuf>,
    pub(super) cache_key_file: Option<PathBuf>,
}

/// `[cert_manager]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CertManager {
    pub(super) enabled: Option<bool>,
    pub(super) namespaces: Vec<String>,
    pub(super) issuers: Vec<String>,
}

/// `[gateway]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) locality: Option<String>,
    pub(super) node: Option<String>,
    pub(super) root_namespace: Option<String>,
    pub(super) cluster_domain: Option<String>,
}

/// `[ports]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) map: Option<BTreeMap<Port, u16>>,
    pub(super) offset: Option<u16>,
    pub(super) admin: Option<Listen>,
    pub(super) metrics: Option<Listen>,
    pub(super) stats: Option<Listen>,
    pub(super) health: Option<Listen>,
}

/// `[proxy_protocol]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProxyProtocol {
    pub(super) mode: Option<ProxyMode>,
    pub(super) ports: Option<BTreeMap<Port, ProxyMode>>,
    pub(super) trusted: Option<Vec<Range>>,
}

/// A port as a key, which is text in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Port(pub(super) u16);

impl TryFrom<String> for Port {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is not a port"))
    }
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) json: Option<bool>,
    pub(super) access_log: Option<AccessLog>,
    pub(super) access_log_buffer_bytes: Option<usize>,
}

/// `[drain]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Drain {
    pub(super) delay_seconds: Option<u64>,
    pub(super) finish_seconds: Option<u64>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) max_series: Option<usize>,
}

/// `[limits]`: what a peer may make the gateway wait for or hold. Unset ones keep the data plane's default.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) header_timeout_seconds: Option<u64>,
    pub(crate) idle_timeout_seconds: Option<u64>,
    pub(crate) peek_timeout_seconds: Option<u64>,
    pub(crate) handshake_timeout_seconds: Option<u64>,
    pub(crate) max_streams: Option<u32>,
    pub(crate) max_requests_per_connection: Option<u64>,
    pub(crate) max_connections_per_worker: Option<usize>,
    pub(crate) retry_buffer_bytes: Option<usize>,
}

/// `[compat]`: where Istio's gateway does what this one does not by itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Compat {
    pub(super) lenient_http1: Option<bool>,
}

impl FileSettings {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or holds an unknown key or a value out of place.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || format!("settings file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(name)?;
        Self::parse(&text).with_context(name)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(toml::from_str(text)?)
    }
}
