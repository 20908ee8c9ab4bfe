//! What every object has: identity, metadata and the place it came from.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::map::Map;

/// The namespace of an object that names none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One object: metadata, the part that says what is wanted, and where it came from.
///
/// `spec` is the object's `spec` where the kind has one; kinds that keep their fields at the top level (Secret,
/// EndpointSlice, …) have all of those in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource<S> {
    /// Name, namespace, labels and the like.
    pub meta: Meta,
    /// What the object says.
    pub spec: S,
    /// The conditions in the object's status; empty where none are written or the kind's status is not read.
    pub conditions: Vec<Condition>,
    /// Where it was read.
    pub origin: Origin,
}

/// One condition of an object's status. Istio's health checks report on a WorkloadEntry by one of type `Healthy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// What it is about.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// The metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The name; never empty in an object given out by the loader.
    pub name: String,
    /// The namespace: [`DEFAULT_NAMESPACE`] where none is written, empty for a Namespace object.
    pub namespace: String,
    /// Labels.
    pub labels: Map<String>,
    /// Annotations.
    pub annotations: Map<String>,
    /// When the API server created the object; `None` where it was not said, as in a file.
    pub creation_timestamp: Option<Timestamp>,
    /// How the API server tells it from others; `None` where it was not said, as in a file.
    pub identity: Option<Box<Identity>>,
}

/// How the API server tells an object from others of its name, and one state of it from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The generation of the spec, counted by the API server.
    pub generation: Option<i64>,
    /// The API server's version of the whole object; opaque.
    pub resource_version: Option<String>,
    /// The API server's identity of the object; opaque.
    pub uid: Option<String>,
}

/// Where an object was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The name of the source: a file's path, or [`Origin::CLUSTER`].
    pub source: Arc<str>,
    /// The index of the document in the source, from 0.
    pub document: u32,
    /// The line the object starts on, from 1; 0 where lines mean nothing.
    pub line: u32,
}

impl Origin {
    /// The name of the source of objects that come from the API server.
    pub const CLUSTER: &'static str = "cluster";
}

/// A point in time with a resolution of a nanosecond, comparable, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, without leap seconds.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// Which object is meant: enough to find it with `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind, such as `VirtualService`.
    pub kind: Arc<str>,
    /// The namespace; empty for an object that has none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() { write!(f, "{kind} {name}") } else { write!(f, "{kind} {namespace}/{name}") }
    }
}

impl Meta {
    /// Istio's order of age: the older first, ties by name, then namespace. Objects without a timestamp are stamped when
    /// they are read, so they count as the newest, and as made at one instant.
    pub fn by_age(&self, other: &Self) -> Ordering {
        let key = |meta: &Self| (meta.creation_timestamp.is_none(), meta.creation_timestamp);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.namespace.cmp(&other.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undated_object_is_the_newest() {
        let dated = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let meta = |name: &str, creation_timestamp| Meta {
            name: name.to_owned(),
            creation_timestamp,
            ..Meta::default()
        };
        let mut objects = [meta("d", None), meta("c", None), meta("a", dated(2)), meta("b", dated(1))];
        objects.sort_by(Meta::by_age);
        assert_eq!(objects.map(|meta| meta.name), ["b", "a", "c", "d"]);
    }
}
