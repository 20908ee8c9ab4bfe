//! Conflicts that Istio resolves in silence, found in what was compiled.
//!
//! Everything here runs after the routing state is built and changes nothing of it: what is reported is what
//! happened. Work grows with the number of routes, not with its square: see [`reach`].

mod delegates;
mod entries;
mod hosts;
mod impossible;
mod objects;
mod reach;
mod servers;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use portcullis_snapshot::listener::{ChainService, ListenerKey};
use portcullis_snapshot::{Listener, RouteTable, Settings};

pub use reach::{Shadowed, shadowed};

use crate::binding::Bindings;
use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::gateway::MergedPort;
use crate::objects::Objects;
use crate::services::Services;

/// What the conflicts are looked for in.
pub(crate) struct Scene<'c, 'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) environment: &'c Environment,
    pub(crate) services: &'c Services,
    pub(crate) ports: &'c BTreeMap<ListenerKey, MergedPort<'a>>,
    pub(crate) bindings: &'c Bindings<'a>,
    pub(crate) listeners: &'c [Arc<Listener>],
    pub(crate) settings: &'c Settings,
}

/// Reports every conflict.
pub(crate) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let tables = tables(scene.listeners);
    entries::report(scene, &tables, diagnostics);
    hosts::report(scene, &tables, diagnostics);
    servers::report(scene, &tables, diagnostics);
    delegates::report(scene, diagnostics);
    objects::report(scene, diagnostics);
}

/// A route table and what the connections behind it are.
struct Table<'c> {
    routes: &'c RouteTable,
    /// Whether TLS ends in front of it.
    tls: bool,
}

/// Every route table once.
fn tables(listeners: &[Arc<Listener>]) -> Vec<Table<'_>> {
    let mut seen = HashSet::new();
    let mut tables = Vec::new();
    for listener in listeners {
        let plain = listener.plain.iter().map(|chain| (chain, false));
        let tls = listener.tls.values().map(|chain| (chain, true));
        for (chain, tls) in plain.chain(tls) {
            if let ChainService::Http(routes) = &chain.service
                && seen.insert(Arc::as_ptr(routes))
            {
                tables.push(Table { routes, tls });
            }
        }
    }
    tables
}
