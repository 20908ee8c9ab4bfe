//! The objects a compilation starts from, by kind and name.

mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::{
    ConfigMap, DestinationRule, EndpointSlice, Endpoints, Gateway, HttpRoute, Ingress, Kind, Mesh, Meta,
    Namespace, Object, ObjectRef, Origin, Pod, Secret, Service, ServiceEntry, Unsupported, VirtualService,
    WorkloadEntry,
};

pub(crate) use self::table::{Key, Pair, Table};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// The objects of a kind in one namespace.
pub(crate) fn in_namespace<'t, T>(
    table: &'t Table<T>,
    namespace: &'t str,
) -> impl Iterator<Item = &'t Arc<T>> {
    table.in_namespace(namespace).map(|(_, object)| object)
}

/// Every object the gateway knows, each kind sorted by namespace and name. Cloning is cheap.
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
    pub(crate) ingresses: Table<Ingress>,
    pub(crate) http_routes: Table<HttpRoute>,
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

/// Runs one expression on the table of a kind; `[mut]` for one that changes it.
macro_rules! on_table {
    (borrow: [], $table:ident, $place:expr => $body:expr) => {{ let $table = &$place; $body }};
    (borrow: [mut], $table:ident, $place:expr => $body:expr) => {{
        let $table = &mut $place;
        $body
    }};
    (each: $objects:expr, $mut:tt, $kind:expr, $table:ident => $body:expr; $($name:ident $field:ident),*) => {
        match $kind {
            $(Kind::$name => on_table!(borrow: $mut, $table, $objects.$field => $body),)*
        }
    };
    ($objects:expr, [$($mut:tt)?], $kind:expr, $table:ident => $body:expr) => {
        on_table!(each: $objects, [$($mut)?], $kind, $table => $body;
            Gateway gateways, VirtualService virtual_services, DestinationRule destination_rules,
            ServiceEntry service_entries, WorkloadEntry workload_entries, MeshConfig meshes, Service services,
            EndpointSlice endpoint_slices, Endpoints endpoints, Secret secrets, ConfigMap config_maps,
            Namespace namespaces, Pod pods, Ingress ingresses, HttpRoute http_routes)
    };
}

/// Runs one expression on an object, the table it belongs to and the name of its kind.
macro_rules! on_object {
    (each: $objects:expr, $object:expr, ($table:ident, $held:ident, $kind:ident) => $body:expr;
        $($variant:ident $name:ident $field:ident),*) => {
        match $object {
            $(Object::$variant($held) => {
                let ($table, $kind) = (&mut $objects.$field, Kind::$name.name());
                $body
            })*
            Object::Unsupported($held) => {
                let name = Arc::clone(&$held.kind);
                let $kind = &*name;
                let group = $held.api_group().to_owned();
                let $table = $objects.unread.entry((group, Arc::clone(&name))).or_default();
                $body
            }
        }
    };
    ($objects:expr, $object:expr, ($table:ident, $held:ident, $kind:ident) => $body:expr) => {
        on_object!(each: $objects, $object, ($table, $held, $kind) => $body;
            Gateway Gateway gateways, VirtualService VirtualService virtual_services,
            DestinationRule DestinationRule destination_rules, ServiceEntry ServiceEntry service_entries,
            WorkloadEntry WorkloadEntry workload_entries, Mesh MeshConfig meshes, Service Service services,
            EndpointSlice EndpointSlice endpoint_slices, Endpoints Endpoints endpoints, Secret Secret secrets,
            ConfigMap ConfigMap config_maps, Namespace Namespace namespaces, Pod Pod pods, Ingress Ingress ingresses,
            HttpRoute HttpRoute http_routes)
    };
}

impl Objects {
    /// Adds an object.
    pub fn insert(&mut self, object: Object) {
        let replaced = on_object!(self, object, (table, object, kind) => put(table, object, kind));
        self.replaced.extend(replaced);
    }

    /// Adds an object, or replaces the one of its kind and name: news of it, not another one. Tells whether it says
    /// something else than before.
    pub fn update(&mut self, object: Object) -> bool {
        on_object!(self, object, (table, object, _kind) => {
            let key = key(&*object);
            match table.get(&key) {
                Some(held) if *held == object => false,
                _ => {
                    table.insert(key, object);
                    true
                }
            }
        })
    }

    /// Takes this very object away, if it is held and not another one of its kind and name.
    pub fn withdraw(&mut self, object: &Object) {
        on_object!(self, object, (table, object, _kind) => {
            let key = key(&**object);
            if table.get(&key).is_some_and(|held| Arc::ptr_eq(held, object)) {
                table.remove(&key);
            }
        });
    }

    /// Whether any object was given twice: then more is known than the tables show.
    #[must_use]
    pub fn has_duplicates(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// A Pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Takes an object away; tells whether it was there.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let held = on_table!(self, [], kind, table => table.contains_key(&key));
        held && on_table!(self, [mut], kind, table => table.remove(&key).is_some())
    }

    /// The objects of a kind: namespaces and names, sorted.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<(&str, &str)> {
        on_table!(self, [], kind, table => {
            table.keys().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect()
        })
    }

    /// Whether there is one object and no more, of whatever kind, read or not.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.len() + self.unread.values().map(|table| table.len()).sum::<usize>() == 1
    }

    /// Number of objects held.
    #[must_use]
    pub fn len(&self) -> usize {
        Kind::ALL.into_iter().map(|kind| self.count(kind)).sum()
    }

    /// Number of objects of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        on_table!(self, [], kind, table => table.len())
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

fn key<T: Identified>(object: &T) -> Key {
    (object.meta().namespace.clone(), object.meta().name.clone())
}

fn put<T: Identified>(table: &mut Table<T>, object: Arc<T>, kind: &str) -> Option<Replaced> {
    let key = key(&*object);
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
