//! The label sets a shard has met, and the series behind them.

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use portcullis_snapshot::FastMap;
use portcullis_snapshot::cluster::{Cluster, Endpoint, Service, Workload};

use super::labels::{self, SourceText};
use super::series::{
    ListenerSeries, MessageSeries, PoolSeries, Registered, RequestKey, RequestSeries, Table, TcpKey,
    TcpSeries,
};

/// Most destinations remembered by address. Each publication may bring new addresses for the same
/// facts; when the list is full it is forgotten and filled anew.
const MAX_ADDRESSES: usize = 65_536;

/// A shard's own maps. Every method gives `None` when one more series would be too many.
#[derive(Debug)]
pub(super) struct Known {
    source: SourceText,
    max_series: usize,
    /// Numbers of peers by the addresses of service and workload, so that no text is hashed per
    /// request.
    by_address: FastMap<(usize, usize), Peer>,
    /// The same by label text: new addresses often carry old facts.
    by_text: FastMap<Arc<str>, u32>,
    /// Labels 1 to 20, by number.
    heads: Vec<Arc<str>>,
    requests: FastMap<RequestKey, Arc<RequestSeries>>,
    messages: FastMap<u32, Arc<MessageSeries>>,
    tcp: FastMap<TcpKey, Arc<TcpSeries>>,
    listeners: FastMap<Arc<str>, Arc<ListenerSeries>>,
    pools: FastMap<Arc<str>, Arc<PoolSeries>>,
}

/// A number, and what keeps its addresses from being used again for other facts.
#[derive(Debug)]
struct Peer {
    number: u32,
    _service: Option<Arc<Service>>,
    _workload: Option<Arc<Workload>>,
}

impl Known {
    pub(super) fn new(source: SourceText, max_series: usize) -> Self {
        Self {
            source,
            max_series,
            by_address: FastMap::default(),
            by_text: FastMap::default(),
            heads: Vec::new(),
            requests: FastMap::default(),
            messages: FastMap::default(),
            tcp: FastMap::default(),
            listeners: FastMap::default(),
            pools: FastMap::default(),
        }
    }

    /// The number of a destination.
    pub(super) fn peer(&mut self, cluster: Option<&Cluster>, endpoint: Option<&Endpoint>) -> Option<u32> {
        let service = cluster.map(|cluster| &cluster.service);
        let workload = endpoint.map(|endpoint| &endpoint.workload);
        let key = (service.map_or(0, address), workload.map_or(0, address));
        if let Some(peer) = self.by_address.get(&key) {
            return Some(peer.number);
        }
        let number = self.peer_by_text(service.map(|held| &**held), workload.map(|held| &**held))?;
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.clear();
        }
        let peer = Peer { number, _service: service.cloned(), _workload: workload.cloned() };
        self.by_address.insert(key, peer);
        Some(number)
    }

    pub(super) fn request(&mut self, key: RequestKey, table: &Table) -> Option<&RequestSeries> {
        let Self { heads, max_series, requests, .. } = self;
        series(requests, key, *max_series, || {
            register(&table.requests, heads, key.peer, labels::request_tail(&key))
        })
    }

    pub(super) fn messages(&mut self, peer: u32, table: &Table) -> Option<&MessageSeries> {
        let Self { heads, max_series, messages, .. } = self;
        series(messages, peer, *max_series, || register(&table.messages, heads, peer, Arc::default()))
    }

    pub(super) fn tcp(&mut self, key: TcpKey, table: &Table) -> Option<&TcpSeries> {
        let Self { heads, max_series, tcp, .. } = self;
        series(tcp, key, *max_series, || register(&table.tcp, heads, key.peer, labels::tcp_tail(&key)))
    }

    pub(super) fn listener(&mut self, name: &Arc<str>, table: &Table) -> Option<Arc<ListenerSeries>> {
        named(&mut self.listeners, name, self.max_series, &table.listeners)
    }

    pub(super) fn pool(&mut self, cluster: &Arc<str>, table: &Table) -> Option<Arc<PoolSeries>> {
        named(&mut self.pools, cluster, self.max_series, &table.pools)
    }

    fn peer_by_text(&mut self, service: Option<&Service>, workload: Option<&Workload>) -> Option<u32> {
        let head = self.source.towards(service, workload);
        if let Some(&number) = self.by_text.get(&head) {
            return Some(number);
        }
        if self.heads.len() >= self.max_series {
            return None;
        }
        let number = u32::try_from(self.heads.len()).ok()?;
        self.heads.push(Arc::clone(&head));
        self.by_text.insert(head, number);
        Some(number)
    }
}

fn address<T>(held: &Arc<T>) -> usize {
    Arc::as_ptr(held).addr()
}

fn register<T: Default>(list: &Registered<T>, heads: &[Arc<str>], peer: u32, tail: Arc<str>) -> Arc<T> {
    list.register(Arc::clone(&heads[peer as usize]), tail)
}

fn series<K: Eq + Hash, T>(
    map: &mut FastMap<K, Arc<T>>,
    key: K,
    max: usize,
    make: impl FnOnce() -> Arc<T>,
) -> Option<&T> {
    let full = map.len() >= max;
    match map.entry(key) {
        Entry::Occupied(held) => Some(held.into_mut()),
        Entry::Vacant(_) if full => None,
        Entry::Vacant(free) => Some(free.insert(make())),
    }
}

fn named<T: Default>(
    map: &mut FastMap<Arc<str>, Arc<T>>,
    name: &Arc<str>,
    max: usize,
    list: &Registered<T>,
) -> Option<Arc<T>> {
    if let Some(held) = map.get(name) {
        return Some(Arc::clone(held));
    }
    if map.len() >= max {
        return None;
    }
    let made = list.register(Arc::clone(name), Arc::default());
    map.insert(Arc::clone(name), Arc::clone(&made));
    Some(made)
}
