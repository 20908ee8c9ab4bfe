//! Label texts, in Istio's order, made once per source, destination and outcome.

use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_snapshot::cluster::{Service, Workload};

use super::series::{RequestKey, TcpKey};

/// What the gateway knows about itself; a fact it lacks is an empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLabels {
    /// `source_workload`: the owning Deployment's or DaemonSet's name.
    pub workload: String,
    /// `source_canonical_service`.
    pub canonical_service: String,
    /// `source_canonical_revision`.
    pub canonical_revision: String,
    /// `source_workload_namespace`.
    pub namespace: String,
    /// `source_principal`: `unknown` unless the gateway speaks Istio's mTLS.
    pub principal: String,
    /// `source_app`: the pod label `app`.
    pub app: String,
    /// `source_version`: the pod label `version`.
    pub version: String,
    /// `source_cluster`.
    pub cluster: String,
}

impl Default for SourceLabels {
    /// Istio's ingress gateway as its chart installs it.
    fn default() -> Self {
        let name = "istio-ingressgateway";
        Self {
            workload: name.into(),
            canonical_service: name.into(),
            canonical_revision: "latest".into(),
            namespace: "istio-system".into(),
            principal: "unknown".into(),
            app: name.into(),
            version: String::new(),
            cluster: "Kubernetes".into(),
        }
    }
}

/// Labels 1 to 9 as text, ready to be continued.
#[derive(Debug, Clone)]
pub(super) struct SourceText(Arc<str>);

impl SourceText {
    pub(super) fn new(source: &SourceLabels) -> Self {
        let mut text = String::from(r#"reporter="source""#);
        for (name, value) in [
            ("source_workload", &source.workload),
            ("source_canonical_service", &source.canonical_service),
            ("source_canonical_revision", &source.canonical_revision),
            ("source_workload_namespace", &source.namespace),
            ("source_principal", &source.principal),
            ("source_app", &source.app),
            ("source_version", &source.version),
            ("source_cluster", &source.cluster),
        ] {
            text.push(',');
            label(name, value, &mut text);
        }
        Self(text.into())
    }

    /// Labels 1 to 20 towards a destination.
    pub(super) fn towards(&self, service: Option<&Service>, workload: Option<&Workload>) -> Arc<str> {
        let nobody = Workload::default();
        let workload = workload.unwrap_or(&nobody);
        let (host, name, namespace) = match service {
            Some(service) => (&*service.host, &*service.name, &*service.namespace),
            None => (UNKNOWN, UNKNOWN, &*workload.namespace),
        };
        let mut text = self.0.to_string();
        for (name, value, missing) in [
            ("destination_workload", &*workload.name, UNKNOWN),
            ("destination_workload_namespace", &*workload.namespace, UNKNOWN),
            // Filled on mTLS between meshed workloads only, which the gateway does not speak.
            ("destination_principal", UNKNOWN, UNKNOWN),
            ("destination_app", &*workload.app, UNKNOWN),
            ("destination_version", &*workload.version, UNKNOWN),
            ("destination_service", host, UNKNOWN),
            ("destination_canonical_service", &*workload.canonical_service, UNKNOWN),
            ("destination_canonical_revision", &*workload.canonical_revision, "latest"),
            ("destination_service_name", name, UNKNOWN),
            ("destination_service_namespace", namespace, UNKNOWN),
            ("destination_cluster", &*workload.cluster, UNKNOWN),
        ] {
            text.push(',');
            label(name, if value.is_empty() { missing } else { value }, &mut text);
        }
        text.into()
    }
}

/// Labels 21 to 25 of the HTTP families.
pub(super) fn request_tail(key: &RequestKey) -> Arc<str> {
    let protocol = if key.grpc { "grpc" } else { "http" };
    let mut text = format!(r#",request_protocol="{protocol}",response_code="{}","#, key.code);
    text.push_str(r#"grpc_response_status=""#);
    if let Some(status) = key.grpc_status {
        write!(text, "{status}").expect("writing to a string cannot fail");
    }
    write!(text, r#"",response_flags="{}",connection_security_policy="unknown""#, key.flags)
        .expect("writing to a string cannot fail");
    text.into()
}

/// Labels of the TCP families behind the twentieth.
pub(super) fn tcp_tail(key: &TcpKey) -> Arc<str> {
    format!(r#",request_protocol="tcp",response_flags="{}",connection_security_policy="unknown""#, key.flags)
        .into()
}

/// Appends `name="value"`, escaped as the text format asks.
pub(super) fn label(name: &str, value: &str, out: &mut String) {
    out.push_str(name);
    out.push_str("=\"");
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            char => out.push(char),
        }
    }
    out.push('"');
}

const UNKNOWN: &str = "unknown";
