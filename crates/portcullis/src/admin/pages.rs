//! The pages: what is served, by whom, with which certificates, and what is wrong with it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::StatusCode;
use portcullis_dataplane::Bind;
use portcullis_snapshot::cluster::Address;
use portcullis_snapshot::listener::{ChainTls, Listener, ListenerKey};
use portcullis_snapshot::text as snapshot_text;
use portcullis_snapshot::tls::CertificateInfo;
use portcullis_snapshot::{Cluster, FilterChain, Snapshot};
use portcullis_telemetry::metrics;
use serde_json::{Value, json};

use super::routes::{Answer, text, with_type};
use super::{Admin, query};
use crate::commands::version::VERSION;
use crate::decide::{certificate_facts, decide};
use crate::output::{self, Style};
use crate::question::Question;
use crate::time::rfc3339;

const INDEX: &str = "\
portcullis admin

GET  /config_dump         the configuration in force
GET  /clusters            services and their endpoints
GET  /listeners           ports and whether they are open
GET  /certs               certificates and their days left
GET  /diagnostics         what is wrong with the configuration (?format=json)
GET  /explain?url=https://host/path&method=GET&header=k:v   the way of a request (?format=json)
GET  /server_info         version, state, uptime
GET  /ready               200 when traffic should come
GET  /stats/prometheus    metrics
GET  /logging             what is logged
POST /logging?level=debug change that
POST /quitquitquit        drain and end
";

impl Admin {
    /// A page of the admin port.
    pub(super) fn page(&self, page: &str, query: &str) -> Answer {
        let as_json = query::value(query, "format").as_deref() == Some("json");
        match page {
            "/" | "/help" => text(StatusCode::OK, INDEX),
            "/config_dump" => self.config_dump(),
            "/clusters" => json_page(&self.clusters()),
            "/listeners" => json_page(&self.listeners()),
            "/certs" => json_page(&certificates(&self.reader.current())),
            "/diagnostics" => self.diagnostics(as_json),
            "/explain" => self.explain(query, as_json),
            "/server_info" => json_page(&self.server_info()),
            _ => text(StatusCode::NOT_FOUND, INDEX),
        }
    }

    /// Every metric in Prometheus' text format.
    pub(super) fn prometheus(&self) -> Answer {
        let mut out = String::new();
        self.metrics.process().config_applied(self.life.dataplane().applied_generation);
        self.metrics.render(SystemTime::now(), &mut out);
        with_type(StatusCode::OK, metrics::CONTENT_TYPE, out)
    }

    fn clusters(&self) -> Value {
        let mut out = BTreeMap::new();
        self.learned.each(|name, shared| {
            out.insert(name.to_owned(), Out { ejected: shared.ejected(), failing: shared.failing() });
        });
        let snapshot = self.reader.current();
        let mut facts =
            |cluster: &Cluster| cluster_facts(cluster, &out.remove(&*cluster.name).unwrap_or_default());
        snapshot.clusters.iter().map(|cluster| facts(cluster)).collect()
    }

    fn config_dump(&self) -> Answer {
        let (snapshot, report) = (self.reader.current(), self.control.report());
        let lines = snapshot_text::snapshot(&snapshot);
        json_page(&json!({
            "generation": snapshot.generation,
            "judged": report.judged,
            "published": rfc3339(report.published),
            "compileMilliseconds": report.compile_time.as_secs_f64() * 1000.0,
            "files": report.files,
            "objects": report.objects,
            "snapshot": lines.lines().collect::<Vec<_>>(),
        }))
    }

    fn listeners(&self) -> Value {
        let binds = self.life.dataplane().listeners;
        let snapshot = self.reader.current();
        snapshot.listeners.iter().map(|listener| listener_facts(listener, &binds)).collect()
    }

    fn diagnostics(&self, as_json: bool) -> Answer {
        let notices = &self.control.report().notices;
        if as_json {
            return json_page(&notices.iter().map(output::notice_json).collect());
        }
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let _ = output::notices(&mut out, notices, Style::Plain);
        if out.is_empty() {
            out = b"nothing found\n".to_vec();
        }
        text(StatusCode::OK, out)
    }

    fn explain(&self, query: &str, as_json: bool) -> Answer {
        let question = match question(query) {
            Ok(question) => question,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let decision = decide(&self.reader.current(), &question);
        if as_json {
            json_page(&serde_json::to_value(&decision).unwrap_or_default())
        } else {
            text(StatusCode::OK, decision.shown(Style::Plain).to_string())
        }
    }

    fn server_info(&self) -> Value {
        let (status, report) = (self.life.dataplane(), self.control.report());
        let now = SystemTime::now();
        let uptime = now.duration_since(self.started).unwrap_or_default();
        let cluster = self.metrics.process().cluster();
        json!({
            "version": VERSION,
            "state": self.life.not_ready().unwrap_or("ready"),
            "started": rfc3339(self.started),
            "uptimeSeconds": uptime.as_secs(),
            "workers": self.workers,
            "connections": status.connections,
            "configurationSource": cluster.source().as_str(),
            "configurationAgeSeconds": cluster.age(now).as_secs(),
            "generation": report.generation,
            "appliedGeneration": status.applied_generation,
            "processId": std::process::id(),
        })
    }
}

/// Every certificate that may be presented, each once.
pub(crate) fn served_certificates(snapshot: &Snapshot) -> Vec<&CertificateInfo> {
    let mut all: Vec<_> =
        snapshot.listeners.iter().flat_map(|listener| chains(listener)).flat_map(presented).collect();
    let key = |certificate: &&CertificateInfo| (certificate.source.clone(), certificate.serial.clone());
    all.sort_by_key(key);
    all.dedup_by_key(|certificate| key(&*certificate));
    all
}

fn chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    let tls = listener.tls.sorted().into_iter().map(|(_, chain)| &**chain);
    listener.plain.iter().map(|chain| &**chain).chain(tls)
}

fn presented(chain: &FilterChain) -> &[CertificateInfo] {
    match &chain.tls {
        ChainTls::Terminate(tls) => &tls.certificates,
        ChainTls::None | ChainTls::Unavailable { .. } => &[],
    }
}

fn certificates(snapshot: &Snapshot) -> Value {
    let facts = served_certificates(snapshot).into_iter().map(certificate_facts);
    facts.map(|facts| serde_json::to_value(facts).unwrap_or_default()).collect()
}

/// The endpoints of a cluster that get no requests now.
#[derive(Default)]
struct Out {
    ejected: Vec<Address>,
    failing: Vec<Address>,
}

fn cluster_facts(cluster: &Cluster, out: &Out) -> Value {
    let endpoint = |endpoint: &std::sync::Arc<portcullis_snapshot::cluster::Endpoint>| {
        json!({
            "address": endpoint.address.to_string(),
            "weight": endpoint.weight,
            "healthy": endpoint.healthy,
            "ejected": out.ejected.contains(&endpoint.address),
            "failingHealthChecks": out.failing.contains(&endpoint.address),
            "locality": endpoint.locality,
            "workload": endpoint.workload.name,
        })
    };
    json!({
        "name": cluster.name,
        "service": cluster.service.host,
        "port": cluster.port,
        "protocol": format!("{:?}", cluster.protocol),
        "tls": cluster.tls.is_some(),
        "balancer": format!("{:?}", cluster.balancer),
        "healthCheck": cluster.health_check.as_ref().map(ToString::to_string),
        "endpoints": cluster.endpoints.all.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn listener_facts(listener: &Listener, binds: &BTreeMap<ListenerKey, Bind>) -> Value {
    let (open, error) = match binds.get(&listener.key()) {
        Some(Bind::Open) => (true, None),
        Some(Bind::Failed(error)) => (false, Some(error.clone())),
        None => (false, Some("not tried yet".to_owned())),
    };
    let names: Vec<_> = listener.tls.sorted().into_iter().map(|(name, _)| name).collect();
    json!({
        "name": listener.name,
        "address": listener.bind.map(|address| address.to_string()),
        "port": listener.port,
        "open": open,
        "error": error,
        "plaintext": listener.plain.as_ref().map(|chain| chain.origin.to_string()),
        "serverNames": names,
    })
}

fn question(query: &str) -> Result<Question, String> {
    let url = query::value(query, "url").ok_or("write /explain?url=https://host/path")?;
    let asked = match query::value(query, "method") {
        Some(method) => format!("{method} {url}"),
        None => url,
    };
    let mut question = Question::parse(&asked)?;
    for (_, header) in query::pairs(query).filter(|(key, _)| key == "header") {
        question.add_header(&header)?;
    }
    if let Some(port) = query::value(query, "port") {
        question.port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
    }
    Ok(question)
}

fn json_page(value: &Value) -> Answer {
    with_type(StatusCode::OK, "application/json", format!("{value:#}\n"))
}
