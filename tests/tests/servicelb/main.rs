//! Behind K3s' ServiceLB: whether HTTP, HTTPS and psql arrive, and whom the gateway takes for the client.
//!
//! The packets take the ways they take on a node, in namespaces of the test's own: kube-proxy's rules come first, those of
//! the CNI's portmap plugin last, and those of the ServiceLB pod stand in a namespace of their own
//! (`reference/kube-testing.md` §5 has them as read and measured with the real programs).

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

mod node;

use std::path::Path;
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{routes, server, service, to};
use portcullis_tests::netns;
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::postgres::{Postgres, Psql, Which};
use portcullis_tests::process::run;
use portcullis_tests::upstream::{Upstream, ok};

use crate::node::{CLIENT, NODE, Node, Policy, SERVICELB, Way};

const LIMIT: Duration = Duration::from_secs(20);

/// What the gateway serves: one host over HTTP and HTTPS, and one database.
struct Site {
    gateway: Gateway,
    upstream: Upstream,
    database: Option<Postgres>,
    folder: tempfile::TempDir,
    arrivals: std::cell::Cell<usize>,
}

impl Site {
    fn start() -> Self {
        let ca = Authority::new("servicelb");
        let folder = tempfile::tempdir().unwrap();
        ca.write(folder.path(), "ca").unwrap();
        let upstream = Upstream::serve(|_| ok("fine"));
        let database = Postgres::start(Which::System, "db", &ca.server(&["db.test"]));
        let servers = [
            server(80, &["a.test"]),
            objects::server(443, "HTTPS", &["a.test"], "{mode: SIMPLE, credentialName: a}"),
            objects::passthrough(5432, &["db.test"]),
        ];
        let mut yaml = objects::gateway("gw", &servers)
            + &routes("app", &["a.test"], &[to("app", "timeout: 10s")])
            + &service("app", "http", &[upstream.address()]);
        if let Some(database) = &database {
            yaml += &objects::service("db", 5432, "tcp-postgres", database.address());
            yaml += &objects::tls_routes("db", "gw", 5432, &[("db.test", "db")]);
        }
        let secret = ca.server(&["a.test"]).tls_secret("istio-system", "a");
        let gateway = Setup::new(yaml, &[80, 443, 5432]).file("secret.yaml", &secret).start();
        Self { gateway, upstream, database, folder, arrivals: std::cell::Cell::new(0) }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Asks over HTTP and HTTPS, and by psql, from the client's namespace; tells by which addresses the client was known.
    fn ask(&self, node: &Node, log: usize) -> Vec<String> {
        for (scheme, port) in [("http", 80), ("https", 443)] {
            let answer = self.curl(node, scheme, port, &self.ca());
            assert_eq!(answer, "fine 200", "{scheme}");
        }
        let mut asked = 2;
        if self.database.is_some() {
            asked += 1;
            let psql =
                Psql::new("db.test", 5432).with("hostaddr", NODE).ssl_mode("verify-full").root(&self.ca());
            let mut command = node.client.command("psql");
            let inner = psql.command();
            command.args(inner.get_args());
            for (name, value) in inner.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            let finished = run(command.args(["-c", "select 6 * 7"]), LIMIT).unwrap();
            assert_eq!((finished.code(), finished.stdout.as_str()), (0, "42\n"), "{}", finished.stderr);
        }
        let lines = self.gateway.log_lines(log + asked);
        let host = |address: &str| address.rsplit_once(':').unwrap().0.to_owned();
        let mut seen: Vec<String> = lines[log..]
            .iter()
            .map(|line| host(line["downstream_remote_address"].as_str().unwrap()))
            .collect();
        // What upstreams are told is the same.
        let before = self.arrivals.replace(self.arrivals.get() + 2);
        for arrival in &self.upstream.await_arrivals(before + 2)[before..] {
            seen.push(arrival.message.header("x-forwarded-for").unwrap().to_owned());
        }
        seen.sort();
        seen.dedup();
        seen
    }

    fn curl(&self, node: &Node, scheme: &str, port: u16, ca: &Path) -> String {
        let mut curl = node.client.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--write-out", " %{http_code}"]);
        curl.arg("--cacert").arg(ca).args(["--resolve", &format!("a.test:{port}:{NODE}")]);
        let finished = run(curl.arg(format!("{scheme}://a.test/")), LIMIT).unwrap();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        finished.stdout
    }
}

#[test]
fn whom_the_gateway_takes_for_the_client() {
    if !netns::is_own() {
        return;
    }
    let site = Site::start();
    let ports = [80, 443, 5432].map(|port| (port, site.gateway.port(port)));
    let mut log = 0;
    for (policy, way, expected) in [
        // The Service's status lists the node, so kube-proxy takes the packets before ServiceLB sees them.
        (Policy::Local, Way::Listed, CLIENT),
        (Policy::Cluster, Way::Listed, node::BRIDGE),
        // Just after it was installed, or behind a NAT in front of the node.
        (Policy::Local, Way::ServiceLb, SERVICELB),
        (Policy::Cluster, Way::ServiceLb, SERVICELB),
        // A port of the node itself, without a load balancer.
        (Policy::Local, Way::HostPort, CLIENT),
        (Policy::Cluster, Way::HostNetwork, CLIENT),
    ] {
        let node = Node::new(policy, way, &ports);
        let seen = site.ask(&node, log);
        assert_eq!(seen, [expected], "{policy:?} {way:?}");
        log = site.gateway.log_lines(0).len();
    }
}
