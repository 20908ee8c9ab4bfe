//! What the control plane knows about itself, for admin pages, metrics and tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::notice::Notice;

/// The state after a compilation.
#[derive(Debug, Clone)]
pub struct Report {
    /// Generation of the snapshot published last; 0 before the first one.
    pub generation: u64,
    /// When it was published.
    pub published: SystemTime,
    /// How long its compilation took, reading files left aside.
    pub compile_time: Duration,
    /// Compilations so far.
    pub compilations: u64,
    /// Files held.
    pub files: usize,
    /// Objects in use, by kind.
    pub objects: BTreeMap<&'static str, usize>,
    /// Watches of the cluster, by state; empty where none is followed.
    pub watches: BTreeMap<&'static str, u64>,
    /// Generation of the snapshot that the compiler's findings among the notices are about: those of a large
    /// configuration are looked for after it is served.
    pub judged: u64,
    /// Everything there is to say, the worst first.
    pub notices: Arc<[Notice]>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            generation: 0,
            published: SystemTime::UNIX_EPOCH,
            compile_time: Duration::ZERO,
            compilations: 0,
            files: 0,
            objects: BTreeMap::new(),
            watches: BTreeMap::new(),
            judged: 0,
            notices: Arc::new([]),
        }
    }
}

impl Report {
    /// Notices by code.
    #[must_use]
    pub fn notices_by_code(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for notice in self.notices.iter() {
            *counts.entry(notice.code).or_default() += 1;
        }
        counts
    }
}

/// Where the newest [`Report`] is found.
#[derive(Debug, Default)]
pub struct Status {
    report: Mutex<Arc<Report>>,
    changed: Condvar,
}

impl Status {
    /// The newest report.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.lock())
    }

    /// Waits until a report satisfies `enough`; `None` when none has by `deadline`.
    pub fn wait(&self, deadline: Instant, mut enough: impl FnMut(&Report) -> bool) -> Option<Arc<Report>> {
        let mut report = self.lock();
        while !enough(&report) {
            let left = deadline.checked_duration_since(Instant::now())?;
            report = self.changed.wait_timeout(report, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Arc::clone(&report))
    }

    pub(crate) fn set(&self, report: Report) {
        *self.lock() = Arc::new(report);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Report>> {
        // A pointer is swapped under the lock: there is no half-done state to fear.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
