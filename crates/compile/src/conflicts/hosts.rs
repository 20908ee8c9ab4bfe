//! Hosts that several VirtualServices serve: Istio merges them on a gateway, in an order few people know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portcullis_snapshot::VirtualHost;

use super::{Scene, Table};
use crate::diagnostic::{Code, Diagnostics};

/// Hosts named in one message.
const SHOWN: usize = 3;

/// Reports each VirtualService that shares a host with one whose rules are tried before its own.
pub(super) fn report(scene: &Scene<'_, '_>, tables: &[Table<'_>], diagnostics: &mut Diagnostics) {
    let shared: Vec<(&str, &VirtualHost)> = tables
        .iter()
        .flat_map(|table| table.routes.hosts.values())
        .filter(|host| is_shared(host))
        .map(|host| (&*host.name, &**host))
        .collect();
    if shared.is_empty() {
        return;
    }
    let mut roots: HashMap<*const u8, usize> = HashMap::new();
    for (position, bound) in scene.bindings.all().iter().enumerate() {
        roots.extend(bound.rules.iter().map(|rule| (rule.object.as_ptr(), position)));
    }
    // The later one, with the earlier one, to the hosts they share.
    let mut pairs: BTreeMap<(usize, usize), BTreeSet<&str>> = BTreeMap::new();
    for (name, host) in shared {
        let mut order: Vec<usize> = Vec::new();
        for route in host.routes() {
            let Some(&root) = roots.get(&route.origin.object.as_ptr()) else { continue };
            if !order.contains(&root) {
                order.push(root);
            }
        }
        for pair in order.windows(2) {
            pairs.entry((pair[1], pair[0])).or_default().insert(name);
        }
    }
    for ((later, earlier), hosts) in pairs {
        let all = scene.bindings.all();
        let (later, earlier) = (&all[later], &all[earlier]);
        let message = format!(
            "shares {} with {}, whose rules are tried first; rules that take every request come last",
            named(&hosts),
            earlier.name
        );
        let remedy = "where the order matters, write the rules into one VirtualService, or delegate";
        diagnostics.report(Code::SharedHost, later.subject(), "spec.hosts", message, remedy);
    }
}

/// Whether routes of more than one object are in it; those of one share the text of its name.
fn is_shared(host: &VirtualHost) -> bool {
    let mut objects = host.routes().iter().map(|route| &route.origin.object);
    let Some(first) = objects.next() else { return false };
    objects.any(|other| !Arc::ptr_eq(first, other))
}

/// The first hosts, each with its port.
fn named(hosts: &BTreeSet<&str>) -> String {
    let shown = hosts.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match hosts.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
