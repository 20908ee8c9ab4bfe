//! The control loop: files and cluster to store, store to snapshot, snapshot to the workers, all on one thread.
//!
//! The thread waits for hints, news of the cluster, DNS answers and the clock. Nothing on this road is waited for by a request,
//! and nothing a request does is waited for here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use portcullis_api::Severity;
use portcullis_compile::{Compiled, Environment, Objects, compile, referenced_files};
use portcullis_snapshot::cell::Publisher;
use tokio::sync::watch as signal;

use crate::cluster::Cluster;
use crate::file::{FileSource, Hint, Watch};
use crate::kubernetes;
use crate::notice::{self, Notice};
use crate::referenced::Referenced;
use crate::report::Bulletin;
use crate::resolve::{Answers, Resolver};
use crate::settle::SettleTimes;
use crate::status::{Report, Status};
use crate::store::Store;

/// Events in flight towards the control thread; hints beyond are replaced by a look at everything.
const EVENTS: usize = 1024;

/// Notices logged after one compilation; the rest is on the admin page.
const LOGGED_AT_ONCE: usize = 100;

/// The control thread waits no longer than this for an event, in case a clock misled it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the control plane works with.
pub struct Config {
    /// Files and folders to follow.
    pub paths: Vec<PathBuf>,
    /// The cluster to follow.
    pub cluster: Option<kubernetes::Options>,
    /// What following a cluster needs of the rest of the process.
    pub ties: kubernetes::Ties,
    /// The world as the compiler sees it; `resolved` and `now` are kept up to date by the control loop.
    pub environment: Environment,
    /// How bursts are gathered.
    pub settle: SettleTimes,
    /// Called with each report, on the control thread.
    pub on_report: Option<OnReport>,
}

/// Takes a report; must not block for long, since configuration waits.
pub type OnReport = Box<dyn FnMut(&Report) + Send>;

/// The running control plane; dropping it stops it.
pub struct Controller {
    events: SyncSender<Event>,
    status: Arc<Status>,
    thread: Option<JoinHandle<()>>,
    /// Ends before the control thread, which it tells of the cluster.
    cluster: Option<kubernetes::Source>,
}

enum Event {
    Hint(Hint),
    Rescan,
    Cluster(kubernetes::News),
    Resolved(Answers),
    Stop,
}

impl Controller {
    /// Starts the control thread; the first snapshot follows as soon as the files are read.
    ///
    /// # Errors
    /// When a path cannot be followed at all, or a thread cannot be started.
    pub fn start(config: Config, publisher: Publisher) -> io::Result<Self> {
        let (events, received) = sync_channel(EVENTS);
        let status = Arc::new(Status::default());
        let files = FileSource::new(&config.paths, config.settle)?;
        let lost = Arc::new(AtomicBool::new(false));
        let (bulletin, told) = signal::channel(Bulletin::default());
        let worker = Worker {
            resolver: Resolver::start({
                let events = events.clone();
                // The resolver waits for room: an answer must not be lost, and its thread serves nobody else.
                Box::new(move |answers| events.send(Event::Resolved(answers)).is_ok())
            })?,
            watch: watch(events.clone(), Arc::clone(&lost)),
            files,
            referenced: Referenced::new(config.settle),
            watch_named: Some({
                let (events, lost) = (events.clone(), Arc::clone(&lost));
                Box::new(move || watch(events, lost))
            }),
            lost,
            store: Store::default(),
            cluster: config.cluster.as_ref().map(|options| {
                Cluster::new(options, config.settle, bulletin, Arc::clone(&config.ties.gauges))
            }),
            environment: config.environment,
            publisher,
            status: Arc::clone(&status),
            answers: Answers::default(),
            on_report: config.on_report,
            logged: HashSet::new(),
            stale: true,
        };
        let thread =
            std::thread::Builder::new().name("control".to_owned()).spawn(move || worker.run(&received))?;
        let cluster = match config.cluster {
            Some(options) => Some(kubernetes::Source::start(options, config.ties, told, {
                let events = events.clone();
                // The watches wait for room: news must not be lost, and nobody else waits for them.
                Arc::new(move |news| events.send(Event::Cluster(news)).is_ok())
            })?),
            None => None,
        };
        Ok(Self { events, status, thread: Some(thread), cluster })
    }

    /// Where reports are found.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Has every file looked at soon (SIGHUP).
    pub fn rescan(&self) {
        // A full queue means that the thread is about to look anyway.
        let _ = self.events.try_send(Event::Rescan);
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.cluster.take());
        // The thread takes events between compilations, so there is room soon.
        let _ = self.events.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Notifications of the file system, or none where the system grants none.
fn watch(events: SyncSender<Event>, lost: Arc<AtomicBool>) -> Option<Watch> {
    let on_hint = move |hint| {
        if let Err(TrySendError::Full(_)) = events.try_send(Event::Hint(hint)) {
            lost.store(true, Ordering::Relaxed);
        }
    };
    match Watch::new(Box::new(on_hint)) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "no notifications of file changes: files are looked at periodically");
            None
        }
    }
}

/// The state of the control thread.
struct Worker {
    files: FileSource,
    watch: Option<Watch>,
    /// Files that objects name by path.
    referenced: Referenced,
    /// Asks for notifications about those as soon as there are any; most configurations name none.
    watch_named: Option<Box<dyn FnOnce() -> Option<Watch> + Send>>,
    /// Set when a hint found no room.
    lost: Arc<AtomicBool>,
    store: Store,
    /// What is known of the cluster, where one is followed.
    cluster: Option<Cluster>,
    environment: Environment,
    publisher: Publisher,
    status: Arc<Status>,
    resolver: Resolver,
    answers: Answers,
    on_report: Option<OnReport>,
    /// Notices already logged and still true.
    logged: HashSet<Notice>,
    /// Whether the snapshot published last is out of date.
    stale: bool,
}

impl Worker {
    fn run(mut self, events: &Receiver<Event>) {
        if let Some(watch) = self.watch.take() {
            self.files.watch(watch);
        }
        loop {
            self.collect();
            if self.stale {
                match self.cluster.as_ref().is_none_or(Cluster::is_whole) {
                    true => self.compile(),
                    false => self.report_waiting(),
                }
            }
            if !self.wait(events) {
                return;
            }
        }
    }

    fn collect(&mut self) {
        let before: Vec<_> = self.unreachable();
        for update in self.files.collect(Instant::now()) {
            tracing::debug!(source = %update.source, change = ?update.change, "file changed");
            self.store.apply(update);
            self.stale = true;
        }
        self.stale |= before != self.unreachable();
        self.stale |= self.referenced.collect(Instant::now());
        if let Some(cluster) = &mut self.cluster {
            self.stale |= cluster.collect(Instant::now());
        }
    }

    /// Takes events until there is something to do; false when it is time to stop.
    fn wait(&mut self, events: &Receiver<Event>) -> bool {
        loop {
            let now = Instant::now();
            if self.lost.swap(false, Ordering::Relaxed) {
                self.rescan(now);
            }
            let left = match self.files.due() {
                Some(due) => {
                    let others = self.referenced.due().into_iter();
                    let others = others.chain(self.cluster.as_ref().and_then(Cluster::due));
                    let due = others.fold(due, Instant::min);
                    due.saturating_duration_since(now).min(LONGEST_WAIT)
                }
                None => Duration::ZERO,
            };
            match events.recv_timeout(left) {
                Ok(Event::Hint(hint)) => {
                    self.referenced.note(&hint, Instant::now());
                    self.files.note(hint, Instant::now());
                }
                Ok(Event::Rescan) => self.rescan(Instant::now()),
                Ok(Event::Cluster(news)) => {
                    if let Some(cluster) = &mut self.cluster {
                        cluster.take(news, Instant::now());
                    }
                }
                Ok(Event::Resolved(answers)) => {
                    self.stale |= answers != self.answers;
                    self.answers = answers;
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn rescan(&mut self, now: Instant) {
        self.files.rescan(now);
        self.referenced.note(&Hint::Everything, now);
    }

    /// Reads the files that `objects` name.
    fn refer(&mut self, objects: &Objects) {
        let named = referenced_files(objects);
        if !named.is_empty()
            && let Some(watch) = self.watch_named.take()
            && let Some(watch) = watch()
        {
            self.referenced.watch(watch);
        }
        self.referenced.refer(named, Instant::now());
        self.environment.files = self.referenced.files();
    }

    fn compile(&mut self) {
        self.stale = false;
        let start = Instant::now();
        self.environment.now = SystemTime::now();
        self.environment.resolved = self.answers.addresses.clone();
        let objects = self.objects();
        self.refer(&objects);
        let asked = self.cluster.as_mut().map(|cluster| cluster.ask(&objects, &self.environment));
        let compiled = catch_unwind(AssertUnwindSafe(|| compile(&objects, &self.environment)));
        match compiled {
            Ok(compiled) => self.publish(compiled, asked.unwrap_or_default(), start),
            // The panic hook has told where; the last good snapshot goes on serving.
            Err(_) => tracing::error!("the compiler failed on this configuration: the last one stays in use"),
        }
    }

    /// Says what the first snapshot waits for: half of a cluster is no configuration.
    fn report_waiting(&mut self) {
        let mut notices: Vec<Notice> = self.cluster.iter().flat_map(Cluster::notices).collect();
        notice::sort(&mut notices);
        self.log(&notices);
        let before = self.status.report();
        self.report(Report { notices: notices.into(), watches: self.watches(), ..(*before).clone() });
    }

    fn report(&mut self, report: Report) {
        if let Some(on_report) = &mut self.on_report {
            on_report(&report);
        }
        self.status.set(report);
    }

    fn publish(&mut self, compiled: Compiled, asked: Vec<Notice>, start: Instant) {
        let Compiled { snapshot, diagnostics, wanted_names, dns_refresh_rate } = compiled;
        let mut notices: Vec<Notice> = diagnostics.into_iter().map(Notice::from).collect();
        notices.extend(asked);
        notices.extend(self.store.notices().cloned());
        notices.extend(self.cluster.iter().flat_map(Cluster::notices));
        notices.extend(self.unreachable());
        notices.extend(self.referenced.notices());
        notices.extend(unresolved(&wanted_names, &self.answers));
        notice::sort(&mut notices);
        self.resolver.want(wanted_names, dns_refresh_rate);
        let compile_time = start.elapsed();
        let generation = self.publisher.publish(snapshot);
        self.log(&notices);
        let notices: Arc<[Notice]> = notices.into();
        if let Some(cluster) = &self.cluster {
            cluster.published(generation, &notices);
        }
        let files = self.store.files();
        tracing::info!(generation, files, notices = notices.len(), ?compile_time, "configuration published");
        self.report(Report {
            generation,
            published: SystemTime::now(),
            compile_time,
            compilations: self.status.report().compilations + 1,
            files,
            objects: self.counts(),
            watches: self.watches(),
            notices,
        });
    }

    fn watches(&self) -> BTreeMap<&'static str, u64> {
        self.cluster.as_ref().map(Cluster::watches).unwrap_or_default()
    }

    /// Everything in use. Who the gateway is in the cluster, its own Pod says.
    fn objects(&mut self) -> Objects {
        let Some(cluster) = &self.cluster else { return self.store.objects() };
        cluster.describe(&mut self.environment.workload);
        let mut objects = cluster.objects().clone();
        objects.extend(self.store.all());
        objects
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.store.counts();
        for (kind, count) in self.cluster.iter().flat_map(Cluster::counts) {
            *counts.entry(kind).or_default() += count;
        }
        counts
    }

    fn unreachable(&self) -> Vec<Notice> {
        let notice = |(name, reason): (Arc<str>, &str)| {
            let message = format!("cannot be looked at: {reason}; what was read from it before stays in use");
            Notice::about_file(Severity::Error, "UnreachablePath", name, message, "")
        };
        self.files.unreachable().map(notice).collect()
    }

    /// Logs what was not true before.
    fn log(&mut self, notices: &[Notice]) {
        let fresh: Vec<_> = notices.iter().filter(|notice| !self.logged.contains(*notice)).collect();
        for notice in fresh.iter().take(LOGGED_AT_ONCE) {
            log_one(notice);
        }
        if let Some(more @ 1..) = fresh.len().checked_sub(LOGGED_AT_ONCE) {
            tracing::warn!(more, "further notices are on the admin page /diagnostics");
        }
        self.logged = notices.iter().cloned().collect();
    }
}

fn log_one(notice: &Notice) {
    let Notice { code, title, message, remedy, .. } = notice;
    let (place, about) = (notice.place().unwrap_or_default(), notice.subject().unwrap_or_default());
    match notice.severity {
        Severity::Error => tracing::error!(code, title, place, about, remedy, "{message}"),
        Severity::Warning => tracing::warn!(code, title, place, about, remedy, "{message}"),
        Severity::Info => tracing::debug!(code, title, place, about, remedy, "{message}"),
    }
}

fn unresolved(wanted: &BTreeSet<String>, answers: &Answers) -> Vec<Notice> {
    let failures = answers.failures.iter().filter(|(name, _)| wanted.contains(*name));
    let notice = |(name, reason): (&String, &String)| {
        let kept = match answers.addresses.get(name) {
            Some(_) => "; the last answer stays in use",
            None => "; it has no endpoint until then",
        };
        Notice {
            severity: Severity::Warning,
            code: "NameNotResolved",
            title: "NameNotResolved",
            source: None,
            line: 0,
            column: 0,
            object: None,
            field: name.clone(),
            message: format!("does not resolve: {reason}{kept}"),
            remedy: "it is tried again every few seconds".to_owned(),
        }
    };
    failures.map(notice).collect()
}
