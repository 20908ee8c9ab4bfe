//! The hosts whose clusters may come out differently after changes. Too many cost time; one too few would serve what
//! is out of date.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_api::core::{EndpointAddress, ObjectReference};
use portcullis_api::{EndpointSlice, Endpoints, Map, Pod, WorkloadEntry};

use super::changes::{Change, Changes};
use crate::clusters::Clusters;
use crate::environment::Environment;
use crate::names::{qualified, subset_of};
use crate::objects::Objects;
use crate::services::{contains, host_of, pod_address, service_of};

/// The hosts touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) hosts: HashSet<Arc<str>>,
}

impl Touched {
    /// The hosts touched by `changes`, and by other answers of name servers than those `before`.
    pub(super) fn by(
        changes: &Changes,
        objects: &Objects,
        environment: &Environment,
        clusters: &Clusters,
        before: &BTreeMap<String, Vec<IpAddr>>,
    ) -> Self {
        let domain = &environment.cluster_domain;
        let mut touched = Self::default();
        touched.hosts.extend(clusters.answered_otherwise(before, &environment.resolved).cloned());
        for service in changes.services.iter().flat_map(Change::both) {
            touched.add(host_of(&service.meta.namespace, &service.meta.name, domain));
        }
        for slice in changes.endpoint_slices.iter().flat_map(Change::both) {
            touched.slice(slice, domain);
        }
        for endpoints in changes.endpoints.iter().flat_map(Change::both) {
            touched.add(host_of(&endpoints.meta.namespace, &endpoints.meta.name, domain));
        }
        for entry in changes.service_entries.iter().flat_map(Change::both) {
            touched.hosts.extend(entry.spec.hosts.iter().map(|host| Arc::from(host.as_str())));
        }
        for rule in changes.destination_rules.iter().flat_map(Change::both) {
            touched.rule(&qualified(&rule.spec.host, &rule.meta.namespace, domain), clusters);
        }
        for entry in changes.workload_entries.iter().flat_map(Change::both) {
            touched.workload_entry(entry, objects, domain);
        }
        if !changes.pods.is_empty() {
            touched.pods(&Pods::of(&changes.pods), objects, domain);
        }
        touched
    }

    fn add(&mut self, host: Arc<str>) {
        self.hosts.insert(host);
    }

    fn slice(&mut self, slice: &EndpointSlice, domain: &str) {
        if let Some((namespace, name)) = service_of(slice) {
            self.add(host_of(namespace, name, domain));
        }
    }

    /// The services that a rule for `host` may be for.
    fn rule(&mut self, host: &str, clusters: &Clusters) {
        if host.starts_with('*') {
            self.hosts.extend(clusters.hosts().filter(|own| subset_of(own, host)).cloned());
        } else {
            self.add(host.into());
        }
    }

    /// Whatever selects the workload by its labels.
    fn workload_entry(&mut self, entry: &WorkloadEntry, objects: &Objects, domain: &str) {
        let mut labels = entry.spec.labels.clone();
        labels.extend(entry.meta.labels.clone());
        let namespace = &entry.meta.namespace;
        for service in objects.services.values().filter(|service| service.meta.namespace == *namespace) {
            let selector = &service.spec.selector;
            if !selector.is_empty() && contains(&labels, selector) {
                self.add(host_of(namespace, &service.meta.name, domain));
            }
        }
        self.selecting(namespace, &labels, objects);
    }

    /// The ServiceEntries that select workloads with these labels.
    fn selecting(&mut self, namespace: &str, labels: &Map<String>, objects: &Objects) {
        for entry in objects.service_entries.values().filter(|entry| entry.meta.namespace == namespace) {
            let selector = entry.spec.workload_selector.as_ref();
            if selector.is_some_and(|selector| contains(labels, &selector.labels)) {
                self.hosts.extend(entry.spec.hosts.iter().map(|host| Arc::from(host.as_str())));
            }
        }
    }

    fn pods(&mut self, pods: &Pods<'_>, objects: &Objects, domain: &str) {
        for slice in objects.endpoint_slices.values().filter(|slice| pods.are_in_slice(slice)) {
            self.slice(slice, domain);
        }
        for endpoints in objects.endpoints.values().filter(|endpoints| pods.are_in_endpoints(endpoints)) {
            self.add(host_of(&endpoints.meta.namespace, &endpoints.meta.name, domain));
        }
        for pod in &pods.all {
            self.selecting(&pod.meta.namespace, &pod.meta.labels, objects);
        }
    }
}

/// Pods that have changed, in their old and their new form.
struct Pods<'c> {
    all: Vec<&'c Arc<Pod>>,
    names: HashSet<(&'c str, &'c str)>,
    addresses: HashSet<(&'c str, IpAddr)>,
}

impl<'c> Pods<'c> {
    fn of(changes: &'c [Change<Pod>]) -> Self {
        let all: Vec<_> = changes.iter().flat_map(Change::both).collect();
        let names = all.iter().map(|pod| (pod.meta.namespace.as_str(), pod.meta.name.as_str()));
        let addresses = all.iter().filter_map(|pod| Some((pod.meta.namespace.as_str(), pod_address(pod)?)));
        Self { names: names.collect(), addresses: addresses.collect(), all }
    }

    fn are_in_slice(&self, slice: &EndpointSlice) -> bool {
        let namespace = slice.meta.namespace.as_str();
        slice.spec.endpoints.iter().any(|endpoint| {
            let mut addresses = endpoint.addresses.iter();
            addresses.any(|address| self.hold(namespace, address, endpoint.target_ref.as_deref()))
        })
    }

    fn are_in_endpoints(&self, endpoints: &Endpoints) -> bool {
        let namespace = endpoints.meta.namespace.as_str();
        let held =
            |address: &EndpointAddress| self.hold(namespace, &address.ip, address.target_ref.as_deref());
        let subsets = &endpoints.spec.subsets;
        subsets.iter().flat_map(|subset| subset.addresses.iter().chain(&subset.not_ready_addresses)).any(held)
    }

    /// Whether one of them is what an endpoint names, or would be looked for by its address.
    fn hold(&self, namespace: &str, address: &str, target: Option<&ObjectReference>) -> bool {
        match target.filter(|target| target.kind.as_deref() == Some("Pod")) {
            Some(target) => {
                let namespace = target.namespace.as_deref().unwrap_or(namespace);
                self.names.contains(&(namespace, target.name.as_deref().unwrap_or_default()))
            }
            None => address.parse().is_ok_and(|address| self.addresses.contains(&(namespace, address))),
        }
    }
}
