//! Route tables in use, with some of their virtual hosts made again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use portcullis_api::VirtualService;
use portcullis_snapshot::listener::{ChainService, ListenerKey};
use portcullis_snapshot::{FastSet, FilterChain, Listener, RouteTable};

use super::changes::{Change, Changes};
use super::{Memo, too_many};
use crate::binding::Bindings;
use crate::delegate;
use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::gateway::{self, MergedPort, Role, Server};
use crate::listeners::{TableKey, TableTrace, maker, table_key};
use crate::objects::{Key, Objects};
use crate::route_table::{Wanted, evaluate, hosts_at, left_out};

impl Memo {
    /// Makes again what depends on changed VirtualServices, or on the hosts `seen` to differ. Gives the number of
    /// virtual hosts; `None` if more is concerned than route tables.
    pub(super) fn patch(
        &mut self,
        changes: &Changes,
        seen: &BTreeSet<Arc<str>>,
        objects: &Objects,
        environment: &Environment,
    ) -> Option<usize> {
        if !self.traces.asked_by_bytes.is_disjoint(seen) {
            return None;
        }
        let mut stale = changed(&changes.virtual_services, objects)?;
        for trace in self.traces.tables.values().filter(|_| !seen.is_empty()) {
            let asked =
                trace.parts.iter().filter(|(_, part)| part.asked.iter().any(|host| seen.contains(host)));
            stale.extend(asked.map(|(key, _)| key.clone()));
        }
        if too_many(stale.len(), objects.virtual_services.len()) {
            return None;
        }
        if stale.is_empty() {
            return Some(0);
        }
        let ports = gateway::merge(objects, environment, &mut Diagnostics::ignored());
        let bindings = Bindings::of(&stale, objects, environment);
        let mut patch =
            Patch { memo: self, objects, environment, stale: &stale, bindings: &bindings, made: 0 };
        for (key, servers) in tables(&ports) {
            patch.table(&key, &servers)?;
        }
        Some(patch.made)
    }

    /// Puts `new` in the place of a chain of the listener at `key`.
    fn replace(&mut self, key: ListenerKey, old: &Arc<FilterChain>, new: &Arc<FilterChain>) {
        let Ok(at) = self.listeners.binary_search_by_key(&key, |listener| listener.key()) else { return };
        let mut listener = Listener::clone(&self.listeners[at]);
        for chain in listener.plain.iter_mut().chain(listener.tls.values_mut()) {
            if Arc::ptr_eq(chain, old) {
                *chain = Arc::clone(new);
            }
        }
        self.listeners[at] = Arc::new(listener);
    }
}

/// The VirtualServices that are not what they were, those included that delegate to one which is not; `None` if rules
/// for bytes are among them, of which one may keep another from being used.
fn changed(changes: &[Change<VirtualService>], objects: &Objects) -> Option<BTreeSet<Key>> {
    let carries_bytes =
        |resource: &Arc<VirtualService>| !resource.spec.tcp.is_empty() || !resource.spec.tls.is_empty();
    if changes.iter().flat_map(Change::both).any(carries_bytes) {
        return None;
    }
    let key = |resource: &Arc<VirtualService>| (resource.meta.namespace.clone(), resource.meta.name.clone());
    let mut stale: BTreeSet<Key> = changes.iter().flat_map(Change::both).map(key).collect();
    // Whether it can be delegated to depends on whether it has hosts.
    let is_delegate = |resource: &&Arc<VirtualService>| resource.spec.hosts.is_empty();
    let delegates: HashSet<Key> =
        changes.iter().flat_map(Change::both).filter(is_delegate).map(key).collect();
    if !delegates.is_empty() {
        let roots = objects
            .virtual_services
            .values()
            .filter(|root| delegate::targets(root).any(|target| delegates.contains(&target)));
        stale.extend(roots.map(key));
    }
    Some(stale)
}

/// The servers of every route table.
fn tables<'p, 'a>(
    ports: &'p BTreeMap<ListenerKey, MergedPort<'a>>,
) -> impl Iterator<Item = (TableKey, Vec<&'p Server<'a>>)> {
    ports.iter().flat_map(|(key, port)| {
        let http = port.plain.first().is_some_and(|first| first.role == Role::Http);
        let plain = http.then(|| ((*key, None), port.plain.iter().collect()));
        let https = port.tls.iter().filter(|server| server.role == Role::Https);
        plain.into_iter().chain(https.map(|server| (table_key(server), vec![server])))
    })
}

/// The work on route tables.
struct Patch<'p, 'a> {
    memo: &'p mut Memo,
    objects: &'a Objects,
    environment: &'p Environment,
    stale: &'p BTreeSet<Key>,
    /// Of those that are stale.
    bindings: &'p Bindings<'a>,
    made: usize,
}

impl Patch<'_, '_> {
    /// Makes the virtual hosts of one table again that stale VirtualServices have, or had.
    fn table(&mut self, key: &TableKey, servers: &[&Server<'_>]) -> Option<()> {
        let trace = self.memo.traces.tables.get(key)?;
        let names = self.names(trace, servers);
        if names.is_empty() {
            return Some(());
        }
        // Who shares a name with one that is stale is looked at as well, for the order among them.
        let others =
            trace.parts.iter().filter(|(_, part)| part.hosts.iter().any(|host| names.contains(host)));
        let mut concerned: BTreeSet<Key> = others.map(|(key, _)| key.clone()).collect();
        concerned.extend(self.stale.iter().cloned());
        let all = Bindings::of(&concerned, self.objects, self.environment);
        let mut nobody = Diagnostics::ignored();
        let mut maker = maker(self.objects, self.environment, &self.memo.clusters, &mut nobody);
        let evaluated = evaluate(servers, &all, Wanted::These(&names), &mut maker);
        let ChainService::Http(table) = &trace.chain.service else { return None };
        let mut table = RouteTable::clone(table);
        for name in &names {
            table.hosts.remove(name);
        }
        for (name, host) in evaluated.hosts {
            table.hosts.set(&name, host);
        }
        table.settle();
        let trace = self.memo.traces.tables.get_mut(key)?;
        for key in &concerned {
            trace.parts.remove(key);
        }
        trace.parts.extend(evaluated.parts);
        table.left_out = left_out(&trace.parts);
        let fresh =
            FilterChain { service: ChainService::Http(Arc::new(table)), ..FilterChain::clone(&trace.chain) };
        let fresh = Arc::new(fresh);
        let old = std::mem::replace(&mut trace.chain, Arc::clone(&fresh));
        self.memo.replace(key.0, &old, &fresh);
        self.made += names.len();
        Some(())
    }

    /// The names in a table that stale VirtualServices had or have.
    fn names(&self, trace: &TableTrace, servers: &[&Server<'_>]) -> FastSet<Arc<str>> {
        let had = self.stale.iter().filter_map(|key| trace.parts.get(key));
        let mut names: FastSet<Arc<str>> = had.flat_map(|part| part.hosts.iter().cloned()).collect();
        for server in servers {
            for (_, bound) in self.bindings.of_gateway(&server.key) {
                names.extend(hosts_at(server, bound).map(Arc::from));
            }
        }
        names
    }
}
