//! Objects to snapshot and diagnostics: total, deterministic, independent of the order of its input.
//!
//! [`compile`] is a pure function. It reads no file, no clock and no network: what it needs to know of the
//! world stands in the [`Environment`]. It never fails: what cannot be used is left out (or answers 503, where
//! Istio's gateway does) and is explained by a [`Diagnostic`] that names object, field and way out.

mod admission;
mod analysis;
mod binding;
mod cert_manager;
mod certificates;
mod challenges;
mod clusters;
mod compiler;
mod conflicts;
mod credentials;
mod delegate;
mod destination;
mod diagnostic;
mod environment;
mod files;
mod gateway;
mod honoured;
mod http_route;
mod listeners;
mod locality;
mod names;
mod objects;
mod port;
mod route_table;
mod services;
mod settings;
mod sni;
mod tcp_route;
#[cfg(test)]
mod testing;
mod unhonoured;

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_snapshot::Snapshot;

pub use admission::admission;
pub use cert_manager::{CertificateRules, Certificates, WantedCertificate, certificates};
pub use compiler::{Built, Compiler, Work};
pub use conflicts::{Shadowed, shadowed};
pub use credentials::cache::TlsCache;
pub use diagnostic::{Code, Diagnostic};
pub use environment::{
    Environment, GatewayWorkload, PortMap, ProxyProtocolMode, ProxyProtocolPorts, TlsEnvironment,
};
pub use files::{Files, referenced_files};
pub use honoured::{Honoured, honoured_fields};
pub use objects::Objects;
pub use portcullis_api::{ObjectRef, Origin, Severity};
pub use unhonoured::not_honoured;

use crate::binding::Bindings;
use crate::clusters::Clusters;
use crate::diagnostic::Diagnostics;
use crate::services::{Hosts, Services};

/// What a compilation yields.
#[derive(Debug)]
pub struct Compiled {
    /// The routing state; its generation is 0, the publisher counts.
    pub snapshot: Snapshot,
    /// Everything worth saying about the objects, the worst first.
    pub diagnostics: Vec<Diagnostic>,
    /// Host names whose addresses a cluster needs ([`Environment::resolved`]).
    pub wanted_names: BTreeSet<String>,
    /// How often to ask for those whose answers do not say how long they are good for (`dnsRefreshRate`).
    pub dns_refresh_rate: Duration,
}

/// Compiles `objects` for the gateway that `environment` describes.
#[must_use]
pub fn compile(objects: &Objects, environment: &Environment) -> Compiled {
    let mut diagnostics = Diagnostics::default();
    objects.report_duplicates(&mut diagnostics);
    unhonoured::report(objects, &mut diagnostics);
    unhonoured::report_kinds(objects, environment, &mut diagnostics);
    let services = Services::build(objects, environment, Hosts::All, &mut diagnostics);
    let clusters = Clusters::build(objects, environment, &services, None, &mut diagnostics);
    let ports = gateway::merge(objects, environment, &mut diagnostics);
    let bindings = Bindings::new(objects, environment, &mut diagnostics);
    let (listeners, _) =
        listeners::listeners(&ports, objects, environment, &bindings, &clusters, &mut diagnostics);
    let settings = settings::settings(objects, &mut diagnostics);
    let scene = conflicts::Scene {
        objects,
        environment,
        services: &services,
        ports: &ports,
        bindings: &bindings,
        listeners: &listeners,
        settings: &settings,
    };
    conflicts::report(&scene, &mut diagnostics);
    analysis::report(&scene, &mut diagnostics);
    Compiled {
        snapshot: Snapshot { generation: 0, listeners, clusters: clusters.served().clone(), settings },
        diagnostics: diagnostics.into_sorted(),
        wanted_names: clusters.wanted_names(),
        dns_refresh_rate: settings::dns_refresh_rate(objects),
    }
}
