//! What is shown of a followed cluster: where the configuration in force comes from and how old it is, when each watch
//! last heard anything, and what this process reports back.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::labels::label;
use super::render::family;

/// Where the configuration in force comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Files alone.
    #[default]
    Files,
    /// A cluster, and files beside it.
    Cluster,
    /// What was saved of a cluster, which cannot be asked.
    Cache,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Files, Self::Cluster, Self::Cache];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Cluster => "cluster",
            Self::Cache => "cache",
        }
    }
}

/// What is written to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The status of an object.
    Status,
    /// An Event.
    Event,
    /// The Lease of the writer.
    Lease,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API server took it.
    Done,
    /// Somebody else had written in between; it is read again.
    Conflict,
    /// It was refused, or did not arrive.
    Failed,
    /// It was left out, since there was too much of it.
    Dropped,
}

const WRITTEN: [(Written, &str); 3] =
    [(Written::Status, "status"), (Written::Event, "event"), (Written::Lease, "lease")];
const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Done, "done"),
    (Outcome::Conflict, "conflict"),
    (Outcome::Failed, "failed"),
    (Outcome::Dropped, "dropped"),
];

/// When a watch last heard anything.
#[derive(Debug)]
pub struct Clock {
    kind: Box<str>,
    namespace: Box<str>,
    essential: bool,
    /// Milliseconds of Unix time; 0 = never.
    heard: AtomicU64,
}

impl Clock {
    /// A clock that has not heard anything. The age of an `essential` watch is the configuration's.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, essential: bool) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), essential, heard: AtomicU64::new(0) }
    }

    /// Something was heard.
    pub fn hear(&self, now: SystemTime) {
        self.heard.store(unix_millis(now), Ordering::Relaxed);
    }

    fn age(&self, now: SystemTime) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        (heard > 0).then(|| Duration::from_millis(unix_millis(now).saturating_sub(heard)))
    }
}

/// What is known of the followed cluster. Any thread may use it.
#[derive(Debug, Default)]
pub struct Cluster {
    source: Mutex<(Source, Option<SystemTime>)>,
    clocks: Mutex<Vec<Arc<Clock>>>,
    /// Whether this process takes part in reporting at all.
    reports: AtomicBool,
    leads: AtomicBool,
    replicas: AtomicU64,
    counts: [[AtomicU64; OUTCOMES.len()]; WRITTEN.len()],
}

impl Cluster {
    /// Where the configuration in force comes from; of what was saved, when it was last known to be the cluster's.
    pub fn set_source(&self, source: Source, confirmed: Option<SystemTime>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = (source, confirmed);
    }

    /// Where the configuration in force comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// How long ago the configuration in force was last known to be what its source says: that of a cluster is as old as
    /// what its most silent watch last heard, a saved one as old as its confirmation, that of files is never old.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        let (source, confirmed) = *self.source.lock().unwrap_or_else(PoisonError::into_inner);
        match source {
            Source::Files => Duration::ZERO,
            Source::Cache => now.duration_since(confirmed.unwrap_or(now)).unwrap_or_default(),
            Source::Cluster => {
                let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
                let essential = clocks.iter().filter(|clock| clock.essential);
                essential.filter_map(|clock| clock.age(now)).max().unwrap_or_default()
            }
        }
    }

    /// Replaces the watches shown.
    pub fn set_clocks(&self, clocks: Vec<Arc<Clock>>) {
        *self.clocks.lock().unwrap_or_else(PoisonError::into_inner) = clocks;
    }

    /// This process takes part in reporting.
    pub fn set_reporting(&self) {
        self.reports.store(true, Ordering::Relaxed);
    }

    /// Whether this process is the writer, and how many replicas it knows of (0 where it is not).
    pub fn set_leading(&self, leads: bool, replicas: u64) {
        self.leads.store(leads, Ordering::Relaxed);
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    /// Counts something written, or not.
    pub fn wrote(&self, what: Written, outcome: Outcome) {
        self.counts[what as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, now: SystemTime, out: &mut String) {
        self.render_source(now, out);
        self.render_clocks(now, out);
        if self.reports.load(Ordering::Relaxed) {
            self.render_reports(out);
        }
    }

    fn render_source(&self, now: SystemTime, out: &mut String) {
        let name = "portcullis_configuration_source";
        family(name, "gauge", "Where the configuration in force comes from; 1 for that source.", out);
        let current = self.source();
        for source in Source::ALL {
            out.push_str("portcullis_configuration_source{");
            label("source", source.as_str(), out);
            writeln!(out, "}} {}", u8::from(source == current)).expect(STRING);
        }
        let name = "portcullis_configuration_age_seconds";
        let help = "Time since the configuration in force was last known to be what its source says.";
        family(name, "gauge", help, out);
        writeln!(out, "{name} {:.3}", self.age(now).as_secs_f64()).expect(STRING);
    }

    fn render_clocks(&self, now: SystemTime, out: &mut String) {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if clocks.is_empty() {
            return;
        }
        let name = "portcullis_cluster_watch_age_seconds";
        family(name, "gauge", "Time since a watch of the cluster last heard anything, bookmarks too.", out);
        for clock in clocks.iter() {
            let Some(age) = clock.age(now) else { continue };
            out.push_str("portcullis_cluster_watch_age_seconds{");
            label("kind", &clock.kind, out);
            out.push(',');
            label("namespace", &clock.namespace, out);
            writeln!(out, "}} {:.3}", age.as_secs_f64()).expect(STRING);
        }
    }

    fn render_reports(&self, out: &mut String) {
        let name = "portcullis_reporting_leader";
        family(name, "gauge", "Whether this process writes status and events to the cluster.", out);
        writeln!(out, "{name} {}", u8::from(self.leads.load(Ordering::Relaxed))).expect(STRING);
        let name = "portcullis_reporting_replicas";
        family(name, "gauge", "Replicas whose state the writer knows; 0 where this is not the writer.", out);
        writeln!(out, "{name} {}", self.replicas.load(Ordering::Relaxed)).expect(STRING);
        let name = "portcullis_reporting_writes_total";
        family(name, "counter", "Writes to the cluster, by what was written and what came of it.", out);
        for (what, object) in WRITTEN {
            for (outcome, result) in OUTCOMES {
                out.push_str("portcullis_reporting_writes_total{");
                label("object", object, out);
                out.push(',');
                label("result", result, out);
                let count = self.counts[what as usize][outcome as usize].load(Ordering::Relaxed);
                writeln!(out, "}} {count}").expect(STRING);
            }
        }
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const STRING: &str = "writing to a string cannot fail";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_as_old_as_its_most_silent_watch() {
        let (cluster, start) = (Cluster::default(), UNIX_EPOCH + Duration::from_secs(1_000));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((cluster.source(), cluster.age(at(9))), (Source::Files, Duration::ZERO));
        let clock = |kind, essential| Arc::new(Clock::new(kind, "", essential));
        let clocks = [clock("Gateway", true), clock("Secret", true), clock("EnvoyFilter", false)];
        cluster.set_clocks(clocks.to_vec());
        cluster.set_source(Source::Cluster, None);
        clocks[0].hear(at(5));
        clocks[1].hear(at(2));
        clocks[2].hear(at(0));
        assert_eq!(cluster.age(at(9)), Duration::from_secs(7));
        let mut page = String::new();
        cluster.render(at(9), &mut page);
        for line in [
            "portcullis_configuration_source{source=\"cluster\"} 1",
            "portcullis_configuration_source{source=\"cache\"} 0",
            "portcullis_configuration_age_seconds 7.000",
            "portcullis_cluster_watch_age_seconds{kind=\"EnvoyFilter\",namespace=\"\"} 9.000",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("reporting"), "{page}");
    }

    #[test]
    fn what_was_saved_is_as_old_as_its_confirmation() {
        let (cluster, start) = (Cluster::default(), UNIX_EPOCH + Duration::from_secs(1_000));
        cluster.set_source(Source::Cache, Some(start));
        assert_eq!(cluster.age(start + Duration::from_secs(42)), Duration::from_secs(42));
        cluster.set_reporting();
        cluster.set_leading(true, 3);
        cluster.wrote(Written::Status, Outcome::Done);
        let mut page = String::new();
        cluster.render(start, &mut page);
        for line in [
            "portcullis_reporting_leader 1",
            "portcullis_reporting_replicas 3",
            "portcullis_reporting_writes_total{object=\"status\",result=\"done\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
