//! Which objects differ from those of the last compilation.
//!
//! Objects are compared by identity first: what was not read again is the same object. What was read again and says the
//! same, another line number aside, has not changed either.

use std::sync::Arc;

use portcullis_api::{
    ConfigMap, DestinationRule, EndpointSlice, Endpoints, Gateway, HttpRoute, Ingress, Mesh, Meta, Pod,
    Resource, Secret, Service, ServiceEntry, VirtualService, WorkloadEntry,
};

use crate::objects::{Objects, Pair, Table};

/// The objects a snapshot was made of, each kind sorted by namespace and name. Kinds that no snapshot depends on are
/// left out.
#[derive(Debug)]
pub(super) struct Known {
    gateways: Table<Gateway>,
    virtual_services: Table<VirtualService>,
    destination_rules: Table<DestinationRule>,
    service_entries: Table<ServiceEntry>,
    workload_entries: Table<WorkloadEntry>,
    meshes: Table<Mesh>,
    services: Table<Service>,
    endpoint_slices: Table<EndpointSlice>,
    endpoints: Table<Endpoints>,
    secrets: Table<Secret>,
    config_maps: Table<ConfigMap>,
    pods: Table<Pod>,
    ingresses: Table<Ingress>,
    http_routes: Table<HttpRoute>,
}

/// An object that is new, gone or another than it was.
#[derive(Debug)]
pub(super) struct Change<T> {
    old: Option<Arc<T>>,
    new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The object as it was and as it is, as far as it was and is there.
    pub(super) fn both(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }
}

/// Everything that has changed.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) virtual_services: Vec<Change<VirtualService>>,
    pub(super) destination_rules: Vec<Change<DestinationRule>>,
    pub(super) service_entries: Vec<Change<ServiceEntry>>,
    pub(super) workload_entries: Vec<Change<WorkloadEntry>>,
    pub(super) services: Vec<Change<Service>>,
    pub(super) endpoint_slices: Vec<Change<EndpointSlice>>,
    pub(super) endpoints: Vec<Change<Endpoints>>,
    pub(super) pods: Vec<Change<Pod>>,
}

impl Changes {
    /// Whether any may concern the ports of a Service.
    pub(super) fn of_services(&self) -> bool {
        !self.services.is_empty() || !self.endpoint_slices.is_empty()
    }
}

impl Known {
    pub(super) fn new(objects: &Objects) -> Self {
        Self {
            gateways: objects.gateways.clone(),
            virtual_services: objects.virtual_services.clone(),
            destination_rules: objects.destination_rules.clone(),
            service_entries: objects.service_entries.clone(),
            workload_entries: objects.workload_entries.clone(),
            meshes: objects.meshes.clone(),
            services: objects.services.clone(),
            endpoint_slices: objects.endpoint_slices.clone(),
            endpoints: objects.endpoints.clone(),
            secrets: objects.secrets.clone(),
            config_maps: objects.config_maps.clone(),
            pods: objects.pods.clone(),
            ingresses: objects.ingresses.clone(),
            http_routes: objects.http_routes.clone(),
        }
    }

    /// Takes over a later state and tells what has changed; `None` if it is something that everything depends on.
    pub(super) fn advance(&mut self, objects: &Objects) -> Option<Changes> {
        let fundamental = !changes(&mut self.gateways, &objects.gateways).is_empty()
            || !changes(&mut self.meshes, &objects.meshes).is_empty()
            || !changes(&mut self.secrets, &objects.secrets).is_empty()
            || !changes(&mut self.config_maps, &objects.config_maps).is_empty()
            || !changes(&mut self.ingresses, &objects.ingresses).is_empty()
            || !changes(&mut self.http_routes, &objects.http_routes).is_empty();
        (!fundamental).then(|| Changes {
            virtual_services: changes(&mut self.virtual_services, &objects.virtual_services),
            destination_rules: changes(&mut self.destination_rules, &objects.destination_rules),
            service_entries: changes(&mut self.service_entries, &objects.service_entries),
            workload_entries: changes(&mut self.workload_entries, &objects.workload_entries),
            services: changes(&mut self.services, &objects.services),
            endpoint_slices: changes(&mut self.endpoint_slices, &objects.endpoint_slices),
            endpoints: changes(&mut self.endpoints, &objects.endpoints),
            pods: changes(&mut self.pods, &objects.pods),
        })
    }
}

/// What differs between `known` and `table`, which it becomes.
fn changes<S: PartialEq>(
    known: &mut Table<Resource<S>>,
    table: &Table<Resource<S>>,
) -> Vec<Change<Resource<S>>> {
    let says_else = |(old, new): &Pair<'_, Resource<S>>| match (old, new) {
        (Some(old), Some(new)) => !says_the_same(old, new),
        _ => true,
    };
    let differences = known.differences(table).into_iter().filter(says_else);
    let found = differences.map(|(old, new)| Change { old: old.cloned(), new: new.cloned() }).collect();
    *known = table.clone();
    found
}

/// Whether two forms of an object mean the same to a snapshot: it knows neither places in files nor versions.
fn says_the_same<S: PartialEq>(one: &Resource<S>, other: &Resource<S>) -> bool {
    let Meta { name, namespace, labels, annotations, creation_timestamp, .. } = &one.meta;
    one.spec == other.spec
        && one.conditions == other.conditions
        && (name, namespace) == (&other.meta.name, &other.meta.namespace)
        && (labels, annotations) == (&other.meta.labels, &other.meta.annotations)
        && *creation_timestamp == other.meta.creation_timestamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::objects;

    fn services(named: &[(&str, u16)]) -> Objects {
        let text: Vec<String> = named
            .iter()
            .map(|(name, port)| {
                format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: {port}}}]}}}}")
            })
            .collect();
        objects(&text.join("\n---\n"))
    }

    #[test]
    fn what_is_new_gone_or_different_is_found_and_nothing_else() {
        let mut known = Known::new(&services(&[("b", 1), ("c", 2), ("d", 3)]));
        for (now, expected) in [
            // Read again, on other lines.
            (&[("b", 1), ("c", 2), ("d", 3)][..], &[][..]),
            (&[("a", 9), ("b", 1), ("c", 2), ("d", 3)], &["a"]),
            (&[("b", 1), ("c", 7), ("d", 3), ("e", 1)], &["a", "c", "e"]),
            (&[("c", 7)], &["b", "d", "e"]),
            (&[], &["c"]),
        ] {
            let changes = known.advance(&services(now)).expect("nothing fundamental");
            let names: Vec<_> = changes
                .services
                .iter()
                .map(|change| change.both().next().expect("one of two").meta.name.as_str())
                .collect();
            assert_eq!(names, expected);
            assert!(changes.virtual_services.is_empty());
            assert_ne!(changes.of_services(), expected.is_empty());
        }
    }
}
