//! Pods and WorkloadEntries: labels for subsets and selectors, facts for metrics.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use portcullis_api::networking::WorkloadEntrySpec;
use portcullis_api::{Map, Pod, WorkloadEntry};
use portcullis_snapshot::cluster::Workload;

use crate::locality::{self, CLUSTER};
use crate::objects::Objects;
use crate::settings;

/// The labels of a member; shared, not copied.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    None,
    Pod(Arc<Pod>),
    Own(Arc<Map<String>>),
}

impl Labels {
    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let own = match self {
            Self::None => return None,
            Self::Pod(pod) => &pod.meta.labels,
            Self::Own(labels) => labels,
        };
        own.get(name).map(String::as_str)
    }
}

/// Whether `own` has every label of `wanted`.
pub(crate) fn contains(own: &Map<String>, wanted: &Map<String>) -> bool {
    wanted.iter().all(|(key, value)| own.get(key) == Some(value))
}

/// What is known about a workload behind endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) labels: Labels,
    pub(crate) locality: Arc<str>,
    /// Empty when unknown.
    pub(crate) node: Arc<str>,
    /// SPIFFE identity of its service account.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) workload: Arc<Workload>,
}

/// Shared by all endpoints without a Pod, which may be many.
static NOTHING: LazyLock<Known> = LazyLock::new(|| Known {
    labels: Labels::None,
    locality: "".into(),
    node: "".into(),
    identity: None,
    workload: Arc::new(Workload { cluster: CLUSTER.into(), ..Workload::default() }),
});

impl Known {
    /// A workload of which nothing is known but that it is in the cluster.
    pub(crate) fn nothing() -> Self {
        NOTHING.clone()
    }

    /// A workload given by its labels.
    pub(crate) fn labelled(
        labels: Map<String>,
        name: Option<&str>,
        namespace: &str,
        locality: Option<&str>,
    ) -> Self {
        let workload = Arc::new(facts(&labels, name, namespace));
        let locality = locality.filter(|text| !text.is_empty()).map(str::to_owned);
        let locality = locality.or_else(|| locality::of_labels(&labels)).unwrap_or_default().into();
        Self { labels: Labels::Own(Arc::new(labels)), locality, node: "".into(), identity: None, workload }
    }

    /// With the identity that a service account of `namespace` has.
    fn identified(self, account: Option<&str>, namespace: &str, trust_domain: &str) -> Self {
        let account = account.filter(|account| !account.is_empty());
        let identity = account.map(|account| format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}"));
        Self { identity: identity.map(Into::into), ..self }
    }

    fn pod(pod: &Arc<Pod>) -> Self {
        let labels = &pod.meta.labels;
        let workload = facts(labels, Some(owner(pod)), &pod.meta.namespace);
        let node = pod.spec.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        Self {
            labels: Labels::Pod(Arc::clone(pod)),
            locality: locality::of_labels(labels).unwrap_or_default().into(),
            node: node.unwrap_or_default().into(),
            identity: None,
            workload: Arc::new(workload),
        }
    }
}

/// Pods by name and by address, and WorkloadEntries by namespace. What is known of a Pod is worked out when it is first
/// asked for: most compilations are about a few of many.
pub(crate) struct Workloads<'a> {
    objects: &'a Objects,
    known: RefCell<HashMap<(&'a str, &'a str), Known>>,
    addresses: OnceCell<Addresses<'a>>,
    trust_domain: &'a str,
}

/// Names of Pods by namespace and address.
type Addresses<'a> = HashMap<(&'a str, IpAddr), &'a str>;

impl<'a> Workloads<'a> {
    pub(crate) fn new(objects: &'a Objects) -> Self {
        Self {
            objects,
            known: RefCell::default(),
            addresses: OnceCell::new(),
            trust_domain: settings::trust_domain(objects),
        }
    }

    /// An endpoint called `name` that an entry of `namespace` describes.
    pub(crate) fn written(&self, spec: &WorkloadEntrySpec, name: &str, namespace: &str) -> Known {
        let known = Known::labelled(spec.labels.clone(), Some(name), namespace, spec.locality.as_deref());
        known.identified(spec.service_account.as_deref(), namespace, self.trust_domain)
    }

    /// The Pod of that name.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Known> {
        if self.objects.pods.is_empty() {
            return None;
        }
        let key = (namespace.to_owned(), name.to_owned());
        let ((namespace, name), pod) = self.objects.pods.get_key_value(&key)?;
        Some(self.known(namespace, name, pod))
    }

    /// The Pod of that namespace with that address.
    pub(crate) fn pod_at(&self, namespace: &str, address: IpAddr) -> Option<Known> {
        let addresses = self.addresses.get_or_init(|| addresses(self.objects));
        // The key lives as long as the objects, which `namespace` need not.
        let name = if addresses.is_empty() { None } else { addresses.get(&(namespace, address)).copied() };
        self.pod(namespace, name?)
    }

    fn known(&self, namespace: &'a str, name: &'a str, pod: &Arc<Pod>) -> Known {
        let mut known = self.known.borrow_mut();
        let make = || {
            let account = pod.spec.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
            Known::pod(pod).identified(account, namespace, self.trust_domain)
        };
        known.entry((namespace, name)).or_insert_with(make).clone()
    }

    /// The Pods of `namespace` that are ready and carry `labels`, with their addresses.
    pub(crate) fn pods_with<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s Map<String>,
    ) -> impl Iterator<Item = (IpAddr, Known)> {
        let pods = self.objects.pods.in_namespace(namespace);
        pods.filter(|(_, pod)| contains(&pod.meta.labels, labels) && is_alive(pod) && is_ready(pod))
            .filter_map(|((namespace, name), pod)| {
                Some((pod_address(pod)?, self.known(namespace, name, pod)))
            })
    }

    /// The WorkloadEntries of `namespace` that carry `labels`, in metadata or spec.
    pub(crate) fn entries_with<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s Map<String>,
    ) -> impl Iterator<Item = (&'s WorkloadEntry, Known)> {
        let entries = self.objects.workload_entries.in_namespace(namespace);
        entries.filter_map(move |((_, name), entry)| {
            let mut all = entry.spec.labels.clone();
            all.extend(entry.meta.labels.clone());
            if !contains(&all, labels) {
                return None;
            }
            let known = Known::labelled(all, Some(name), namespace, entry.spec.locality.as_deref());
            let account = entry.spec.service_account.as_deref();
            Some((&**entry, known.identified(account, namespace, self.trust_domain)))
        })
    }
}

/// Of several Pods with one address the first counts.
fn addresses(objects: &Objects) -> Addresses<'_> {
    let mut addresses = Addresses::new();
    for ((namespace, name), pod) in objects.pods.iter() {
        if let Some(address) = pod_address(pod) {
            addresses.entry((namespace, address)).or_insert(name);
        }
    }
    addresses
}

/// The address of a Pod that has one.
pub(crate) fn pod_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.spec.status.as_ref()?;
    let first = status.pod_ips.first().and_then(|address| address.ip.as_deref());
    status.pod_ip.as_deref().or(first)?.parse().ok()
}

fn is_alive(pod: &Pod) -> bool {
    let phase = pod.spec.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether it may be sent requests by those who pick it by its labels. EndpointSlices say it of their own.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.spec.status.as_ref().map(|status| status.conditions.as_slice());
    let ready =
        conditions.unwrap_or_default().iter().find(|condition| condition.r#type.as_deref() == Some("Ready"));
    ready.is_some_and(|condition| condition.status.as_deref() == Some("True"))
}

/// Facts as Istio derives them from labels (telemetry reference §1.2).
fn facts(labels: &Map<String>, name: Option<&str>, namespace: &str) -> Workload {
    let label = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).map(String::as_str);
    let name = label(&["service.istio.io/workload-name"]).or(name).unwrap_or("unknown");
    let canonical = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    Workload {
        name: name.into(),
        namespace: namespace.into(),
        app: label(&["app"]).unwrap_or("unknown").into(),
        version: label(&["version"]).unwrap_or("unknown").into(),
        canonical_service: canonical.unwrap_or(name).into(),
        canonical_revision: revision.unwrap_or("latest").into(),
        cluster: CLUSTER.into(),
    }
}

/// The name of the workload a Pod belongs to.
///
/// Owner references end at the ReplicaSet; what remains is the Deployment's name, which Istio finds by cutting off
/// the same suffixes.
fn owner(pod: &Pod) -> &str {
    let name = pod.meta.name.as_str();
    let labels = &pod.meta.labels;
    if let Some(job) = labels.get("batch.kubernetes.io/job-name").or_else(|| labels.get("job-name")) {
        return job;
    }
    let generated = match labels.get("pod-template-hash") {
        Some(hash) => {
            name.rsplit_once('-').and_then(|(front, _)| front.strip_suffix(hash.as_str())?.strip_suffix('-'))
        }
        None if labels.contains_key("controller-revision-hash") => {
            name.rsplit_once('-').map(|(front, _)| front)
        }
        None => None,
    };
    generated.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use portcullis_api::core::PodBody;
    use portcullis_api::{Meta, Origin, Resource};

    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Map<String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn owners() {
        for (name, own, expected) in [
            ("web", &[][..], "web"),
            ("web-7d9f5-x2k4p", &[("pod-template-hash", "7d9f5")], "web"),
            ("web-x2k4p", &[("pod-template-hash", "7d9f5")], "web-x2k4p"),
            ("db-0", &[("controller-revision-hash", "db-abc")], "db"),
            ("load-4x", &[("job-name", "load")], "load"),
        ] {
            let meta = Meta { name: name.to_owned(), labels: labels(own), ..Meta::default() };
            let origin = Origin::default();
            let pod = Resource { meta, spec: PodBody::default(), conditions: Vec::new(), origin };
            assert_eq!(owner(&pod), expected, "{name}");
        }
    }

    #[test]
    fn facts_from_labels() {
        let all = facts(&labels(&[("app", "web"), ("version", "v2")]), Some("web-main"), "shop");
        assert_eq!(
            (&*all.name, &*all.canonical_service, &*all.canonical_revision),
            ("web-main", "web", "v2")
        );
        let none = facts(&Map::default(), None, "shop");
        assert_eq!(
            (&*none.app, &*none.canonical_service, &*none.canonical_revision),
            ("unknown", "unknown", "latest")
        );
    }
}
