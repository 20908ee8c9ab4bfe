//! Questions of certificate authorities: the paths below `/.well-known/acme-challenge/` that cert-manager's solvers answer
//! (RFC 8555 §8.3, "HTTP Challenge").
//!
//! cert-manager says where they are answered by an Ingress that it makes for the time being, or by an HTTPRoute where the
//! issuer has `gatewayHTTPRoute`. The authority asks over
//! plaintext on port 80, before the host has a certificate, so these paths come before every route, redirect and policy,
//! on every host, and whether or not a Gateway has it.
//!
//! Only solvers beside the gateway count, where the Secrets of its certificates are: whoever answers for a host gets
//! certificates for it, and other namespaces shall not.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::cert_manager::SOLVER;
use portcullis_api::core::{IngressPath, IngressService};
use portcullis_api::gateway_api::{HttpBackendRef, HttpRouteMatch};
use portcullis_api::{HttpRoute, Ingress, Kind, Meta};
use portcullis_snapshot::action::{Action, Destination, Destinations, Forward, HeaderOps};
use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::matcher::{PathMatch, RouteMatcher};
use portcullis_snapshot::retry::RetryPolicy;
use portcullis_snapshot::route::{ACME_CHALLENGE, Origin, RuleList};
use portcullis_snapshot::{Route, VirtualHost};

use crate::clusters::Clusters;
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::objects::{Objects, in_namespace};

/// The port that authorities ask on.
pub(crate) const PORT: u16 = 80;

/// The challenges by host.
pub(crate) type Challenges = Arc<HostIndex<Arc<VirtualHost>>>;

/// Whether an Ingress or HTTPRoute is one of cert-manager's solvers beside the gateway.
pub(crate) fn is_solver(meta: &Meta, environment: &Environment) -> bool {
    meta.namespace == environment.workload.namespace
        && meta.labels.get(SOLVER).is_some_and(|value| value == "true")
}

/// What the solvers answer.
pub(crate) fn challenges(
    objects: &Objects,
    environment: &Environment,
    clusters: &Clusters,
    diagnostics: &mut Diagnostics,
) -> Challenges {
    let own = &environment.workload.namespace;
    let mut solvers = Solvers { clusters, diagnostics, routes: BTreeMap::new() };
    let ingresses = in_namespace(&objects.ingresses, own);
    ingresses.filter(|ingress| is_solver(&ingress.meta, environment)).for_each(|it| solvers.ingress(it));
    let routes = in_namespace(&objects.http_routes, own);
    routes.filter(|route| is_solver(&route.meta, environment)).for_each(|it| solvers.http_route(it));
    let mut challenges = HostIndex::default();
    for (host, routes) in solvers.routes {
        challenges.set(&host, Arc::new(VirtualHost::new(format!("{host}:{PORT}"), false, routes)));
    }
    Arc::new(challenges)
}

/// A path, and the Service that answers it.
#[derive(Clone, Copy)]
struct Answer<'a> {
    path: &'a str,
    service: &'a str,
    port: u16,
}

/// Gathers what they answer, by host.
struct Solvers<'c, 'd> {
    clusters: &'c Clusters,
    diagnostics: &'d mut Diagnostics,
    routes: BTreeMap<String, Vec<Route>>,
}

impl Solvers<'_, '_> {
    fn ingress(&mut self, ingress: &Ingress) {
        let subject = Subject::new(Kind::Ingress, ingress);
        for (number, rule) in ingress.spec.rules.iter().enumerate() {
            let host = rule.host.as_deref().unwrap_or_default();
            for (at, path) in rule.http.iter().flat_map(|http| http.paths.iter().enumerate()) {
                let field = format!("spec.rules[{number}].http.paths[{at}]");
                self.add(subject, number, field, &[host], of_ingress(path));
            }
        }
    }

    fn http_route(&mut self, route: &HttpRoute) {
        let subject = Subject::new(Kind::HttpRoute, route);
        let every = [String::new()];
        let hosts = if route.spec.hostnames.is_empty() { &every[..] } else { &route.spec.hostnames };
        for (number, rule) in route.spec.rules.iter().enumerate() {
            for (at, asked) in rule.matches.iter().enumerate() {
                let field = format!("spec.rules[{number}].matches[{at}]");
                let answer = of_http_route(asked, &rule.backend_refs, &route.meta.namespace);
                self.add(subject, number, field, hosts, answer);
            }
        }
    }

    fn add(
        &mut self,
        subject: Subject<'_>,
        rule: usize,
        field: String,
        hosts: &[impl AsRef<str>],
        answer: Result<Answer<'_>, &'static str>,
    ) {
        match answer {
            Ok(answer) => {
                for host in hosts.iter().map(AsRef::as_ref) {
                    let host = if host.is_empty() { "*" } else { host }.to_ascii_lowercase();
                    let route = route(subject, rule, answer, self.clusters);
                    self.routes.entry(host).or_default().push(route);
                }
            }
            Err(why) => {
                let remedy = "leave it to cert-manager, which makes and removes it";
                self.diagnostics.report(Code::NotServed, subject, field, why, remedy);
            }
        }
    }
}

const NOT_A_SOLVERS: &str =
    "is no single path below /.well-known/acme-challenge/, and a solver answers no other";
const NO_PORT: &str = "names no port number";

fn of_ingress(path: &IngressPath) -> Result<Answer<'_>, &'static str> {
    let text = path.path.as_deref().filter(|path| path.starts_with(ACME_CHALLENGE)).ok_or(NOT_A_SOLVERS)?;
    let IngressService { name, port } = path.backend.service.as_ref().ok_or("names no Service")?;
    let port = port.as_ref().and_then(|port| u16::try_from(port.number?).ok()).ok_or(NO_PORT)?;
    Ok(Answer { path: text, service: name, port })
}

fn of_http_route<'a>(
    asked: &'a HttpRouteMatch,
    backends: &'a [HttpBackendRef],
    namespace: &str,
) -> Result<Answer<'a>, &'static str> {
    let exact = asked.path.as_ref().filter(|path| path.kind.as_deref() == Some("Exact"));
    let path = exact.and_then(|path| path.value.as_deref());
    let path = path.filter(|path| path.starts_with(ACME_CHALLENGE)).ok_or(NOT_A_SOLVERS)?;
    let [backend] = backends else { return Err("names no Service, or several, and a solver has one") };
    let is = |text: &Option<String>, wanted: &str| text.as_deref().is_none_or(|text| text == wanted);
    if !is(&backend.group, "") || !is(&backend.kind, "Service") {
        return Err("names something other than a Service");
    }
    // Whoever answers for a host gets certificates for it.
    if !is(&backend.namespace, namespace) {
        return Err("names a Service of another namespace");
    }
    let port = backend.port.and_then(|port| u16::try_from(port).ok()).ok_or(NO_PORT)?;
    Ok(Answer { path, service: &backend.name, port })
}

fn route(subject: Subject<'_>, rule: usize, answer: Answer<'_>, clusters: &Clusters) -> Route {
    let Answer { path, service, port } = answer;
    let target = clusters.destination(service, &subject.meta().namespace, None, Some(u32::from(port)), PORT);
    let destination =
        Destination { target, request_headers: HeaderOps::default(), response_headers: HeaderOps::default() };
    let forward = Forward {
        destinations: Destinations::One(destination),
        path: None,
        authority: None,
        timeout: None,
        retry: Arc::new(RetryPolicy::istio_default()),
        mirrors: Box::default(),
        hash: Box::default(),
    };
    let rule = u32::try_from(rule).unwrap_or(u32::MAX);
    Route {
        name: "acme-challenge".into(),
        origin: Origin {
            object: subject.object_ref().to_string().into(),
            list: RuleList::Rules,
            rule,
            entry: None,
        },
        matcher: RouteMatcher { path: PathMatch::Exact(path.into()), ..RouteMatcher::default() },
        action: Action::Forward(Box::new(forward)),
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        cors: None,
        fault: None,
    }
}
