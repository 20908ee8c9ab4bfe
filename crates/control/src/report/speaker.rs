//! What this replica says of itself: the state that its workers serve.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::desk::Bulletin;
use super::ledger::Print;
use super::replicas::{HEARTBEAT, words};
use crate::kubernetes::Applied;
use crate::kubernetes::book::Shared;
use crate::lease::record::said;

/// While the workers have not taken the newest snapshot yet.
const AGAIN: Duration = Duration::from_millis(300);
/// After a word that was not heard.
const UNHEARD: Duration = Duration::from_millis(1500);

/// The voice of this replica.
pub(crate) struct Speaker {
    name: String,
    applied: Applied,
    book: Shared,
    /// The state its workers serve, and the news that brought it.
    serves: Option<(Print, u64)>,
    /// What was said last.
    said: Option<(Print, Instant)>,
    beat: u64,
    not_before: Option<Instant>,
}

/// Something to say.
pub(crate) struct Words {
    print: Print,
    text: String,
}

impl Speaker {
    pub(crate) fn new(name: String, applied: Applied, book: Shared) -> Self {
        Self { name, applied, book, serves: None, said: None, beat: 0, not_before: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Up to which news the workers have come.
    pub(crate) fn reached(&self) -> Option<u64> {
        self.serves.map(|(_, news)| news)
    }

    /// What is to be said now, if anything.
    pub(crate) fn words(&mut self, bulletin: &Bulletin, now: Instant) -> Option<Words> {
        if bulletin.live && (self.applied)() >= bulletin.generation {
            let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(print) = book.ledger.print_at(bulletin.news) {
                self.serves = Some((print, bulletin.news));
            }
        }
        let (print, _) = self.serves?;
        let due = self
            .said
            .is_none_or(|(said, at)| said != print || now.saturating_duration_since(at) >= HEARTBEAT);
        let allowed = self.not_before.is_none_or(|not_before| now >= not_before);
        (due && allowed).then(|| Words { print, text: words(print, self.beat) })
    }

    pub(crate) fn patch(&self, words: &Words) -> Value {
        said(&self.name, Some(&words.text))
    }

    pub(crate) fn spoke(&mut self, words: &Words, now: Instant) {
        tracing::debug!(words = words.text, "said what is served");
        self.beat += 1;
        (self.said, self.not_before) = (Some((words.print, now)), None);
    }

    /// It could not be said.
    pub(crate) fn unheard(&mut self, now: Instant) {
        self.not_before = Some(now + UNHEARD);
    }

    /// When to look again whether there is something to say.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let heartbeat = self.said.map_or(now + AGAIN, |(said, at)| match self.serves {
            Some((print, _)) if print != said => now + AGAIN,
            _ => at + HEARTBEAT,
        });
        self.not_before.unwrap_or(heartbeat)
    }

    pub(crate) fn farewell(&self) -> Value {
        said(&self.name, None)
    }
}
