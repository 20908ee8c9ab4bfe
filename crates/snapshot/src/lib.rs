//! The immutable routing model, its pure look-ups, and the cell that swaps it.
//!
//! A [`Snapshot`] is everything the data plane needs to know to serve: listeners, filter chains,
//! virtual hosts, routes, clusters and endpoints. `compile` builds one, [`cell`] publishes it, and
//! the data plane reads it without locks. Nothing in here does I/O, reads a clock or rolls dice.

pub mod action;
pub mod calendar;
pub mod cell;
pub mod cidr;
pub mod cluster;
mod clusters;
pub mod expression;
pub mod headers;
pub mod health_check;
pub mod host;
pub mod listener;
pub mod matcher;
pub mod metadata;
pub mod path;
pub mod prefix_trie;
pub mod re2;
pub mod retry;
pub mod route;
pub mod settings;
pub mod template;
pub mod text;
pub mod tls;
pub mod transport;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use cluster::{Cluster, ClusterId};
pub use clusters::Clusters;
pub use headers::Headers;
pub use listener::{FilterChain, Listener};
pub use route::{Route, RouteTable, VirtualHost};
pub use settings::Settings;

/// A fast, non-cryptographic map for keys that come from our own configuration.
///
/// Keys looked up in it may come from peers; foldhash's per-map seed keeps a peer from choosing
/// collisions, and all that a peer can insert is its own address.
pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The same without values.
pub type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// One complete, immutable state of the gateway.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications in this process, from 1. 0 is the empty snapshot before the first one.
    pub generation: u64,
    /// Open ports, sorted by [`Listener::key`].
    pub listeners: Vec<Arc<Listener>>,
    /// Every cluster a route, a mirror or a TCP chain may name.
    pub clusters: Clusters,
    /// Process-wide behaviour taken from the mesh configuration.
    pub settings: Settings,
}

impl Snapshot {
    /// The cluster of this name, if there (still) is one.
    #[must_use]
    pub fn cluster_named(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.named(name)
    }

    /// The listener with this identity, if the port is (still) open.
    #[must_use]
    pub fn listener(&self, key: listener::ListenerKey) -> Option<&Arc<Listener>> {
        let place = self.listeners.binary_search_by_key(&key, |listener| listener.key()).ok()?;
        Some(&self.listeners[place])
    }

    /// The cluster behind an identifier of this same snapshot.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        self.clusters.get(id).expect("an identifier of this snapshot has a cluster")
    }
}
