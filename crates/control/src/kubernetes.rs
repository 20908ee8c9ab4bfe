//! A Kubernetes cluster as the source of objects: watches of every kind the gateway reads.
//!
//! One thread with a runtime of its own; each watch is a task on it. A watch lists in pages, then follows; what it is
//! told goes to the control thread as [`News`]. What breaks a watch (a restart of the API server, a 410) is followed by
//! another list, after waits that grow and vary, so that the replicas of a DaemonSet do not come all at once. None of it
//! takes anything away from what is served.

pub(crate) mod book;
pub(crate) mod call;
mod kinds;
mod read;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod unread;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use portcullis_compile::CertificateRules;
use portcullis_telemetry::metrics::cluster::{Clock, Cluster as Gauges};
use rand::RngExt as _;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::cache::keeper::Keeper;
use crate::cache::{self, Place as CachePlace, Saved, digest_of, shelf::Shelf};
use crate::certificates::Standing;
use crate::certificates::clerk::Clerk;
use crate::live::{Change, Event, Scope};
use crate::report::{Bulletin, Parts, Reporter};
use book::Shared;
use call::Caller;
use kinds::{Followed, Place, READ, UNREAD, Watched};
use read::Keep;

/// How long the end may take: the Lease is given back, and the last state saved.
const FAREWELL: Duration = Duration::from_secs(3);

/// What of a cluster is followed, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the gateway's pod.
    pub namespace: String,
    /// Istio's root namespace: where the ConfigMap `istio` is.
    pub root_namespace: String,
    /// The only namespaces to look into, beside the gateway's own; empty = all.
    pub restricted_to: BTreeSet<String>,
    /// Context of the kubeconfig; `None` = the current one, or the pod's own account.
    pub context: Option<String>,
    /// Name of the gateway's own Pod, whose labels Gateways select; `None` = as the settings say.
    pub pod: Option<String>,
    /// Name of the gateway's workload, which its replicas share.
    pub workload: String,
    /// Whether status and Events are written; `None` = where the gateway runs in a pod, and with its account.
    pub write_status: Option<bool>,
    /// Where the last good state is kept; `None` = nowhere.
    pub cache: Option<CachePlace>,
    /// Which Gateways may ask cert-manager for certificates; `None` = nobody writes them.
    pub certificates: Option<CertificateRules>,
}

/// The generation that every worker serves.
pub type Applied = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the cluster's side needs of the rest of the process.
#[derive(Clone)]
pub struct Ties {
    /// The generation that every worker serves.
    pub applied: Applied,
    /// Where it shows what it does.
    pub gauges: Arc<Gauges>,
}

impl Default for Ties {
    /// Workers that are always up to date, and numbers that nobody looks at.
    fn default() -> Self {
        Self { applied: Arc::new(|| u64::MAX), gauges: Arc::default() }
    }
}

/// What the control thread is told.
#[derive(Debug)]
pub enum News {
    /// By a watch of a kind that is read.
    Told {
        /// The number of the news.
        number: u64,
        /// What was told.
        event: Event,
    },
    /// By a watch of a kind that is not read.
    Unread(unread::Event),
    /// The last good state of an earlier process.
    Saved(Box<Saved>),
    /// How the certificates stand that Gateways ask for; `None` when another replica has taken over.
    Certificates(Option<BTreeMap<String, Standing>>),
}

/// Where news go; false when nobody takes them any more.
pub type Sink = Arc<dyn Fn(News) -> bool + Send + Sync>;

/// The running watches; dropping it ends them.
pub struct Source {
    stop: signal::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts watching. Whether the cluster can be reached shows in the news, not here.
    ///
    /// # Errors
    /// When the system refuses a thread or a runtime.
    pub(crate) fn start(
        options: Options,
        ties: Ties,
        told: signal::Receiver<Bulletin>,
        sink: Sink,
    ) -> io::Result<Self> {
        let (stop, stopped) = signal::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("kubernetes".to_owned());
        let follower = Follower { options, ties, told, sink, book: Shared::default() };
        let thread = thread.spawn(move || runtime.block_on(follower.run(stopped)))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Options {
    /// The watches that these options come to.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let scope = |(watched, namespace): (Watched, Option<Arc<str>>)| match watched.kind {
            Followed::Read(kind) => Some(Scope { kind, namespace }),
            Followed::Unread(_) => None,
        };
        self.watches().into_iter().filter_map(scope).collect()
    }

    /// What is watched where; `None` = in all namespaces.
    fn watches(&self) -> Vec<(Watched, Option<Arc<str>>)> {
        let mut watches = Vec::new();
        for watched in READ.into_iter().chain(UNREAD) {
            let scope = |namespace: Option<&str>| namespace.map(Arc::from);
            match watched.place {
                Place::Own => watches.push((watched, scope(Some(&self.namespace)))),
                Place::OwnAndRoot(_) => {
                    let all = BTreeSet::from([&self.namespace, &self.root_namespace]);
                    watches.extend(all.into_iter().map(|namespace| (watched, scope(Some(namespace)))));
                }
                Place::Namespaces if self.restricted_to.is_empty() => watches.push((watched, scope(None))),
                Place::Namespaces => {
                    let own = [&self.namespace];
                    let all: BTreeSet<&String> = self.restricted_to.iter().chain(own).collect();
                    watches.extend(all.into_iter().map(|namespace| (watched, scope(Some(namespace)))));
                }
            }
        }
        watches
    }
}

/// What runs on the thread.
struct Follower {
    options: Options,
    ties: Ties,
    told: signal::Receiver<Bulletin>,
    sink: Sink,
    book: Shared,
}

impl Follower {
    async fn run(self, mut stopped: signal::Receiver<bool>) {
        let mut pause = watch::Pause::default();
        let mut identity = None;
        let (client, in_pod) = loop {
            let reason = match configure(&self.options).await {
                Ok((config, in_pod)) => {
                    if identity.is_none() {
                        identity = Some(self.options.identity(&config));
                        self.give_saved(identity.as_deref().unwrap_or_default());
                    }
                    match Client::try_from(config) {
                        Ok(client) => break (client, in_pod),
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            let told = self.fail(&format!("there are no credentials for the cluster: {reason}"));
            let wait = pause.next(Instant::now());
            if !told || tokio::time::timeout(wait, stopped.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        };
        let (mut watches, mut others) = (JoinSet::new(), JoinSet::new());
        let reports = self.options.write_status.unwrap_or(in_pod);
        self.watch(&client, reports, &mut watches);
        if reports {
            let reporter = Reporter::new(self.reporting(&client));
            others.spawn(reporter.run(stopped.clone()));
        }
        if let (Some(place), Some(cluster)) = (self.options.cache.clone(), identity) {
            let (book, told) = (Arc::clone(&self.book), self.told.clone());
            let keeper = Keeper { place, cluster, book, told, gauges: Arc::clone(&self.ties.gauges) };
            others.spawn(keeper.run(stopped.clone()));
        }
        let _ = stopped.wait_for(|stop| *stop).await;
        let ended = async { while others.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }

    /// Begins every watch.
    fn watch(&self, client: &Client, reports: bool, tasks: &mut JoinSet<()>) {
        let Self { options, .. } = self;
        let keep = Keep { facts: reports, text: options.cache.is_some() };
        if keep.text {
            self.book.lock().unwrap_or_else(PoisonError::into_inner).shelf = Some(Shelf::default());
        }
        let mut clocks = Vec::new();
        for (watched, namespace) in options.watches() {
            let here = |own: &String| namespace.as_deref() == Some(own);
            let whole = match watched.place {
                Place::OwnAndRoot(name) if here(&options.root_namespace) => Some(name),
                _ => None,
            };
            let essential = matches!(watched.kind, Followed::Read(_));
            let name = unread::qualified_unless(essential, watched.group, watched.kind.name());
            let clock = Arc::new(Clock::new(&name, namespace.as_deref().unwrap_or_default(), essential));
            clocks.push(Arc::clone(&clock));
            let task = watch::Task {
                client: client.clone(),
                watched,
                only: whole.filter(|_| !here(&options.namespace)),
                namespace,
                whole,
                keep,
                clock,
                book: Arc::clone(&self.book),
                sink: Arc::clone(&self.sink),
            };
            tasks.spawn(task.follow());
        }
        self.ties.gauges.set_clocks(clocks);
    }

    fn reporting(&self, client: &Client) -> Parts {
        let Self { options, ties, told, book, .. } = self;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let random: u64 = rand::rng().random();
        let name = options.pod.clone().unwrap_or_else(|| host.trim().to_owned());
        let identity = format!("{name}_{random:016x}");
        let sink = Arc::clone(&self.sink);
        let tell = Box::new(move |stand| {
            sink(News::Certificates(stand));
        });
        Parts {
            clerk: Clerk::new(Caller::new(client.clone()), options.namespace.clone(), tell),
            caller: Caller::new(client.clone()),
            book: Arc::clone(book),
            told: told.clone(),
            applied: Arc::clone(&ties.applied),
            gauges: Arc::clone(&ties.gauges),
            namespace: options.namespace.clone(),
            lease: format!("portcullis-status-{}", options.workload),
            // A container that is started again in a Pod takes the place of the one before it.
            replica: options.pod.clone().unwrap_or_else(|| identity.clone()),
            identity,
        }
    }

    /// Gives out what an earlier process saved; whether it is needed, the control thread decides.
    fn give_saved(&self, identity: &str) {
        let Some(place) = &self.options.cache else { return };
        let path = cache::file::path(place);
        cache::file::sweep(&place.folder, SystemTime::now());
        match cache::file::load(place, identity, SystemTime::now()) {
            Ok(Some(saved)) => {
                (self.sink)(News::Saved(Box::new(saved)));
            }
            Ok(None) => tracing::debug!(path = %path.display(), "no state of the cluster is saved"),
            Err(reason) => {
                tracing::warn!(path = %path.display(), "the saved state of the cluster is ignored: it {reason}");
            }
        }
    }

    /// Says of every watch that it fails; false when nobody listens any more.
    fn fail(&self, reason: &str) -> bool {
        let failing = |scope: Scope| {
            let event = Event { scope, change: Change::Failing(reason.to_owned()) };
            // No object changes by it.
            News::Told { number: 0, event }
        };
        self.options.scopes().into_iter().all(|scope| (self.sink)(failing(scope)))
    }
}

impl Options {
    /// Which cluster this is, and what of it is followed: a saved state of anything else is of no use.
    fn identity(&self, config: &Config) -> String {
        let url = config.cluster_url.to_string();
        let file = config.root_cert_file.as_ref().and_then(|path| std::fs::read(path).ok());
        let roots = config.root_cert.iter().flatten().chain(&file);
        let namespaces = [&self.namespace, &self.root_namespace].into_iter().chain(&self.restricted_to);
        let parts = [url.as_bytes()].into_iter();
        let parts = parts.chain(roots.map(Vec::as_slice)).chain(namespaces.map(String::as_bytes));
        digest_of(&parts.collect::<Vec<_>>())
    }
}

/// As the kubeconfig says, else as the pod's ServiceAccount; tells which of them it is.
async fn configure(options: &Options) -> Result<(Config, bool), Box<dyn std::error::Error + Send + Sync>> {
    let wish = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let (mut config, in_pod) = match Config::from_kubeconfig(&wish).await {
        Ok(config) => (config, false),
        Err(error) if options.context.is_some() => return Err(error.into()),
        Err(error) => match Config::incluster() {
            Ok(config) => (config, true),
            Err(other) => return Err(format!("{error}; {other}").into()),
        },
    };
    config.read_timeout = Some(watch::SILENCE);
    // Time that a kept connection lay idle is none that the server was silent.
    config.reset_reader_on_write = true;
    Ok((config, in_pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_gateway_sees_its_namespaces_and_its_own() {
        let options = |restricted: &[&str]| Options {
            namespace: "gw".to_owned(),
            root_namespace: "istio-system".to_owned(),
            restricted_to: restricted.iter().map(|name| (*name).to_owned()).collect(),
            context: None,
            pod: None,
            workload: "edge".to_owned(),
            write_status: None,
            cache: None,
            certificates: None,
        };
        let named = |options: Options, kind: &str| {
            let scopes = options.scopes().into_iter().filter(|scope| scope.kind.name() == kind);
            scopes.map(|scope| scope.namespace.map(|name| name.to_string())).collect::<Vec<_>>()
        };
        let own = |name: &str| Some(name.to_owned());
        assert_eq!(named(options(&[]), "Gateway"), [None]);
        assert_eq!(named(options(&["b", "a"]), "Gateway"), [own("a"), own("b"), own("gw")]);
        assert_eq!(named(options(&["a"]), "Secret"), [own("gw")]);
        assert_eq!(named(options(&["a"]), "ConfigMap"), [own("gw"), own("istio-system")]);
        let mut beside = options(&[]);
        beside.root_namespace = "gw".to_owned();
        assert_eq!(named(beside, "ConfigMap"), [own("gw")]);
    }
}
