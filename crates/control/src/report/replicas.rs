//! Which replicas serve what: each says the fingerprint of what its workers serve, and is heard of at least every so often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Print};

/// How often a replica says that it is still there, when nothing changes.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(30);
/// A replica that is not heard of for so long is gone: it was killed, or cannot reach the API server and so serves what it
/// last knew.
pub(crate) const SILENT: Duration = Duration::from_secs(90);

/// What is known of the other replicas.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    said: BTreeMap<String, (String, Instant)>,
}

/// How many replicas there are, and how many of them serve an object as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) by: usize,
    pub(crate) of: usize,
}

impl Replicas {
    /// These are the words of all replicas now. When they were spoken is not asked: a replica that goes on speaking is there.
    /// Tells whether there is anything new in them.
    pub(crate) fn hear(&mut self, mut said: BTreeMap<String, String>, now: Instant) -> bool {
        let known = self.said.iter().map(|(name, (words, _))| (name, words));
        if known.eq(said.iter()) {
            return false;
        }
        self.said.retain(|name, _| said.contains_key(name));
        for (name, (words, since)) in &mut self.said {
            if let Some(newer) = said.remove(name).filter(|newer| newer != words) {
                (*words, *since) = (newer, now);
            }
        }
        self.said.extend(said.into_iter().map(|(name, words)| (name, (words, now))));
        true
    }

    /// Forgets everything: somebody else keeps the list.
    pub(crate) fn forget(&mut self) {
        self.said.clear();
    }

    /// Those that were not heard of for too long.
    pub(crate) fn silent(&self, now: Instant) -> Vec<String> {
        let silent =
            self.said.iter().filter(|(_, (_, since))| now.saturating_duration_since(*since) >= SILENT);
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Up to which news each of the living has come; `None` for one whose state is not known here.
    pub(crate) fn reached(&self, ledger: &Ledger, now: Instant) -> Vec<Option<u64>> {
        let living = self.said.values().filter(|(_, since)| now.saturating_duration_since(*since) < SILENT);
        living.map(|(words, _)| print_of(words).and_then(|print| ledger.reached(print))).collect()
    }
}

/// How many of the replicas have come as far as the news number `since`.
pub(crate) fn served(reached: &[Option<u64>], since: u64) -> Served {
    let by = reached.iter().filter(|reached| reached.is_some_and(|reached| reached >= since)).count();
    Served { by, of: reached.len() }
}

/// What a replica says: the state it serves, and a number that changes with each heartbeat.
pub(crate) fn words(print: Print, beat: u64) -> String {
    format!("{print}.{beat}")
}

fn print_of(words: &str) -> Option<Print> {
    Print::parse(words.split_once('.')?.0)
}

#[cfg(test)]
mod tests {
    use super::super::ledger::tests::{facts, reference};
    use super::*;

    #[test]
    fn what_replicas_serve_is_told_by_their_fingerprints() {
        let mut ledger = Ledger::default();
        ledger.put(reference("Gateway", "a"), facts("1", 1), 1);
        let old = ledger.print_at(1).expect("known");
        ledger.put(reference("Gateway", "a"), facts("1", 2), 2);
        let new = ledger.print_at(2).expect("known");
        let (mut replicas, start) = (Replicas::default(), Instant::now());
        let said = |one, other| {
            BTreeMap::from([("one".to_owned(), words(one, 0)), ("other".to_owned(), words(other, 0))])
        };
        replicas.hear(said(new, old), start);
        assert_eq!(served(&replicas.reached(&ledger, start), 2), Served { by: 1, of: 2 });
        assert_eq!(served(&replicas.reached(&ledger, start), 1), Served { by: 2, of: 2 });
        // One goes on speaking, the other one does not.
        let later = start + SILENT;
        replicas.hear(
            BTreeMap::from([("one".to_owned(), words(new, 1)), ("other".to_owned(), words(old, 0))]),
            later,
        );
        assert_eq!(replicas.silent(later), ["other"]);
        assert_eq!(served(&replicas.reached(&ledger, later), 2), Served { by: 1, of: 1 });
        replicas.hear(BTreeMap::from([("one".to_owned(), "nonsense".to_owned())]), later);
        assert_eq!(served(&replicas.reached(&ledger, later), 1), Served { by: 0, of: 1 });
    }
}
