//! A Kubernetes cluster as the source of objects: watches of every kind the gateway reads.
//!
//! One thread with a runtime of its own; each watch is a task on it. A watch lists in pages, then follows; what it is
//! told goes to the control thread as [`Event`]s. What breaks a watch (a restart of the API server, a 410) is followed by
//! another list, after waits that grow and vary, so that the replicas of a DaemonSet do not come all at once. None of it
//! takes anything away from what is served.

mod kinds;
mod read;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use kube::{Client, Config};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::live::{Change, Event, Scope};
use kinds::{Place, WATCHED, Watched};

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
}

/// Where events go; false when nobody takes them any more.
pub type Sink = Arc<dyn Fn(Event) -> bool + Send + Sync>;

/// The running watches; dropping it ends them.
pub struct Source {
    stop: signal::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts watching. Whether the cluster can be reached shows in the events, not here.
    ///
    /// # Errors
    /// When the system refuses a thread or a runtime.
    pub fn start(options: Options, sink: Sink) -> io::Result<Self> {
        let (stop, stopped) = signal::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("kubernetes".to_owned());
        let thread = thread.spawn(move || runtime.block_on(run(&options, &sink, stopped)))?;
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
        self.watches().into_iter().map(|(_, scope)| scope).collect()
    }

    fn watches(&self) -> Vec<(Watched, Scope)> {
        let mut watches = Vec::new();
        for watched in WATCHED {
            let scope =
                |namespace: Option<&str>| Scope { kind: watched.kind, namespace: namespace.map(Arc::from) };
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

async fn run(options: &Options, sink: &Sink, mut stopped: signal::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let watches = options.watches();
    let mut pause = watch::Pause::default();
    let client = loop {
        let reason = match connect(options).await {
            Ok(client) => break client,
            Err(error) => format!("there are no credentials for the cluster: {error}"),
        };
        let failing = |scope: &Scope| Event { scope: scope.clone(), change: Change::Failing(reason.clone()) };
        let told = watches.iter().all(|(_, scope)| sink(failing(scope)));
        let wait = pause.next(Instant::now());
        if !told || tokio::time::timeout(wait, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    };
    for (watched, scope) in watches {
        let (client, sink) = (client.clone(), Arc::clone(sink));
        let here = |namespace: &String| scope.namespace.as_deref() == Some(namespace);
        let whole = match watched.place {
            Place::OwnAndRoot(name) if here(&options.root_namespace) => Some(name),
            _ => None,
        };
        let only = whole.filter(|_| !here(&options.namespace));
        let task = watch::Task { client, watched, scope, whole, only, sink };
        tasks.spawn(task.follow());
    }
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// As the kubeconfig says, else as the pod's ServiceAccount.
async fn connect(options: &Options) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = match &options.context {
        Some(context) => {
            let options =
                kube::config::KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
            Config::from_kubeconfig(&options).await?
        }
        None => Config::infer().await?,
    };
    config.read_timeout = Some(watch::SILENCE);
    // Time that a kept connection lay idle is none that the server was silent.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
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
