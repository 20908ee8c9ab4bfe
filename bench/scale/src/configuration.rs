//! The configurations, as files that change one by one.

use std::net::SocketAddr;

use portcullis_tests::gateway::Setup;
use portcullis_tests::pki::Authority;
use portcullis_tests::{http, objects};

/// Servers of one Gateway; the API server takes no more than some thousand, and nobody writes as many.
const SERVERS: usize = 100;

/// A large configuration.
#[derive(Clone, Copy)]
pub(crate) enum Configuration {
    /// So many hosts, each with a file, a VirtualService, a Service and five endpoints of its own.
    Hosts {
        count: usize,
        /// Each endpoint in an EndpointSlice of its own.
        apart: bool,
    },
    /// One host with so many routes in one VirtualService.
    Routes(usize),
    /// So many servers with a certificate of their own, beside one host without TLS.
    Certificates(usize),
}

/// What is asked, and the file that decides the answer.
pub(crate) struct Question {
    pub(crate) file: String,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Configuration {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Hosts { count, apart: false } => format!("{count} hosts"),
            Self::Hosts { count, apart: true } => format!("{count} hosts, slices apart"),
            Self::Routes(count) => format!("{count} routes"),
            Self::Certificates(count) => format!("{count} certificates"),
        }
    }

    pub(crate) fn setup(self) -> Setup {
        let setup = Setup::new(http::gateway(), &[80, 443]);
        match self {
            Self::Hosts { count, .. } => (0..count)
                .fold(setup, |setup, number| setup.file(&self.question(number).file, &self.file(number, 0))),
            Self::Routes(_) => setup.file(&self.question(0).file, &self.file(0, 0)),
            Self::Certificates(count) => {
                let setup = setup.file(&self.question(0).file, &self.file(0, 0));
                let authority = Authority::new("bench");
                (0..count).step_by(SERVERS).fold(setup, |setup, first| {
                    let last = (first + SERVERS).min(count);
                    setup.file(&format!("edge-{first}.yaml"), &servers(&authority, first..last))
                })
            }
        }
    }

    /// A question of which there are as many as hosts or routes.
    pub(crate) fn question(self, number: usize) -> Question {
        match self {
            Self::Hosts { count, .. } => {
                let name = format!("app-{}", number % count);
                Question {
                    file: format!("{name}.yaml"),
                    host: format!("{name}.test"),
                    path: "/turn".to_owned(),
                }
            }
            Self::Routes(count) => Question {
                file: "app.yaml".to_owned(),
                host: "app.test".to_owned(),
                path: format!("/turn/{}/", number % count),
            },
            Self::Certificates(_) => Question {
                file: "app.yaml".to_owned(),
                host: "app.test".to_owned(),
                path: "/turn/0/".to_owned(),
            },
        }
    }

    /// The file of a question, with `turn` as its answer.
    pub(crate) fn file(self, number: usize, turn: usize) -> String {
        match self {
            Self::Hosts { count, apart } => application(number % count, turn, apart),
            Self::Routes(count) => routes(count, number % count, turn),
            Self::Certificates(_) => routes(1, 0, turn),
        }
    }
}

fn answer(path: &str, turn: usize) -> String {
    format!(
        "{{match: [{{uri: {{prefix: {path}}}}}], directResponse: {{status: 200, body: {{string: '{turn}'}}}}}}"
    )
}

fn application(number: usize, turn: usize, apart: bool) -> String {
    let name = format!("app-{number}");
    let address = |last: usize| format!("10.{}.{}.{last}", number / 250 % 250, number % 250);
    let rules = [answer("/turn", turn), http::prefix("/api/", &name, "timeout: 5s"), http::to(&name, "")];
    let routes = http::routes(&name, &[&format!("{name}.test")], &rules);
    if apart {
        let member = |last| SocketAddr::new(address(last).parse().expect("an address"), 8080);
        return routes + &http::service(&name, "http", &(1..=5).map(member).collect::<Vec<_>>());
    }
    let endpoints: String = (1..=5)
        .map(|last| format!("\n- {{addresses: [{}], conditions: {{ready: true}}}}", address(last)))
        .collect();
    routes
        + &http::service(&name, "http", &[])
        + &format!(
            "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:{endpoints}"
        )
}

/// Many routes of one host, of which one has another answer.
fn routes(count: usize, number: usize, turn: usize) -> String {
    let answer = |own: usize| answer(&format!("/turn/{own}/"), if own == number { turn } else { 0 });
    http::routes("app", &["app.test"], &(0..count).map(answer).collect::<Vec<_>>())
}

/// A Gateway with a server for each number, and their certificates.
fn servers(authority: &Authority, numbers: std::ops::Range<usize>) -> String {
    let host = |number: usize| format!("tls-{number}.test");
    let server = |number: usize| {
        let tls = format!("{{mode: SIMPLE, credentialName: tls-{number}}}");
        objects::server(443, "HTTPS", &[&host(number)], &tls)
    };
    let secret = |number: usize| {
        let leaf = authority.server(&[&host(number)]);
        format!("\n---\n{}", leaf.tls_secret(objects::NAMESPACE, &format!("tls-{number}")))
    };
    let secrets: String = numbers.clone().map(secret).collect();
    objects::gateway(&format!("edge-{}", numbers.start), &numbers.map(server).collect::<Vec<_>>()) + &secrets
}
