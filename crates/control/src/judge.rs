//! Looking for findings after a configuration is served, so that no change waits for what is said about the last one.
//!
//! A finding may be about any two objects, so it takes a compilation of everything. A small configuration is judged at
//! once. A large one is judged on a thread of its own, one state at a time and never more than a share of the time, so
//! under a storm of changes the findings are those of a moment ago, and when it is over those of the last state.
//!
//! Pure but for the thread: `now` is an argument.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use portcullis_compile::{Diagnostic, Environment, Objects, compile};

use crate::cluster::Edition;
use crate::priority::stand_back;

/// So many objects are judged at once: it takes a few milliseconds.
pub(crate) const JUDGED_AT_ONCE: usize = 500;

/// After a judgement, so many times as long as it took passes before the next one begins.
const REST: u32 = 9;

/// Longest rest, should a clock have misled it.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A state that was published.
pub(crate) struct Job {
    pub(crate) objects: Objects,
    pub(crate) environment: Environment,
    /// Generation of its snapshot.
    pub(crate) generation: u64,
    /// What it was of a cluster, where one is followed.
    pub(crate) edition: Option<Edition>,
}

/// What there is to say about a state.
pub(crate) struct Verdict {
    pub(crate) generation: u64,
    pub(crate) edition: Option<Edition>,
    /// `None` if the compiler failed, which the panic hook has told of.
    pub(crate) diagnostics: Option<Vec<Diagnostic>>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Takes a verdict, on the thread that judged.
pub(crate) type OnVerdict = Box<dyn FnOnce(Verdict) + Send>;

/// The state that waits to be judged, and when it may be.
#[derive(Default)]
pub(crate) struct Judge {
    waiting: Option<Job>,
    busy: bool,
    rests_until: Option<Instant>,
}

impl Judge {
    /// There is a newer state; an older one that still waits is not judged any more.
    pub(crate) fn want(&mut self, job: Job) {
        self.waiting = Some(job);
    }

    /// When the next judgement is to begin; `None`: not before something else happens.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        (self.waiting.is_some() && !self.busy).then(|| self.rests_until.unwrap_or(now))
    }

    /// Begins to judge, if it is time to.
    pub(crate) fn begin(&mut self, now: Instant, on_verdict: OnVerdict) {
        let due = self.due(now).is_some_and(|due| due <= now);
        let Some(job) = self.waiting.take_if(|_| due) else { return };
        let work = move || {
            // Whoever has something else to do comes first.
            stand_back();
            let verdict = judge(&job);
            // The verdict makes room for the next job, so this one's objects go first.
            drop(job);
            on_verdict(verdict);
        };
        match std::thread::Builder::new().name("judge".to_owned()).spawn(work) {
            Ok(_) => self.busy = true,
            Err(error) => {
                tracing::warn!(%error, "no thread to look for findings on: the next change tries again");
                self.rests_until = Some(now + LONGEST_REST);
            }
        }
    }

    /// A verdict has come.
    pub(crate) fn finish(&mut self, took: Duration, now: Instant) {
        self.busy = false;
        self.rests_until = Some(now + (took * REST).min(LONGEST_REST));
    }
}

/// Looks for findings.
pub(crate) fn judge(job: &Job) -> Verdict {
    let start = Instant::now();
    let Job { objects, environment, generation, edition } = job;
    let found = catch_unwind(AssertUnwindSafe(|| compile(objects, environment).diagnostics));
    let (generation, edition) = (*generation, *edition);
    Verdict { generation, edition, diagnostics: found.ok(), took: start.elapsed() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_judgement_at_a_time_and_a_rest_after_it() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        let (verdicts, received) = channel();
        let begin = |judge: &mut Judge, now| {
            let verdicts = verdicts.clone();
            judge.begin(now, Box::new(move |verdict| verdicts.send(verdict).expect("the test waits")));
        };
        let want = |judge: &mut Judge, generation| {
            let (objects, environment) = (Objects::default(), Environment::for_tests());
            judge.want(Job { objects, environment, generation, edition: None });
        };
        assert_eq!(judge.due(now), None);
        want(&mut judge, 1);
        begin(&mut judge, now);
        // Whatever comes meanwhile is one state to be judged afterwards.
        want(&mut judge, 2);
        want(&mut judge, 3);
        assert_eq!(judge.due(now), None);
        begin(&mut judge, now);
        let verdict = received.recv_timeout(Duration::from_secs(20)).expect("a verdict");
        assert_eq!((verdict.generation, verdict.diagnostics), (1, Some(Vec::new())));
        let took = Duration::from_millis(10);
        judge.finish(took, now);
        let due = judge.due(now).expect("a newer state waits");
        assert_eq!(due, now + took * REST);
        begin(&mut judge, now);
        assert!(received.try_recv().is_err(), "it rests");
        begin(&mut judge, due);
        let verdict = received.recv_timeout(Duration::from_secs(20)).expect("a verdict");
        assert_eq!(verdict.generation, 3);
    }
}
