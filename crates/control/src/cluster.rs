//! What the control thread keeps of a cluster: its objects, and when a burst of news is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_api::{Kind, Severity};
use portcullis_compile::{CertificateRules, Environment, GatewayWorkload, Objects};
use portcullis_telemetry::metrics::cluster::{Cluster as Gauges, Source};
use tokio::sync::watch as signal;

use crate::cache::Saved;
use crate::certificates::{Orders, Standing};
use crate::kubernetes::unread::Unread;
use crate::kubernetes::{News, Options};
use crate::live::Live;
use crate::notice::Notice;
use crate::report::Bulletin;
use crate::settle::{Settle, SettleTimes};

/// How long a cluster has to tell everything before what was saved of it is served. One that cannot be reached, and says so,
/// has no time at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// A burst of news that does not end is cut short after this time, ...
const SHORTEST_BURST: Duration = Duration::from_millis(20);
/// ... or so many times what the last compilation took, so that compiling leaves most of the time for other things.
const PACE: u32 = 4;

/// The cluster as the control thread knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    live: Live,
    unread: Unread,
    /// What an earlier process saved; only until the cluster has told everything.
    saved: Option<Saved>,
    /// Until when the cluster may take its time.
    patience: Option<Instant>,
    namespace: String,
    /// Name of the gateway's own Pod.
    pod: Option<String>,
    burst: Settle,
    longest: Duration,
    /// The number of the last news.
    news: u64,
    bulletin: signal::Sender<Bulletin>,
    /// Generation of the last snapshot that was published, and whether its notices are still to come.
    served: u64,
    awaits_notices: bool,
    gauges: Arc<Gauges>,
    certificates: Option<Certificates>,
}

/// What a published state was made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edition {
    /// The number of the last news in it.
    news: u64,
    /// Whether it is the cluster's own, not what an earlier process saved.
    live: bool,
}

/// The Certificates that Gateways ask cert-manager for.
#[derive(Debug)]
struct Certificates {
    rules: CertificateRules,
    wanted: Orders,
    /// How they stand; `None` as long as another replica writes them.
    stand: Option<BTreeMap<String, Standing>>,
}

impl Cluster {
    pub(crate) fn new(
        options: &Options,
        times: SettleTimes,
        bulletin: signal::Sender<Bulletin>,
        gauges: Arc<Gauges>,
    ) -> Self {
        Self {
            live: Live::new(options.scopes()),
            unread: Unread::default(),
            saved: None,
            patience: None,
            namespace: options.namespace.clone(),
            pod: options.pod.clone(),
            burst: Settle::new(times),
            longest: times.longest.max(SHORTEST_BURST),
            news: 0,
            bulletin,
            served: 0,
            awaits_notices: false,
            gauges,
            certificates: options.certificates.clone().map(|rules| Certificates {
                rules,
                wanted: Orders::default(),
                stand: None,
            }),
        }
    }

    /// Takes news in.
    pub(crate) fn take(&mut self, news: News, now: Instant) {
        let changed = match news {
            News::Told { number, event } => {
                self.news = self.news.max(number);
                self.live.apply(event)
            }
            News::Unread(event) => self.unread.apply(event),
            News::Certificates(stand) => match &mut self.certificates {
                Some(certificates) if certificates.stand != stand => {
                    certificates.stand = stand;
                    true
                }
                _ => false,
            },
            News::Saved(saved) => {
                (self.saved, self.patience) = (Some(*saved), Some(now + PATIENCE));
                false
            }
        };
        // From here on the cluster itself counts.
        let whole = self.saved.is_some() && self.live.is_synced();
        if whole {
            (self.saved, self.patience) = (None, None);
        }
        if changed || whole {
            self.burst.note_whole(now);
        } else if self.burst.due().is_none() && !self.awaits_notices {
            // What was published last is made of these news, too.
            self.bulletin.send_if_modified(|bulletin| {
                bulletin.news = self.news;
                false
            });
        }
    }

    /// Whether news is there and its burst is over, or the cluster has had its time.
    pub(crate) fn collect(&mut self, now: Instant) -> bool {
        let waited = self.patience.take_if(|until| *until <= now).is_some();
        self.burst.finish(now) || waited
    }

    /// The last compilation took so long.
    pub(crate) fn pace(&mut self, took: Duration) {
        self.burst.end_after((took * PACE).clamp(SHORTEST_BURST, self.longest));
    }

    /// When the burst is over, or the cluster has had its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.burst.due(), self.patience].into_iter().flatten().min()
    }

    /// Whether all is there that a first snapshot needs.
    pub(crate) fn is_whole(&self) -> bool {
        self.live.is_synced() || self.in_use().is_some()
    }

    /// What was saved, if that is what is served: the cluster has not told everything yet, and cannot or does not.
    fn in_use(&self) -> Option<&Saved> {
        let unreachable = || self.live.states().get("failing").is_some_and(|count| *count > 0);
        self.saved.as_ref().filter(|_| self.patience.is_none() || unreachable())
    }

    pub(crate) fn objects(&self) -> &Objects {
        self.in_use().map_or_else(|| self.live.objects(), |saved| &saved.objects)
    }

    /// A snapshot of all this was published; what there is to say about it may come later.
    pub(crate) fn served(&mut self, generation: u64) -> Edition {
        let saved = self.in_use();
        let (source, confirmed) = match saved {
            Some(saved) => (Source::Cache, Some(saved.confirmed)),
            None => (Source::Cluster, None),
        };
        self.gauges.set_source(source, confirmed);
        let edition = Edition { news: self.news, live: saved.is_none() };
        (self.served, self.awaits_notices) = (generation, true);
        edition
    }

    /// These are the notices about a state that was published.
    pub(crate) fn noticed(&mut self, generation: u64, edition: Edition, notices: &Arc<[Notice]>) {
        let is_last = generation == self.served;
        self.awaits_notices &= !is_last;
        // What has come since without a burst has changed nothing.
        let unchanged = is_last && self.burst.due().is_none();
        self.bulletin.send_replace(Bulletin {
            generation,
            news: if unchanged { self.news } else { edition.news },
            live: edition.live,
            notices: Arc::clone(notices),
            certificates: self.certificates.as_ref().map(|certificates| Arc::clone(&certificates.wanted)),
            standing_known: self
                .certificates
                .as_ref()
                .is_some_and(|certificates| certificates.stand.is_some()),
        });
    }

    /// Looks what certificates the Gateways ask for; gives what there is to say about them.
    pub(crate) fn ask(&mut self, objects: &Objects, environment: &Environment) -> Vec<Notice> {
        // What was saved is no ground for writing anything.
        if self.in_use().is_some() {
            return Vec::new();
        }
        let Some(certificates) = &mut self.certificates else { return Vec::new() };
        let found = portcullis_compile::certificates(objects, environment, &certificates.rules);
        if *certificates.wanted != found.wanted {
            certificates.wanted = Arc::new(found.wanted);
        }
        let Certificates { wanted, stand, .. } = certificates;
        let standing = stand.iter().flat_map(|stand| {
            wanted.iter().filter_map(|(name, wanted)| {
                let just_asked = Standing::Waiting("it was asked for a moment ago".to_owned());
                stand.get(name).unwrap_or(&just_asked).diagnostic(name, wanted)
            })
        });
        found.diagnostics.into_iter().chain(standing).map(Notice::from).collect()
    }

    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        self.live.notices().chain(self.unread.notices()).chain(self.in_use().map(served_as_saved))
    }

    /// How many watches are in which state.
    pub(crate) fn watches(&self) -> BTreeMap<&'static str, u64> {
        self.live.states()
    }

    /// How many objects of each kind there are.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let counts = Kind::ALL.map(|kind| (kind.name(), self.objects().count(kind)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Who the gateway is, as far as its Pod says: its labels, which Gateways select.
    pub(crate) fn describe(&self, workload: &mut GatewayWorkload) {
        let Some(pod) = self.pod.as_ref().and_then(|name| self.objects().pod(&self.namespace, name)) else {
            return;
        };
        workload.labels.clone_from(&pod.meta.labels);
    }
}

fn served_as_saved(saved: &Saved) -> Notice {
    let mut notice = Notice::about_cluster(Severity::Warning, "ServedAsSaved");
    "the cluster cannot be asked, so its state is served as an earlier process saved it"
        .clone_into(&mut notice.message);
    if let Some(reason) = &saved.without_secrets {
        notice.message = format!("{}, without Secrets: {reason}", notice.message);
    }
    "the metric portcullis_configuration_age_seconds says how old it is".clone_into(&mut notice.remedy);
    notice
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use portcullis_api::from_json_value;
    use serde_json::json;

    use super::*;
    use crate::live::{Change, Event, Read, Scope};

    fn object(kind: &str, value: &serde_json::Value) -> News {
        let mut value = value.clone();
        (value["apiVersion"], value["kind"]) = ("v1".into(), kind.into());
        let objects = from_json_value("cluster", value);
        let read =
            Read { object: objects.objects[0].object_ref(), objects: objects.objects, findings: Vec::new() };
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).expect("a kind");
        News::Told {
            number: 1,
            event: Event { scope: Scope { kind, namespace: None }, change: Change::Applied(read) },
        }
    }

    fn pod(labels: &serde_json::Value) -> News {
        object("Pod", &json!({"metadata": {"name": "me", "namespace": "gw", "labels": labels}}))
    }

    fn options() -> Options {
        Options {
            namespace: "gw".to_owned(),
            root_namespace: "istio-system".to_owned(),
            restricted_to: std::collections::BTreeSet::new(),
            context: None,
            pod: Some("me".to_owned()),
            workload: "edge".to_owned(),
            write_status: None,
            cache: None,
            certificates: None,
        }
    }

    fn cluster() -> (Cluster, signal::Receiver<Bulletin>) {
        let (bulletin, told) = signal::channel(Bulletin::default());
        (Cluster::new(&options(), SettleTimes::DEFAULT, bulletin, Arc::default()), told)
    }

    fn saved(confirmed: SystemTime) -> News {
        let metadata = json!({"name": "s", "namespace": "a"});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}});
        let objects = from_json_value("cluster", service).objects.into_iter().collect();
        News::Saved(Box::new(Saved { objects, confirmed, without_secrets: None }))
    }

    fn of_all(change: &Change) -> Vec<News> {
        let news = |scope| News::Told { number: 2, event: Event { scope, change: change.clone() } };
        options().scopes().into_iter().map(news).collect()
    }

    #[test]
    fn its_own_pod_says_who_the_gateway_is() {
        let ((mut cluster, _told), now) = (cluster(), Instant::now());
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

    #[test]
    fn what_was_saved_is_served_while_the_cluster_cannot_be_asked_and_no_longer() {
        let ((mut cluster, told), now) = (cluster(), Instant::now());
        cluster.take(saved(SystemTime::now()), now);
        assert!(!cluster.is_whole(), "the cluster has its time");
        cluster.take(of_all(&Change::Failing("refused".to_owned())).remove(0), now);
        assert!(cluster.is_whole() && cluster.objects().len() == 1, "at once");
        assert!(cluster.notices().any(|notice| notice.code == "ServedAsSaved"));
        let notices: Arc<[Notice]> = Arc::new([]);
        let edition = cluster.served(1);
        cluster.noticed(1, edition, &notices);
        assert!(!told.borrow().live && cluster.gauges.source() == Source::Cache);
        for news in of_all(&Change::Listed(Vec::new())) {
            cluster.take(news, now);
        }
        assert!(cluster.is_whole() && cluster.objects().is_empty(), "the cluster counts");
        let edition = cluster.served(2);
        cluster.noticed(2, edition, &notices);
        assert_eq!((told.borrow().live, told.borrow().news), (true, 2));
        assert_eq!(cluster.gauges.source(), Source::Cluster);
    }

    #[test]
    fn a_cluster_that_says_nothing_has_its_time_and_then_none() {
        let ((mut cluster, _told), now) = (cluster(), Instant::now());
        cluster.take(saved(SystemTime::now()), now);
        assert_eq!(cluster.due(), Some(now + PATIENCE));
        assert!(!cluster.collect(now + PATIENCE / 2) && !cluster.is_whole());
        assert!(cluster.collect(now + PATIENCE) && cluster.is_whole());
        assert!(!cluster.collect(now + PATIENCE), "once");
    }
}
