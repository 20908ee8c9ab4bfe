//! Databases behind one port of a gateway, told apart by server name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::objects::{gateway, passthrough, service, tls_routes};
use portcullis_tests::pki::Authority;
use portcullis_tests::postgres::{Postgres, Psql, Which};
use portcullis_tests::process::poll;
use serde_json::Value;
use tempfile::TempDir;

/// The port that the tests' Gateways declare.
pub(crate) const PORT: u16 = 5432;

/// `name|t` where the session is encrypted as the server sees it.
pub(crate) const WHO: &str =
    "select current_setting('cluster_name'), ssl from pg_stat_ssl where pid = pg_backend_pid()";

/// A gateway that passes TLS through to real servers.
pub(crate) struct Databases {
    pub(crate) gateway: Gateway,
    pub(crate) servers: Vec<Postgres>,
    pub(crate) root: PathBuf,
    pub(crate) ca: Authority,
    _folder: TempDir,
}

impl Databases {
    /// One server for each name; server `a.test` calls itself `a`. `None` where there is no such PostgreSQL.
    pub(crate) fn start(which: Which, names: &[&str]) -> Option<Self> {
        let ca = Authority::new("databases");
        let folder = tempfile::tempdir().unwrap();
        let root = ca.write(folder.path(), "ca").unwrap();
        let start = |name: &&str| Postgres::start(which, label(name), &ca.server(&[name]));
        let servers: Vec<Postgres> = names.iter().map(start).collect::<Option<_>>()?;
        let members: Vec<_> = names.iter().copied().zip(servers.iter().map(Postgres::address)).collect();
        let gateway = serving(&by_name(&members));
        Some(Self { gateway, servers, root, ca, _folder: folder })
    }

    /// `psql` through the gateway.
    pub(crate) fn psql(&self, host: &str, mode: &str) -> Psql {
        Psql::new(host, self.gateway.address(PORT).port()).ssl_mode(mode).root(&self.root)
    }
}

/// A Gateway and routes that pass each server name through to a member.
pub(crate) fn by_name(members: &[(&str, SocketAddr)]) -> String {
    let hosts: Vec<&str> = members.iter().map(|(host, _)| *host).collect();
    let services: String =
        members.iter().map(|(host, member)| service(label(host), PORT, "tcp-postgres", *member)).collect();
    let routes: Vec<_> = hosts.iter().map(|host| (*host, label(host))).collect();
    gateway("pg", &[passthrough(PORT, &hosts)]) + &tls_routes("pg", "pg", PORT, &routes) + &services
}

/// A gateway that serves these objects on [`PORT`], with two workers: a request to cancel may meet another
/// one than its session.
pub(crate) fn serving(objects: &str) -> Gateway {
    Setup::new(objects, &[PORT]).arguments(&["--workers", "2"]).start()
}

/// Waits for a line of the access log and gives it.
pub(crate) fn logged(gateway: &Gateway, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let lines = gateway.log_until(what, |lines| lines.iter().any(&wanted));
    lines.into_iter().find(&wanted).expect("it was there just now")
}

/// Waits for the line whose reason holds this text, and gives it.
pub(crate) fn reasoned(gateway: &Gateway, part: &str) -> Value {
    logged(gateway, part, |line| line["portcullis_reason"].as_str().is_some_and(|why| why.contains(part)))
}

/// How often something was refused.
pub(crate) fn drops(gateway: &Gateway, reason: &str) -> f64 {
    gateway.samples().sum("portcullis_drops_total", &[("reason", reason)])
}

/// The first label of a host name.
pub(crate) fn label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

/// How many sessions of a server run a query that begins like this.
pub(crate) fn running(direct: &Psql, query: &str, expected: &str) -> bool {
    let count = format!(
        "select count(*) from pg_stat_activity where query like '{query}%' and state = 'active' and pid <> pg_backend_pid()"
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    poll(deadline, || (direct.run(&count).unwrap().stdout.trim() == expected).then_some(())).is_some()
}
