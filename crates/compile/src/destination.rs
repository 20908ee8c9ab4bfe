//! Destinations: which cluster is meant, and the weights among several (routing reference §2.5).

use portcullis_api::networking::{Destination as Spec, HttpRouteDestination};
use portcullis_snapshot::action::{Destination, Destinations, Target};
use portcullis_snapshot::cluster::HashPolicy;

use crate::clusters::Clusters;
use crate::diagnostic::{Code, Reporter};

/// Finds the clusters of destinations written in one VirtualService, for one declared port.
pub(crate) struct Lookup<'l, 'n> {
    /// Completes short names.
    pub(crate) namespace: &'n str,
    /// Stands in for a port that is left out and that the service does not settle.
    pub(crate) port: u16,
    /// Every cluster.
    pub(crate) clusters: &'l Clusters,
}

impl Lookup<'_, '_> {
    /// The cluster of a destination. An unknown one is reported, with what follows from it; `None` when the
    /// destination itself cannot be read.
    pub(crate) fn target(
        &self,
        spec: &Spec,
        consequence: &str,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<Target> {
        if spec.host.is_empty() || spec.host == "*" {
            return reporter.refuse("host", "names no service", "write the name of a service");
        }
        let port = spec.port.as_ref().and_then(|port| port.number).filter(|&port| port != 0);
        if port.is_some_and(|port| port > u32::from(u16::MAX)) {
            return reporter.refuse("port.number", "is no port", "use 1 to 65535");
        }
        let subset = spec.subset.as_deref().filter(|subset| !subset.is_empty());
        let target = self.clusters.destination(&spec.host, self.namespace, subset, port, self.port);
        if let Target::Unknown(name) = &target {
            let message = format!("there is no cluster {name}, so {consequence}");
            if port.is_none() && self.clusters.needs_port(&spec.host, self.namespace) {
                let remedy = "the service has several ports: say which one";
                reporter.report(Code::DestinationPortSelectorRequired, "port", message, remedy);
            } else {
                reporter.report(Code::ReferencedResourceNotFound, "host", message, remedy(spec));
            }
        }
        Some(target)
    }

    /// What consistent hashing hashes: the policies of every destination, in order.
    pub(crate) fn hash_policies(
        &self,
        destinations: &Destinations,
        routes: &[HttpRouteDestination],
    ) -> Vec<HashPolicy> {
        // Destinations of weight 0 are gone from the list, so the specs are walked along with it.
        let kept = routes.iter().filter(|route| routes.len() == 1 || route.weight.unwrap_or(0) != 0);
        let mut policies = Vec::new();
        for (destination, route) in destinations.iter().zip(kept) {
            let explicit = route.destination.port.as_ref().is_some_and(|port| port.number.is_some());
            policies.extend(self.clusters.hash_policies(&destination.target, explicit));
        }
        policies
    }
}

fn remedy(spec: &Spec) -> String {
    if spec.host.matches('.').count() == 1 {
        return format!("a name with a dot is taken as complete: write {}.svc.cluster.local", spec.host);
    }
    "name a service, port and subset that exist and are visible here".to_owned()
}

/// Which of several destinations take part, by position, with their weight. A single one always does.
pub(crate) fn weights(weights: &[i32], reporter: &mut Reporter<'_, '_>) -> Option<Vec<(usize, u32)>> {
    if weights.len() == 1 {
        return Some(vec![(0, 1)]);
    }
    let mut chosen = Vec::with_capacity(weights.len());
    for (index, &weight) in weights.iter().enumerate() {
        match u32::try_from(weight) {
            Ok(0) => {}
            Ok(weight) => chosen.push((index, weight)),
            Err(_) => {
                let field = format!("route[{index}].weight");
                return reporter.refuse(field, format!("{weight} is negative"), "use 0 or more");
            }
        }
    }
    if chosen.is_empty() {
        return reporter.refuse("route", "has no weight at all", "give one destination a weight");
    }
    Some(chosen)
}

/// The destinations that take part; `written` is how many there were.
pub(crate) fn choice(written: usize, mut entries: Vec<(u32, Destination)>) -> Destinations {
    if written == 1
        && let Some((_, only)) = entries.pop()
    {
        return Destinations::One(only);
    }
    let total = entries.iter().map(|(weight, _)| u64::from(*weight)).sum();
    Destinations::Weighted { total, entries }
}
