//! The clusters of a snapshot: by identifier on the request path, by name everywhere else.
//!
//! An identifier is a place in a list and keeps its meaning from one snapshot to the next for as long as its cluster is
//! there: routes that were made for an older snapshot can be served from a newer one. The place of a cluster that is
//! gone stays empty, so that nothing forgotten can lead to a stranger.

use std::sync::Arc;

use crate::{Cluster, ClusterId};

/// Every cluster that a route, a mirror or a TCP chain may name.
#[derive(Debug, Clone, Default)]
pub struct Clusters {
    /// By identifier.
    places: Vec<Option<Arc<Cluster>>>,
    /// The places that are taken, sorted by name.
    by_name: Vec<ClusterId>,
}

impl Clusters {
    /// Takes clusters in; their order is that of their identifiers. Of two with one name the first is found by it.
    #[must_use]
    pub fn new(clusters: Vec<Arc<Cluster>>) -> Self {
        let mut by_name: Vec<_> = (0..clusters.len()).map(id).collect();
        by_name.sort_by(|one, other| clusters[one.index()].name.cmp(&clusters[other.index()].name));
        Self { places: clusters.into_iter().map(Some).collect(), by_name }
    }

    /// The cluster behind an identifier.
    #[must_use]
    pub fn get(&self, id: ClusterId) -> Option<&Arc<Cluster>> {
        self.places.get(id.index())?.as_ref()
    }

    /// The cluster of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Cluster>> {
        let at = self.position(name).ok()?;
        self.get(self.by_name[at])
    }

    /// Every cluster, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Cluster>> {
        self.by_name.iter().map(|id| self.get(*id).expect("what has a name has a place"))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Identifiers given out so far, those of clusters that are gone included: each is below this.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The identifier that the next new cluster gets.
    #[must_use]
    pub fn next(&self) -> ClusterId {
        id(self.places.len())
    }

    /// Adds a cluster of a new name.
    pub fn add(&mut self, cluster: Arc<Cluster>) -> ClusterId {
        let id = self.next();
        let (Ok(at) | Err(at)) = self.position(&cluster.name);
        self.by_name.insert(at, id);
        self.places.push(Some(cluster));
        id
    }

    /// Puts a newer form of a cluster in its place; the name is the same.
    pub fn replace(&mut self, id: ClusterId, cluster: Arc<Cluster>) {
        if let Some(place) = self.places.get_mut(id.index()) {
            *place = Some(cluster);
        }
    }

    /// Takes a cluster out.
    pub fn remove(&mut self, id: ClusterId) {
        self.by_name.retain(|held| *held != id);
        if let Some(place) = self.places.get_mut(id.index()) {
            *place = None;
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|id| self.get(*id).map_or("", |cluster| &*cluster.name).cmp(name))
    }
}

fn id(place: usize) -> ClusterId {
    ClusterId(u32::try_from(place).expect("fewer clusters than a u32 can count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Balancer, Endpoints, Notes, PoolLimits, Service, UpstreamProtocol};
    use crate::transport::Transport;

    fn cluster(name: &str, port: u16) -> Arc<Cluster> {
        Arc::new(Cluster {
            name: name.into(),
            service: Arc::new(Service { host: "h".into(), name: "n".into(), namespace: "s".into() }),
            port,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balancer: Balancer::LeastRequest,
            endpoints: Arc::new(Endpoints::default()),
            pool: Arc::new(PoolLimits::default()),
            outlier: None,
            warmup: None,
            transport: Transport::default(),
            health_check: None,
            notes: Notes::default(),
        })
    }

    fn names(clusters: &Clusters) -> Vec<&str> {
        clusters.iter().map(|cluster| &*cluster.name).collect()
    }

    #[test]
    fn an_identifier_means_one_cluster_for_ever() {
        let mut clusters = Clusters::new(vec![cluster("b", 1), cluster("d", 2)]);
        let first = ClusterId(0);
        let added = clusters.add(cluster("a", 3));
        assert_eq!(names(&clusters), ["a", "b", "d"]);
        clusters.replace(first, cluster("b", 9));
        assert_eq!(clusters.get(first).map(|cluster| cluster.port), Some(9));
        assert_eq!(clusters.named("a").map(|cluster| cluster.port), Some(3));
        clusters.remove(added);
        assert!(clusters.get(added).is_none() && clusters.named("a").is_none());
        assert_ne!(clusters.add(cluster("c", 4)), added);
        assert_eq!(names(&clusters), ["b", "c", "d"]);
        assert_eq!((clusters.len(), clusters.places()), (3, 4));
    }
}
