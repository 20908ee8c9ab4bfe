//! The Lease as JSON: what is read of it, and what is written to it.
//!
//! Its annotations have what each replica serves. One object for all of it: a heartbeat of a replica is a patch of one
//! annotation, which needs no version and so never collides with another one's, and the holder reads all of them in the
//! answer to its own renewal. An object for each replica would be as many writes, one more right (to delete what is left
//! behind), and as many reads again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::LEASE;

/// What the annotations of replicas begin with.
pub(crate) const REPLICA: &str = "replica.portcullis.dev/";
/// Replicas whose annotations are looked at.
const MAX_REPLICAS: usize = 64;
/// Longest name of an annotation behind its prefix.
const MAX_NAME: usize = 63;

/// Who holds a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Empty when it was released.
    pub(crate) holder: String,
    /// As it is written; only looked at for whether it changes.
    pub(crate) renewed: String,
    /// How long its holder may be silent.
    pub(crate) length: Duration,
    /// How often it has changed hands.
    pub(crate) transitions: u64,
}

/// A Lease as the API server gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) held: Held,
    /// Its version: who changes the holder names the version that was seen.
    pub(crate) version: String,
    /// What replicas say, by their names.
    pub(crate) replicas: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn read(lease: &Value) -> Self {
        let text = |path: &str| lease.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |path: &str| lease.pointer(path).and_then(Value::as_u64);
        let annotations = lease.pointer("/metadata/annotations").and_then(Value::as_object);
        let replica = |(name, value): (&String, &Value)| {
            Some((name.strip_prefix(REPLICA)?.to_owned(), value.as_str()?.to_owned()))
        };
        Self {
            held: Held {
                holder: text("/spec/holderIdentity"),
                renewed: text("/spec/renewTime"),
                length: number("/spec/leaseDurationSeconds").map_or(LEASE, Duration::from_secs),
                transitions: number("/spec/leaseTransitions").unwrap_or_default(),
            },
            version: text("/metadata/resourceVersion"),
            replicas: annotations.into_iter().flatten().filter_map(replica).take(MAX_REPLICAS).collect(),
        }
    }
}

/// A new Lease, held by `identity`.
pub(crate) fn created(name: &str, namespace: &str, identity: &str, now: SystemTime) -> Value {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
    });
    lease["spec"] = spec(identity, 0, now);
    lease["spec"]["acquireTime"] = micros(now).into();
    lease
}

/// A patch that takes the Lease over.
pub(crate) fn taken(version: &str, identity: &str, transitions: u64, now: SystemTime) -> Value {
    let mut spec = spec(identity, transitions, now);
    spec["acquireTime"] = micros(now).into();
    json!({"metadata": {"resourceVersion": version}, "spec": spec})
}

/// A patch that renews it. Replicas that have not been heard of for long are struck out on the way.
pub(crate) fn renewed(version: &str, silent: &[String], now: SystemTime) -> Value {
    let spec = json!({"renewTime": micros(now), "leaseDurationSeconds": LEASE.as_secs()});
    let gone = silent.iter().map(|name| (format!("{REPLICA}{name}"), Value::Null));
    let annotations: Map<String, Value> = gone.collect();
    let mut metadata = json!({"resourceVersion": version});
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    json!({"metadata": metadata, "spec": spec})
}

/// A patch that gives it back: the next one need not wait.
pub(crate) fn released(version: &str, now: SystemTime) -> Value {
    let spec = json!({"holderIdentity": "", "renewTime": micros(now), "leaseDurationSeconds": 1});
    json!({"metadata": {"resourceVersion": version}, "spec": spec})
}

/// A patch by which a replica says something, or takes it back.
pub(crate) fn said(replica: &str, words: Option<&str>) -> Value {
    let annotation = Map::from_iter([(format!("{REPLICA}{replica}"), Value::from(words))]);
    json!({"metadata": {"annotations": annotation}})
}

/// A name for the annotations of a replica: at most as long as they may be.
pub(crate) fn replica_name(identity: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = identity.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    // What tells replicas of one Deployment apart stands at the end.
    let start = name.len().saturating_sub(MAX_NAME);
    name[start..].trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// A point in time as Kubernetes writes it into Leases and Events.
pub(crate) fn micros(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn spec(identity: &str, transitions: u64, now: SystemTime) -> Value {
    json!({
        "holderIdentity": identity, "leaseDurationSeconds": LEASE.as_secs(), "leaseTransitions": transitions,
        "renewTime": micros(now),
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let now = UNIX_EPOCH + Duration::from_micros(1_800_000_000_000_001);
        assert_eq!(micros(now), "2027-01-15T08:00:00.000001Z");
        let mut lease = created("l", "gw", "me", now);
        lease["metadata"]["resourceVersion"] = "7".into();
        lease["metadata"]["annotations"] = json!({"replica.portcullis.dev/a": "x.1", "other": "y"});
        let record = Record::read(&lease);
        assert_eq!(
            (record.held.holder.as_str(), record.held.length, record.version.as_str()),
            ("me", LEASE, "7")
        );
        assert_eq!(record.replicas, [("a".to_owned(), "x.1".to_owned())].into());
        assert_eq!(
            renewed("7", &["a".to_owned()], now)["metadata"]["annotations"],
            json!({"replica.portcullis.dev/a": null})
        );
        assert_eq!(said("a", None)["metadata"]["annotations"]["replica.portcullis.dev/a"], Value::Null);
        assert!(Record::read(&json!({})).held.holder.is_empty());
    }

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(replica_name("edge-7d9f-x2x4l"), "edge-7d9f-x2x4l");
        let long = format!("{}-7d9f-x2x4l", "a".repeat(80));
        assert!(replica_name(&long).ends_with("-7d9f-x2x4l") && replica_name(&long).len() <= MAX_NAME);
    }
}
