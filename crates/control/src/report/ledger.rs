//! What is known of the objects that are reported on: their identity, their generation and their status, as the watches
//! tell of them.
//!
//! The state of all of them has a fingerprint, which every replica computes for itself and which is the same for all that
//! have heard the same. It is made of identities and generations alone, so writing a status does not change it, and it is
//! the sum of one digest an object, so a change costs one digest, however many objects there are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aws_lc_rs::digest;
use kube::api::ApiResource;
use portcullis_api::{Kind, ObjectRef};
use serde_json::Value;

/// Fingerprints that are remembered: of the newest states, each after one change.
const MARKS: usize = 4096;

/// The kinds whose objects get a status.
pub(crate) const REPORTED: [Kind; 4] =
    [Kind::Gateway, Kind::VirtualService, Kind::DestinationRule, Kind::ServiceEntry];

/// The state of all objects, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Print(u128);

impl Print {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok())?.map(Self)
    }
}

impl std::fmt::Display for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What the API server says of an object besides what it wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    /// Where it is served.
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// Its version, which a write names.
    pub(crate) version: String,
    pub(crate) status: Value,
    /// Whether this version of it can be used.
    pub(crate) usable: bool,
    /// The Gateways that a VirtualService names, by namespace and name.
    pub(crate) gateways: Vec<(String, String)>,
    /// Whether it names none, and means none.
    pub(crate) unbound: bool,
}

/// An object.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) facts: Facts,
    /// The number of the news that brought this generation of it.
    pub(crate) since: u64,
}

/// Every object that may be reported on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<ObjectRef, Entry>,
    print: Print,
    /// The state after which news.
    marks: VecDeque<(u64, Print)>,
    /// Grows with every change, of a status too.
    version: u64,
}

impl Ledger {
    /// An object is there, as the news number `at` says.
    pub(crate) fn put(&mut self, name: ObjectRef, facts: Facts, at: u64) {
        let before = self.entries.get(&name);
        if before.is_some_and(|entry| entry.facts == facts) {
            // The echo of a write, mostly.
            return;
        }
        self.version += 1;
        let same = before.is_some_and(|entry| {
            (&entry.facts.uid, entry.facts.generation) == (&facts.uid, facts.generation)
        });
        let since = match before {
            Some(entry) if same => entry.since,
            _ => at,
        };
        if !same {
            if let Some(entry) = before {
                self.print.0 = self.print.0.wrapping_sub(digest_of(&name, &entry.facts));
            }
            self.print.0 = self.print.0.wrapping_add(digest_of(&name, &facts));
            self.mark(at);
        }
        self.entries.insert(name, Entry { facts, since });
    }

    /// An object is gone.
    pub(crate) fn remove(&mut self, name: &ObjectRef, at: u64) {
        if let Some(entry) = self.entries.remove(name) {
            self.version += 1;
            self.print.0 = self.print.0.wrapping_sub(digest_of(name, &entry.facts));
            self.mark(at);
        }
    }

    /// These are all objects of a kind, in a namespace or in all.
    pub(crate) fn retain(&mut self, kind: &str, namespace: Option<&str>, listed: &[&ObjectRef], at: u64) {
        let listed: std::collections::BTreeSet<&ObjectRef> = listed.iter().copied().collect();
        let in_scope = |name: &ObjectRef| {
            &*name.kind == kind && namespace.is_none_or(|namespace| name.namespace == namespace)
        };
        let gone: Vec<ObjectRef> =
            self.entries.keys().filter(|name| in_scope(name) && !listed.contains(name)).cloned().collect();
        for name in gone {
            self.remove(&name, at);
        }
    }

    /// What was written, so that it is known before its watch tells of it.
    pub(crate) fn wrote(&mut self, name: &ObjectRef, version: String, status: Value) {
        if let Some(entry) = self.entries.get_mut(name) {
            (entry.facts.version, entry.facts.status) = (version, status);
        }
    }

    pub(crate) fn get(&self, name: &ObjectRef) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Entry)> {
        self.entries.iter()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The number of the news that changed the state last.
    pub(crate) fn newest(&self) -> u64 {
        self.marks.back().map_or(0, |(number, _)| *number)
    }

    /// The state as it was after the news number `at`; none where that is too long ago.
    pub(crate) fn print_at(&self, at: u64) -> Option<Print> {
        let after = self.marks.partition_point(|(number, _)| *number <= at);
        match after.checked_sub(1) {
            Some(last) => self.marks.get(last).map(|(_, print)| *print),
            // Nothing was there yet.
            None if self.marks.len() < MARKS => Some(Print::default()),
            None => None,
        }
    }

    /// The newest news after which the state was this.
    pub(crate) fn reached(&self, print: Print) -> Option<u64> {
        self.marks.iter().rev().find(|(_, known)| *known == print).map(|(number, _)| *number)
    }

    fn mark(&mut self, at: u64) {
        // Objects of one list come with one number: the state is that after the last of them.
        if self.marks.back().is_some_and(|(number, _)| *number == at) {
            self.marks.pop_back();
        }
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, self.print));
    }
}

fn digest_of(name: &ObjectRef, facts: &Facts) -> u128 {
    let ObjectRef { kind, namespace, name } = name;
    let text = format!("{kind}\0{namespace}\0{name}\0{}\0{}", facts.uid, facts.generation);
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let (half, _) = digest.as_ref().split_at(16);
    u128::from_be_bytes(half.try_into().unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
        ObjectRef { kind: kind.into(), namespace: "a".to_owned(), name: name.to_owned() }
    }

    pub(crate) fn facts(uid: &str, generation: i64) -> Facts {
        let resource = ApiResource {
            group: "networking.istio.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "networking.istio.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            plural: "gateways".to_owned(),
        };
        Facts {
            resource: Arc::new(resource),
            uid: uid.to_owned(),
            generation,
            version: generation.to_string(),
            status: Value::Null,
            usable: true,
            gateways: Vec::new(),
            unbound: false,
        }
    }

    #[test]
    fn who_has_heard_the_same_has_the_same_fingerprint() {
        let (mut one, mut other) = (Ledger::default(), Ledger::default());
        one.put(reference("Gateway", "a"), facts("1", 1), 1);
        one.put(reference("Gateway", "b"), facts("2", 1), 2);
        // In another order, with a step that the first one has not seen, and with a status in between.
        other.put(reference("Gateway", "c"), facts("3", 1), 1);
        other.put(reference("Gateway", "b"), facts("2", 1), 2);
        let with_status = Facts { status: json!({"conditions": []}), ..facts("2", 1) };
        other.put(reference("Gateway", "b"), with_status, 3);
        other.remove(&reference("Gateway", "c"), 4);
        other.put(reference("Gateway", "a"), facts("1", 1), 5);
        assert_eq!(one.print_at(2), other.print_at(5));
        assert_ne!(one.print_at(1), one.print_at(2));
        assert_eq!(one.reached(other.print_at(9).expect("known")), Some(2));
        assert_eq!(one.print_at(0), Some(Print::default()));
        let text = one.print.to_string();
        assert_eq!((Print::parse(&text), Print::parse("x")), (Some(one.print), None));
    }

    #[test]
    fn a_status_is_no_new_generation() {
        let (mut ledger, name) = (Ledger::default(), reference("Gateway", "a"));
        ledger.put(name.clone(), facts("1", 1), 3);
        ledger.put(name.clone(), Facts { version: "9".to_owned(), ..facts("1", 1) }, 4);
        assert_eq!(ledger.get(&name).map(|entry| entry.since), Some(3));
        ledger.put(name.clone(), facts("1", 2), 5);
        assert_eq!(ledger.get(&name).map(|entry| entry.since), Some(5));
        // One that was made anew under the same name is another one.
        ledger.put(name.clone(), facts("2", 1), 6);
        assert_eq!(ledger.get(&name).map(|entry| entry.since), Some(6));
        ledger.retain("Gateway", Some("b"), &[], 7);
        assert!(ledger.get(&name).is_some());
        ledger.retain("Gateway", None, &[], 8);
        assert!(ledger.get(&name).is_none());
        assert_eq!(ledger.print_at(8), Some(Print::default()));
    }
}
