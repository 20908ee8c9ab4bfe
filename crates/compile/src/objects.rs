//! The objects a compilation starts from, by kind and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::{
    ConfigMap, DestinationRule, EndpointSlice, Endpoints, Gateway, Kind, Mesh, Meta, Namespace, Object,
    ObjectRef, Origin, Pod, Secret, Service, ServiceEntry, Unsupported, VirtualService, WorkloadEntry,
};

use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// Namespace and name.
pub(crate) type Key = (String, String);
/// The objects of one kind, sorted.
pub(crate) type Table<T> = BTreeMap<Key, Arc<T>>;

/// Every object the gateway knows, each kind sorted by namespace and name. Cloning shares the objects.
///
/// Of two objects with one kind, namespace and name the one that is read last stays, in the order of source
/// and document: what `kubectl apply` of the same files would leave behind. The other one is reported.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub(crate) gateways: Table<Gateway>,
    pub(crate) virtual_services: Table<VirtualService>,
    pub(crate) destination_rules: Table<DestinationRule>,
    pub(crate) service_entries: Table<ServiceEntry>,
    pub(crate) workload_entries: Table<WorkloadEntry>,
    pub(crate) meshes: Table<Mesh>,
    pub(crate) services: Table<Service>,
    pub(crate) endpoint_slices: Table<EndpointSlice>,
    pub(crate) endpoints: Table<Endpoints>,
    pub(crate) secrets: Table<Secret>,
    pub(crate) config_maps: Table<ConfigMap>,
    pub(crate) namespaces: Table<Namespace>,
    pub(crate) pods: Table<Pod>,
    /// Objects of kinds that are not read, by API group and kind: some would change what is served.
    pub(crate) unread: BTreeMap<(String, Arc<str>), Table<Unsupported>>,
    replaced: Vec<Replaced>,
}

/// An object that lost its place to another of the same name.
#[derive(Debug, Clone)]
struct Replaced {
    object: ObjectRef,
    origin: Origin,
    by: Origin,
}

impl Objects {
    /// Adds an object.
    pub fn insert(&mut self, object: Object) {
        let replaced = match object {
            Object::Gateway(object) => put(&mut self.gateways, object, Kind::Gateway.name()),
            Object::VirtualService(object) => {
                put(&mut self.virtual_services, object, Kind::VirtualService.name())
            }
            Object::DestinationRule(object) => {
                put(&mut self.destination_rules, object, Kind::DestinationRule.name())
            }
            Object::ServiceEntry(object) => put(&mut self.service_entries, object, Kind::ServiceEntry.name()),
            Object::WorkloadEntry(object) => {
                put(&mut self.workload_entries, object, Kind::WorkloadEntry.name())
            }
            Object::Mesh(object) => put(&mut self.meshes, object, Kind::MeshConfig.name()),
            Object::Service(object) => put(&mut self.services, object, Kind::Service.name()),
            Object::EndpointSlice(object) => {
                put(&mut self.endpoint_slices, object, Kind::EndpointSlice.name())
            }
            Object::Endpoints(object) => put(&mut self.endpoints, object, Kind::Endpoints.name()),
            Object::Secret(object) => put(&mut self.secrets, object, Kind::Secret.name()),
            Object::ConfigMap(object) => put(&mut self.config_maps, object, Kind::ConfigMap.name()),
            Object::Namespace(object) => put(&mut self.namespaces, object, Kind::Namespace.name()),
            Object::Pod(object) => put(&mut self.pods, object, Kind::Pod.name()),
            Object::Unsupported(object) => {
                let kind = Arc::clone(&object.kind);
                let group = object.api_group().to_owned();
                put(self.unread.entry((group, Arc::clone(&kind))).or_default(), object, &kind)
            }
        };
        self.replaced.extend(replaced);
    }

    /// Whether there is one object and no more, of whatever kind, read or not.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.len() + self.unread.values().map(BTreeMap::len).sum::<usize>() == 1
    }

    /// Number of objects held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.gateways.len()
            + self.virtual_services.len()
            + self.destination_rules.len()
            + self.service_entries.len()
            + self.workload_entries.len()
            + self.meshes.len()
            + self.services.len()
            + self.endpoint_slices.len()
            + self.endpoints.len()
            + self.secrets.len()
            + self.config_maps.len()
            + self.namespaces.len()
            + self.pods.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reports the objects that were given twice.
    pub(crate) fn report_duplicates(&self, diagnostics: &mut Diagnostics) {
        // Of three, the one that replaced the first may have been replaced itself.
        let place = |origin: &Origin| (origin.source.clone(), origin.document, origin.line);
        let mut used: BTreeMap<&ObjectRef, &Origin> = BTreeMap::new();
        for Replaced { object, by, .. } in &self.replaced {
            let last = used.entry(object).or_insert(by);
            if place(last) < place(by) {
                *last = by;
            }
        }
        for Replaced { object, origin, .. } in &self.replaced {
            let by = used[object];
            diagnostics.push(Diagnostic {
                severity: Code::DuplicateObject.severity(),
                code: Code::DuplicateObject,
                object: object.clone(),
                field: String::new(),
                message: format!("is defined again at {}:{}, which is the one used", by.source, by.line),
                remedy: "keep one of the two".to_owned(),
                origin: Some(origin.clone()),
            });
        }
    }
}

impl Extend<Object> for Objects {
    fn extend<I: IntoIterator<Item = Object>>(&mut self, objects: I) {
        for object in objects {
            self.insert(object);
        }
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut all = Self::default();
        all.extend(objects);
        all
    }
}

/// What [`put`] needs to know of a resource.
trait Identified {
    fn meta(&self) -> &Meta;
    fn origin(&self) -> &Origin;
}

impl<S> Identified for portcullis_api::Resource<S> {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Identified for Unsupported {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

fn put<T: Identified>(table: &mut Table<T>, object: Arc<T>, kind: &str) -> Option<Replaced> {
    let key = (object.meta().namespace.clone(), object.meta().name.clone());
    let Some(held) = table.get(&key) else {
        table.insert(key, object);
        return None;
    };
    let place = |object: &T| {
        let origin = object.origin();
        (origin.source.clone(), origin.document, origin.line)
    };
    let (old, new) = (place(held), place(&object));
    let reference = ObjectRef { kind: kind.into(), namespace: key.0.clone(), name: key.1.clone() };
    let (loser, winner) = if old <= new {
        let winner = object.origin().clone();
        (table.insert(key, object)?.origin().clone(), winner)
    } else {
        (object.origin().clone(), held.origin().clone())
    };
    // The same place twice is an update, not a duplicate.
    (old != new).then_some(Replaced { object: reference, origin: loser, by: winner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_objects_of_an_unread_kind_the_later_one_stays_whatever_the_order() {
        let text = "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: a, namespace: b}}";
        let mut both = portcullis_api::load("1.yaml", text).objects;
        both.extend(portcullis_api::load("0.yaml", text).objects);
        for _ in 0..2 {
            both.reverse();
            let held = Objects::from_iter(both.clone());
            let kept: Vec<_> = held.unread.values().flat_map(|table| table.values()).collect();
            assert_eq!(kept.len(), 1);
            assert_eq!(kept[0].origin.source.as_ref(), "1.yaml");
            let mut diagnostics = Diagnostics::default();
            held.report_duplicates(&mut diagnostics);
            assert!(diagnostics.into_sorted()[0].message.contains("1.yaml"));
        }
    }
}
