//! The control loop: files and cluster to store, store to snapshot, snapshot to the workers, all on one thread.
//!
//! The thread waits for hints, news of the cluster, DNS answers and the clock. Nothing on this road is waited for by a request,
//! and nothing a request does is waited for here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use portcullis_api::Severity;
use portcullis_compile::{Built, Compiler, Environment, Objects, Work, referenced_files};
use portcullis_snapshot::cell::Publisher;
use tokio::sync::watch as signal;

use crate::cluster::Cluster;
use crate::file::{FileSource, Hint, Watch};
use crate::judge::{JUDGED_AT_ONCE, Job, Judge, Verdict, judge};
use crate::kubernetes;
use crate::notice::Notice;
use crate::priority::give_way;
use crate::referenced::Referenced;
use crate::report::Bulletin;
use crate::resolve::{Answers, Resolver};
use crate::said::Said;
use crate::settle::SettleTimes;
use crate::status::{Report, Status};
use crate::store::Store;

/// Events in flight towards the control thread; hints beyond are replaced by a look at everything.
const EVENTS: usize = 1024;

/// The control thread waits no longer than this for an event, in case a clock misled it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Memory that was needed for much work is given back so long after it: the allocator keeps it for a second.
const TIDY_AFTER: Duration = Duration::from_millis(1_100);

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
    Judged(Verdict),
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
            events: events.clone(),
            compiler: Compiler::new(give_way),
            judge: Judge::default(),
            wanted: BTreeSet::new(),
            asked: Vec::new(),
            said: Said::default(),
            stale: true,
            tidy: None,
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
    /// For those who work for this thread.
    events: SyncSender<Event>,
    compiler: Compiler,
    judge: Judge,
    /// Names that clusters need the addresses of.
    wanted: BTreeSet<String>,
    /// What there is to say about certificates that Gateways ask for.
    asked: Vec<Notice>,
    said: Said,
    /// Whether the snapshot published last is out of date.
    stale: bool,
    /// When memory is to be given back.
    tidy: Option<Instant>,
}

impl Worker {
    fn run(mut self, events: &Receiver<Event>) {
        if let Some(watch) = self.watch.take() {
            self.files.watch(watch);
        }
        loop {
            self.collect();
            give_way();
            if self.stale {
                match self.cluster.as_ref().is_none_or(Cluster::is_whole) {
                    true => self.compile(),
                    false => self.report_waiting(),
                }
            }
            self.begin_judging();
            self.tidy_up(Instant::now());
            if !self.wait(events) {
                return;
            }
        }
    }

    /// Gives back, a while after much work, the memory that was needed for it. The allocator keeps it for some time, and
    /// then looks at it when there is something to do: a thread ends.
    fn tidy_up(&mut self, now: Instant) {
        if self.tidy.take_if(|due| *due <= now).is_some() {
            let thread = std::thread::Builder::new().name("tidy".to_owned());
            if let Ok(thread) = thread.spawn(|| {}) {
                // It does nothing, so it does not panic.
                let _ = thread.join();
            }
        }
    }

    fn collect(&mut self) {
        let before: Vec<_> = self.unreachable();
        let updates = self.files.collect(Instant::now());
        for update in &updates {
            tracing::debug!(source = %update.source, change = ?update.change, "file changed");
        }
        self.stale |= !updates.is_empty();
        self.store.apply_all(updates);
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
                    let others = self.referenced.due().into_iter().chain(self.judge.due(now));
                    let others = others.chain(self.cluster.as_ref().and_then(Cluster::due)).chain(self.tidy);
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
                Ok(Event::Judged(verdict)) => {
                    self.judge.finish(verdict.took, Instant::now());
                    self.tidy = Some(Instant::now() + TIDY_AFTER);
                    let report = (*self.status.report()).clone();
                    self.take(verdict, report);
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

    /// Reads the files that `named` says.
    fn refer(&mut self, named: BTreeSet<String>) {
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
        self.environment.resolved.clone_from(&self.answers.addresses);
        if let Some(cluster) = &self.cluster {
            // Who the gateway is in the cluster, its own Pod says.
            cluster.describe(&mut self.environment.workload);
        }
        let objects = self.objects();
        self.refer(referenced_files(&objects));
        let asked = self.cluster.as_mut().map(|cluster| cluster.ask(&objects, &self.environment));
        give_way();
        let (compiler, environment) = (&mut self.compiler, &self.environment);
        match catch_unwind(AssertUnwindSafe(|| compiler.compile(&objects, environment))) {
            Ok(built) => {
                give_way();
                self.asked = asked.unwrap_or_default();
                self.publish(built, objects, start);
            }
            // The panic hook has told where; the last good snapshot goes on serving.
            Err(_) => tracing::error!("the compiler failed on this configuration: the last one stays in use"),
        }
    }

    /// Says what the first snapshot waits for: half of a cluster is no configuration.
    fn report_waiting(&mut self) {
        self.report(Report { watches: self.watches(), ..(*self.status.report()).clone() });
    }

    fn publish(&mut self, built: Built, objects: Objects, start: Instant) {
        let Built { snapshot, wanted_names, dns_refresh_rate, work } = built;
        let compile_time = start.elapsed();
        let generation = self.publisher.publish(snapshot);
        if work == Work::Whole {
            self.tidy = Some(Instant::now() + TIDY_AFTER);
        }
        let edition = self.cluster.as_mut().map(|cluster| {
            cluster.pace(compile_time);
            cluster.served(generation)
        });
        self.resolver.want(wanted_names.clone(), dns_refresh_rate);
        self.wanted = wanted_names;
        let files = self.store.files();
        tracing::info!(generation, files, ?work, ?compile_time, "configuration published");
        let before = self.status.report();
        let report = Report {
            generation,
            published: SystemTime::now(),
            compile_time,
            compilations: before.compilations + 1,
            files,
            objects: self.counts(),
            watches: self.watches(),
            ..(*before).clone()
        };
        let is_small = objects.len() <= JUDGED_AT_ONCE;
        let job = Job { objects, environment: self.environment.clone(), generation, edition };
        if is_small {
            let verdict = judge(&job);
            // Its objects are not to be kept while they change.
            drop(job);
            self.take(verdict, report);
        } else {
            self.judge.want(job);
            self.report(report);
        }
    }

    /// Has findings looked for, if there is a state that waits for it.
    fn begin_judging(&mut self) {
        let events = self.events.clone();
        // The judge waits for room: its verdict must not be lost, and it serves nobody else.
        let on_verdict = Box::new(move |verdict| drop(events.send(Event::Judged(verdict))));
        self.judge.begin(Instant::now(), on_verdict);
    }

    /// Makes known what was found, in `report` and to the cluster.
    fn take(&mut self, verdict: Verdict, report: Report) {
        let Verdict { generation, edition, took, .. } = verdict;
        tracing::debug!(generation, ?took, "findings are looked for");
        let is_known = verdict.diagnostics.is_some();
        self.said.take(verdict);
        self.report(report);
        let notices = Arc::clone(&self.status.report().notices);
        if let (Some(cluster), Some(edition), true) = (&mut self.cluster, edition, is_known) {
            cluster.noticed(generation, edition, &notices);
        }
    }

    /// Makes `report` known, with all there is to say now.
    fn report(&mut self, report: Report) {
        let report = self.said.report(report, self.others());
        if let Some(on_report) = &mut self.on_report {
            on_report(&report);
        }
        self.status.set(report);
    }

    /// What there is to say beside what the compiler finds.
    fn others(&self) -> Vec<Notice> {
        let mut others: Vec<Notice> = self.store.notices().cloned().collect();
        others.extend(self.asked.iter().cloned());
        others.extend(self.cluster.iter().flat_map(Cluster::notices));
        others.extend(self.unreachable());
        others.extend(self.referenced.notices());
        others.extend(unresolved(&self.wanted, &self.answers));
        others
    }

    /// Everything in use, without a copy of the tables where one source has it all.
    fn objects(&self) -> Objects {
        match &self.cluster {
            None => self.store.objects().clone(),
            Some(cluster) => {
                let mut objects = cluster.objects().clone();
                objects.extend(self.store.all());
                objects
            }
        }
    }

    fn watches(&self) -> BTreeMap<&'static str, u64> {
        self.cluster.as_ref().map(Cluster::watches).unwrap_or_default()
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
