//! Events (events.k8s.io) for findings of severity error, and for certificates that do not come: what `kubectl describe` and
//! `kubectl events` show.
//!
//! An error makes one Event when it appears, and none while it lasts: the object's status says that it does. The name of the
//! Event is made of the object and the code, so the next writer, who finds the same error, makes no second one. An error that
//! went away and came back adds to the series of its Event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use aws_lc_rs::digest;
use portcullis_api::ObjectRef;
use serde_json::{Value, json};

use super::conditions::sentence;
use super::ledger::Facts;
use crate::lease::record::micros;
use crate::notice::Notice;

/// Errors that are remembered; Events of others are left out.
const MAX_KNOWN: usize = 4096;
/// Longest part of an Event's name that is the object's.
const MAX_NAME: usize = 200;
/// Who says it, as Kubernetes wants it written.
const CONTROLLER: &str = "portcullis.dev/gateway";

/// An error of one object, by the object's identity and the code.
type Key = (String, &'static str);

/// An Event to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) body: Value,
    /// Whether the error was there before, and had gone away.
    pub(crate) again: bool,
}

/// Which errors were told.
#[derive(Debug, Default)]
pub(crate) struct Herald {
    /// Whether the error is there now.
    known: BTreeMap<Key, bool>,
}

impl Herald {
    /// The Events that errors of now are worth. Each is given out once, whether it is then written or not.
    pub(crate) fn news<'a>(
        &mut self,
        errors: impl Iterator<Item = (&'a ObjectRef, &'a Facts, &'a Notice)>,
        instance: &str,
        now: SystemTime,
    ) -> Vec<Event> {
        let (mut events, mut there) = (Vec::new(), BTreeSet::new());
        for (object, facts, notice) in errors {
            let key = (facts.uid.clone(), notice.code);
            if !there.insert(key.clone()) || self.known.get(&key) == Some(&true) {
                continue;
            }
            if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&key) {
                continue;
            }
            let again = self.known.insert(key, true).is_some();
            events.push(event(object, facts, notice, instance, now, again));
        }
        for (key, held) in &mut self.known {
            *held = there.contains(key);
        }
        events
    }
}

/// The patch of an Event that is there already: it happened once more.
pub(crate) fn once_more(held: &Value, now: SystemTime) -> Value {
    let count = held["series"]["count"].as_u64().unwrap_or(1) + 1;
    json!({"series": {"count": count, "lastObservedTime": micros(now)}})
}

fn event(
    object: &ObjectRef,
    facts: &Facts,
    notice: &Notice,
    instance: &str,
    now: SystemTime,
    again: bool,
) -> Event {
    let name = name(object, facts, notice);
    // A kind without a namespace has its Events in this one.
    let namespace = if object.namespace.is_empty() { "default".to_owned() } else { object.namespace.clone() };
    let body = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": micros(now),
        "type": "Warning",
        "reason": notice.title,
        "action": "Configure",
        "note": sentence(notice),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": facts.resource.api_version, "kind": facts.resource.kind, "namespace": object.namespace,
            "name": object.name, "uid": facts.uid,
        },
    });
    Event { namespace, name, body, again }
}

fn name(object: &ObjectRef, facts: &Facts, notice: &Notice) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{}\0{}", facts.uid, notice.code).as_bytes());
    let short: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let end = object.name.floor_char_boundary(MAX_NAME);
    format!("{}.{short}", &object.name[..end])
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use portcullis_api::Severity;

    use super::super::ledger::tests::{facts, reference};
    use super::*;

    #[test]
    fn an_error_is_told_once_and_again_when_it_comes_back() {
        let (object, facts) = (reference("Gateway", "gw"), facts("uid", 1));
        let notice = Notice::about_object(Severity::Error, "IST0101", object.clone());
        let mut herald = Herald::default();
        let mut news = |there: bool| {
            // The same code twice in one object is one Event.
            let errors = [(&object, &facts, &notice), (&object, &facts, &notice)];
            herald.news(errors.into_iter().filter(|_| there), "me", UNIX_EPOCH)
        };
        let first = news(true);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].body["regarding"]["uid"], "uid");
        assert_eq!(news(true), []);
        assert_eq!(news(false), []);
        let again = news(true);
        assert!(again.len() == 1 && again[0].again && again[0].name == first[0].name);
        let series = once_more(&json!({"series": {"count": 2}}), UNIX_EPOCH);
        assert_eq!(series["series"]["count"], 3);
        assert_eq!(once_more(&json!({}), UNIX_EPOCH)["series"]["count"], 2);
    }
}
