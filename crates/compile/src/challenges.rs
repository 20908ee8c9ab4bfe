//! Questions of certificate authorities: the paths below `/.well-known/acme-challenge/` that cert-manager's solvers answer
//! (RFC 8555 §8.3, "HTTP Challenge").
//!
//! cert-manager says where they are answered by an Ingress that it makes for the time being. The authority asks over
//! plaintext on port 80, before the host has a certificate, so these paths come before every route, redirect and policy,
//! on every host, and whether or not a Gateway has it.
//!
//! Only solvers beside the gateway count, where the Secrets of its certificates are: whoever answers for a host gets
//! certificates for it, and other namespaces shall not.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::cert_manager::SOLVER;
use portcullis_api::core::{IngressPath, IngressService};
use portcullis_api::{Ingress, Kind};
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

/// Whether an Ingress is one of cert-manager's solvers beside the gateway.
pub(crate) fn is_solver(ingress: &Ingress, environment: &Environment) -> bool {
    ingress.meta.namespace == environment.workload.namespace
        && ingress.meta.labels.get(SOLVER).is_some_and(|value| value == "true")
}

/// What the solvers answer.
pub(crate) fn challenges(
    objects: &Objects,
    environment: &Environment,
    clusters: &Clusters,
    diagnostics: &mut Diagnostics,
) -> Challenges {
    let mut routes: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    let own = in_namespace(&objects.ingresses, &environment.workload.namespace);
    for ingress in own.filter(|ingress| is_solver(ingress, environment)) {
        let subject = Subject::new(Kind::Ingress, ingress);
        for (number, rule) in ingress.spec.rules.iter().enumerate() {
            let host =
                rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("*").to_ascii_lowercase();
            for (at, path) in rule.http.iter().flat_map(|http| http.paths.iter().enumerate()) {
                match route(ingress, number, path, clusters) {
                    Ok(route) => routes.entry(host.clone()).or_default().push(route),
                    Err(why) => diagnostics.report(
                        Code::NotServed,
                        subject,
                        format!("spec.rules[{number}].http.paths[{at}]"),
                        why,
                        "leave the Ingress to cert-manager, which makes and removes it",
                    ),
                }
            }
        }
    }
    let mut challenges = HostIndex::default();
    for (host, routes) in routes {
        challenges.set(&host, Arc::new(VirtualHost::new(format!("{host}:{PORT}"), false, routes)));
    }
    Arc::new(challenges)
}

fn route(
    ingress: &Ingress,
    rule: usize,
    path: &IngressPath,
    clusters: &Clusters,
) -> Result<Route, &'static str> {
    let text = path.path.as_deref().filter(|path| path.starts_with(ACME_CHALLENGE));
    let text = text.ok_or("is no path below /.well-known/acme-challenge/, and a solver answers no other")?;
    let IngressService { name, port } = path.backend.service.as_ref().ok_or("names no Service")?;
    let number = port.as_ref().and_then(|port| u16::try_from(port.number?).ok());
    let number = number.ok_or("names no port number")?;
    let namespace = &ingress.meta.namespace;
    let target = clusters.destination(name, namespace, None, Some(u32::from(number)), PORT);
    let destination =
        Destination { target, request_headers: HeaderOps::default(), response_headers: HeaderOps::default() };
    let forward = Forward {
        destinations: Destinations::One(destination),
        path: None,
        authority: None,
        timeout: None,
        retry: RetryPolicy::istio_default(),
        mirrors: Vec::new(),
        hash: Vec::new(),
    };
    let rule = u32::try_from(rule).unwrap_or(u32::MAX);
    let object = format!("Ingress {namespace}/{}", ingress.meta.name).into();
    Ok(Route {
        name: "acme-challenge".into(),
        origin: Origin { object, list: RuleList::Rules, rule, entry: None },
        matcher: RouteMatcher { path: PathMatch::Exact(text.into()), ..RouteMatcher::default() },
        action: Action::Forward(Box::new(forward)),
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        cors: None,
        fault: None,
    })
}
