//! What the control thread keeps of a cluster: its objects, and when a burst of news is over.

use std::collections::BTreeMap;
use std::time::Instant;

use portcullis_api::Kind;
use portcullis_compile::{GatewayWorkload, Objects};

use crate::kubernetes::Options;
use crate::live::{Event, Live};
use crate::notice::Notice;
use crate::settle::{Settle, SettleTimes};

/// The cluster as the control thread knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    live: Live,
    namespace: String,
    /// Name of the gateway's own Pod.
    pod: Option<String>,
    burst: Settle,
}

impl Cluster {
    pub(crate) fn new(options: &Options, times: SettleTimes) -> Self {
        Self {
            live: Live::new(options.scopes()),
            namespace: options.namespace.clone(),
            pod: options.pod.clone(),
            burst: Settle::new(times),
        }
    }

    /// Takes news in.
    pub(crate) fn take(&mut self, event: Event, now: Instant) {
        if self.live.apply(event) {
            self.burst.note_whole(now);
        }
    }

    /// Whether news is there and its burst is over.
    pub(crate) fn collect(&mut self, now: Instant) -> bool {
        self.burst.finish(now)
    }

    /// When the burst is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.burst.due()
    }

    /// Whether all is there that a first snapshot needs.
    pub(crate) fn is_whole(&self) -> bool {
        self.live.is_synced()
    }

    pub(crate) fn objects(&self) -> &Objects {
        self.live.objects()
    }

    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        self.live.notices()
    }

    /// How many watches are in which state.
    pub(crate) fn watches(&self) -> BTreeMap<&'static str, u64> {
        self.live.states()
    }

    /// How many objects of each kind there are.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let counts = Kind::ALL.map(|kind| (kind.name(), self.live.objects().count(kind)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Who the gateway is, as far as its Pod says: its labels, which Gateways select.
    pub(crate) fn describe(&self, workload: &mut GatewayWorkload) {
        let Some(pod) = self.pod.as_ref().and_then(|name| self.live.objects().pod(&self.namespace, name))
        else {
            return;
        };
        workload.labels.clone_from(&pod.meta.labels);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_api::from_json_value;
    use serde_json::json;

    use super::*;
    use crate::live::{Change, Read, Scope};

    fn pod(labels: &serde_json::Value) -> Event {
        let metadata = json!({"name": "me", "namespace": "gw", "labels": labels});
        let objects =
            from_json_value("cluster", json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}));
        let read =
            Read { object: objects.objects[0].object_ref(), objects: objects.objects, findings: Vec::new() };
        Event { scope: Scope { kind: Kind::Pod, namespace: None }, change: Change::Applied(read) }
    }

    #[test]
    fn its_own_pod_says_who_the_gateway_is() {
        let options = Options {
            namespace: "gw".to_owned(),
            root_namespace: "istio-system".to_owned(),
            restricted_to: std::collections::BTreeSet::new(),
            context: None,
            pod: Some("me".to_owned()),
        };
        let (mut cluster, now) = (Cluster::new(&options, SettleTimes::DEFAULT), Instant::now());
        let mut workload = GatewayWorkload::default();
        cluster.describe(&mut workload);
        assert_eq!(workload, GatewayWorkload::default());
        cluster.take(pod(&json!({"istio": "edge"})), now);
        let due = cluster.due().expect("there is news");
        assert!(cluster.collect(due) && !cluster.collect(due));
        // The same again is no news.
        cluster.take(pod(&json!({"istio": "edge"})), due);
        assert_eq!(cluster.due(), None);
        cluster.describe(&mut workload);
        assert_eq!(workload.labels, [("istio".to_owned(), "edge".to_owned())].into());
    }
}
