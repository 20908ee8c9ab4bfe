//! Reading files once, for commands that look at configuration without serving it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use portcullis_api::Severity;
use portcullis_compile::{Files, Objects, referenced_files};

use crate::file::FileSource;
use crate::notice::Notice;
use crate::referenced::Referenced;
use crate::settle::SettleTimes;
use crate::store::{Change, Store, Update};

/// The objects of files, and what there is to say about the files themselves.
#[derive(Debug, Default)]
pub struct Read {
    /// Every object that can be used.
    pub objects: Objects,
    /// Findings of the loader, unreadable files.
    pub notices: Vec<Notice>,
    /// Number of files read.
    pub files: usize,
    /// What stands in the files that the objects name by path.
    pub named: Files,
}

/// Reads every file below `paths` (as [`FileSource`] finds them), and the `texts`, each with its name.
///
/// # Errors
/// When a path does not exist or cannot be looked at.
pub fn read(paths: &[PathBuf], texts: Vec<(&str, String)>) -> io::Result<Read> {
    let mut source = FileSource::new(paths, SettleTimes::DEFAULT)?;
    let mut store = Store::default();
    store.apply_all(source.collect(Instant::now()));
    if let Some((name, reason)) = source.unreachable().next() {
        return Err(io::Error::other(format!("{name}: {reason}")));
    }
    for (name, text) in texts {
        store.apply(Update { source: Arc::from(name), change: Change::Text(text) });
    }
    let notices = store.notices().cloned().collect();
    let objects = store.objects().clone();
    let mut referenced = Referenced::new(SettleTimes::DEFAULT);
    referenced.refer(referenced_files(&objects), Instant::now());
    Ok(Read { objects, notices, files: store.files(), named: referenced.files() })
}

/// The text of every file below `paths`, as [`read`] finds them, by name.
///
/// # Errors
/// When a path does not exist or a file cannot be read.
pub fn texts(paths: &[PathBuf]) -> io::Result<Vec<(Arc<str>, String)>> {
    let mut source = FileSource::new(paths, SettleTimes::DEFAULT)?;
    let mut texts = Vec::new();
    for Update { source, change } in source.collect(Instant::now()) {
        match change {
            Change::Text(text) => texts.push((source, text)),
            Change::Unreadable(reason) => return Err(io::Error::other(format!("{source}: {reason}"))),
            Change::Gone => {}
        }
    }
    if let Some((name, reason)) = source.unreachable().next() {
        return Err(io::Error::other(format!("{name}: {reason}")));
    }
    texts.sort();
    Ok(texts)
}

impl Read {
    /// Number of notices at least as bad as `severity`.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.notices.iter().filter(|notice| notice.severity >= severity).count()
    }
}
