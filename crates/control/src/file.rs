//! The file source: files and folders of YAML, followed as they change.
//!
//! A [`FileSource`] is driven from outside: [`note`](FileSource::note) takes hints,
//! [`due`](FileSource::due) says when to look, [`collect`](FileSource::collect) looks and
//! yields what has changed. It reads files and the names of folders; it has no thread and no clock.
//!
//! A half-written file is never given out:
//! - hints are gathered until they cease ([`SettleTimes`]);
//! - a file that some program writes to and has not closed is left alone, for at most [`HELD_OPEN`];
//! - a file that changed while it was read is read again;
//! - a file that has become blank, or has gone, is believed after [`DOUBT`]: editors truncate or delete
//!   first and write afterwards.

mod scan;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scan::{FileId, Scan, Stamp, Unreachable, holds_configuration, is_volume_link};
pub use scan::{MAX_DEPTH, MAX_FILES};
pub use watch::{Hint, OnHint, Watch};

use crate::priority::give_way;
use crate::readers::shared_out;
use crate::settle::{Settle, SettleTimes};
use crate::store::{Change, Update};

/// Longest file read, in bytes. The objects of a whole large cluster fit several times.
pub const MAX_FILE_BYTES: u64 = 32 << 20;

/// Longest file read that objects name by its path, in bytes. The system's whole list of authorities fits four
/// times.
pub const MAX_NAMED_FILE_BYTES: u64 = 1 << 20;

/// How long a file that is open for writing is waited for after its last write.
pub const HELD_OPEN: Duration = Duration::from_secs(2);

/// How long a file that became blank or went away is thought to be in the middle of a change.
pub const DOUBT: Duration = Duration::from_millis(250);

/// Notifications can be missing (network file systems) or lost: everything is looked at this often.
pub const RESCAN: Duration = Duration::from_secs(5);

/// With many files that is done less often, this long for each: a look takes some ten microseconds of it.
pub const RESCAN_EACH: Duration = Duration::from_millis(1);

/// Paths remembered one by one; beyond, everything is looked at.
const MAX_HINTS: usize = 4096;

/// Files and folders that are read and followed.
pub struct FileSource {
    roots: Vec<Root>,
    taken: Taken,
    watch: Option<Watch>,
    settle: Settle,
    dirty: Dirty,
    known: BTreeMap<FileId, Known>,
    /// Known files that are blank or away without being believed, and since when.
    doubts: BTreeMap<FileId, Instant>,
    unreachable: Vec<Unreachable>,
    next_rescan: Option<Instant>,
    hasher: RandomState,
}

/// What is read at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// A file whatever its name, and the files with configuration below a folder; each once, however many links
    /// lead to it.
    Configuration,
    /// The file itself and nothing else, under each of its names.
    NamedFiles,
}

impl Taken {
    /// Longest file read, in bytes.
    fn limit(self) -> u64 {
        match self {
            Self::Configuration => MAX_FILE_BYTES,
            Self::NamedFiles => MAX_NAMED_FILE_BYTES,
        }
    }
}

/// A path to follow.
struct Root {
    /// As it was given: how its files are called in messages.
    written: PathBuf,
    /// How the system is asked, and how it answers.
    absolute: PathBuf,
}

/// What may have changed since the last look.
#[derive(Default)]
struct Dirty {
    everything: bool,
    files: BTreeSet<PathBuf>,
    /// Files being written, with the time of the last write seen.
    open: BTreeMap<PathBuf, Instant>,
}

/// What was last given out about a file.
struct Known {
    stamp: Option<Stamp>,
    /// Of the content given out; `None` if it was blank or could not be read.
    digest: Option<u64>,
}

/// What a look at a file yields.
enum Content {
    Text(String, Stamp),
    InFlux,
    Gone,
    Unreadable(String),
}

impl FileSource {
    /// Follows `paths`; nothing is read yet, and everything is due at once.
    ///
    /// # Errors
    /// When a path cannot be made absolute (it is empty, or the working folder is gone).
    pub fn new(paths: &[PathBuf], times: SettleTimes) -> io::Result<Self> {
        let root = |path: &PathBuf| Ok(Root { written: path.clone(), absolute: std::path::absolute(path)? });
        let roots = paths.iter().map(root).collect::<io::Result<_>>()?;
        Ok(Self::with(roots, Taken::Configuration, times))
    }

    /// Follows single files, whatever their names; none as long as [`name_files`](Self::name_files) has named none.
    #[must_use]
    pub fn of_named_files(times: SettleTimes) -> Self {
        Self::with(Vec::new(), Taken::NamedFiles, times)
    }

    fn with(roots: Vec<Root>, taken: Taken, times: SettleTimes) -> Self {
        Self {
            roots,
            taken,
            watch: None,
            settle: Settle::new(times),
            dirty: Dirty { everything: true, ..Dirty::default() },
            known: BTreeMap::new(),
            doubts: BTreeMap::new(),
            unreachable: Vec::new(),
            next_rescan: None,
            hasher: RandomState::new(),
        }
    }

    /// Follows exactly these files from now on; everything is due at once. What was given out about a file that
    /// stays is not given out again. A path that cannot be made absolute is left out.
    pub fn name_files<'p>(&mut self, paths: impl IntoIterator<Item = &'p str>) {
        let root = |path| {
            let absolute = std::path::absolute(path).ok()?;
            Some(Root { written: PathBuf::from(path), absolute })
        };
        let old = std::mem::replace(&mut self.roots, paths.into_iter().filter_map(root).collect());
        let known = std::mem::take(&mut self.known);
        let places: BTreeMap<_, _> =
            self.roots.iter().enumerate().map(|(place, root)| (root.written.clone(), place)).collect();
        for (id, known) in known {
            if let Some(&root) = places.get(&old[id.root].written) {
                self.known.insert(FileId { root, path: id.path }, known);
            }
        }
        self.next_rescan = None;
    }

    /// Has hints sent from now on; without them only the periodic look sees changes.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Takes a hint.
    pub fn note(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Everything => self.dirty.everything = true,
            Hint::Whole(path) if self.may_read(&path) => {
                self.dirty.open.remove(&path);
                self.dirty.add(path);
                return self.settle.note_whole(now);
            }
            Hint::Partial(path) if self.may_read(&path) => self.dirty.write(path, now),
            Hint::Names(path) if self.concerns(&path) => {
                if let Some(watch) = &mut self.watch {
                    watch.forget(&path);
                }
                self.dirty.open.remove(&path);
                self.dirty.everything = true;
            }
            Hint::Whole(_) | Hint::Partial(_) | Hint::Names(_) => return,
        }
        self.settle.note(now);
    }

    /// Looks at everything at the next occasion.
    pub fn rescan(&mut self, now: Instant) {
        self.note(Hint::Everything, now);
    }

    /// When [`collect`](Self::collect) has something to do; `None` before the first look: at once.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let held = self.dirty.open.values().map(|written| *written + HELD_OPEN).min();
        let doubt = self.doubts.values().min().map(|since| *since + DOUBT);
        let rescan = self.next_rescan?;
        [self.settle.due(), held, doubt].into_iter().flatten().chain([rescan]).min()
    }

    /// Looks where it must and yields what has changed, in a stable order; nothing before the burst is over.
    pub fn collect(&mut self, now: Instant) -> Vec<Update> {
        let settled = self.settle.finish(now);
        let periodic = self.next_rescan.is_none_or(|at| at <= now);
        let over = self.dirty.release(now) || self.doubts_end(now);
        if !settled && !periodic && !over {
            return Vec::new();
        }
        if periodic || self.dirty.everything || over {
            self.dirty.everything = false;
            self.dirty.files.clear();
            let updates = self.collect_all(now);
            self.next_rescan = Some(now + until_rescan(self.known.len()));
            return updates;
        }
        let files = std::mem::take(&mut self.dirty.files);
        let ids: Vec<_> = files.iter().flat_map(|path| self.ids(path)).collect();
        ids.iter().inspect(|_| give_way()).filter_map(|id| self.look(id, now)).collect()
    }

    /// Paths that cannot be looked at, as of the last full look: `(name, reason)`.
    pub fn unreachable(&self) -> impl Iterator<Item = (Arc<str>, &str)> {
        self.unreachable
            .iter()
            .map(|problem| (self.name(problem.root, &problem.path), problem.reason.as_str()))
    }

    fn collect_all(&mut self, now: Instant) -> Vec<Update> {
        let scan = self.scan();
        let mut updates = Vec::new();
        let appeared = scan.files.keys().any(|id| !self.known.contains_key(id));
        let gone: Vec<_> = self.known.keys().filter(|id| !scan.files.contains_key(*id)).cloned().collect();
        for id in gone {
            if !scan.unreachable.iter().any(|problem| id.path.starts_with(&problem.path)) {
                // Renamed rather than deleted, if another file came at the same time: no reason to doubt.
                updates.extend(self.gone(&id, now, appeared));
            }
        }
        let changed: Vec<&FileId> = scan
            .files
            .iter()
            .filter(|(id, stamp)| self.is_to_be_read(id, Some(**stamp)))
            .map(|(id, _)| id)
            .collect();
        for (id, content) in changed.iter().zip(self.read_all(&changed)) {
            updates.extend(self.see(id, content, now));
        }
        self.unreachable = scan.unreachable;
        updates
    }

    /// Scans, and lets the watch follow the folders found, until no folder is new to it.
    fn scan(&mut self) -> Scan {
        /// Folders created while we look would otherwise keep us looking for ever.
        const ROUNDS: usize = 4;
        let roots: Vec<_> = self.roots.iter().map(|root| root.absolute.clone()).collect();
        let look = match self.taken {
            Taken::Configuration => scan::scan,
            Taken::NamedFiles => scan::scan_named,
        };
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.is_new()) {
            // Where no folder is within another, one look is enough then.
            watch.follow(&scan::outermost(&roots));
        }
        let mut found = look(&roots);
        for _ in 1..ROUNDS {
            let Some(watch) = &mut self.watch else { break };
            if !watch.follow(&found.folders) {
                break;
            }
            found = look(&roots);
        }
        found
    }

    /// Reads the file if nobody is writing to it.
    fn look(&mut self, id: &FileId, now: Instant) -> Option<Update> {
        let content = self.is_to_be_read(id, None).then(|| read(&id.path, self.taken.limit()))?;
        self.see(id, content, now)
    }

    /// Whether nobody is writing to the file, and it does not look as it was last seen, as far as that is known.
    fn is_to_be_read(&self, id: &FileId, stamp: Option<Stamp>) -> bool {
        let as_seen = |known: &Known| known.stamp == stamp && !self.doubts.contains_key(id);
        let is_as_seen = stamp.is_some() && self.known.get(id).is_some_and(as_seen);
        !is_as_seen && !self.dirty.open.contains_key(&id.path)
    }

    /// The contents of many files, in order. At the start of a gateway everybody waits for them, so several threads
    /// read.
    fn read_all(&self, ids: &[&FileId]) -> Vec<Content> {
        let limit = self.taken.limit();
        shared_out(ids, |id| read(&id.path, limit))
    }

    fn see(&mut self, id: &FileId, content: Content, now: Instant) -> Option<Update> {
        match content {
            Content::Text(text, stamp) => self.take(id, text, stamp, now),
            Content::InFlux => {
                self.dirty.add(id.path.clone());
                self.settle.note(now);
                None
            }
            Content::Gone => self.gone(id, now, false),
            Content::Unreadable(reason) => {
                self.doubts.remove(id);
                self.known.insert(id.clone(), Known { stamp: None, digest: None });
                Some(self.update(id, Change::Unreadable(reason)))
            }
        }
    }

    fn take(&mut self, id: &FileId, text: String, stamp: Stamp, now: Instant) -> Option<Update> {
        let blank = text.trim().is_empty();
        let digest = (!blank).then(|| self.hasher.hash_one(&text));
        let before = self.known.get(id).map(|known| (known.digest, known.stamp.is_some()));
        if blank && matches!(before, Some((Some(_), _))) && !self.doubted(id, now) {
            return None;
        }
        self.doubts.remove(id);
        self.known.insert(id.clone(), Known { stamp: Some(stamp), digest });
        (before != Some((digest, true))).then(|| self.update(id, Change::Text(text)))
    }

    fn gone(&mut self, id: &FileId, now: Instant, certain: bool) -> Option<Update> {
        if !self.known.contains_key(id) || !certain && !self.doubted(id, now) {
            return None;
        }
        self.doubts.remove(id);
        self.known.remove(id);
        Some(self.update(id, Change::Gone))
    }

    /// Doubts from `now` on what is seen, and tells whether the doubt has lasted long enough to believe it.
    fn doubted(&mut self, id: &FileId, now: Instant) -> bool {
        now >= *self.doubts.entry(id.clone()).or_insert(now) + DOUBT
    }

    fn doubts_end(&self, now: Instant) -> bool {
        self.doubts.values().any(|since| *since + DOUBT <= now)
    }

    /// Whether `path` is a root, stands below one or holds one, or is the link by which a mounted volume changes
    /// all its files at once.
    fn concerns(&self, path: &Path) -> bool {
        let is_volume_link = is_volume_link(path);
        self.roots.iter().any(|root| {
            path.starts_with(&root.absolute)
                || root.absolute.starts_with(path)
                || is_volume_link && root.absolute.parent() == path.parent()
        })
    }

    /// Whether the file at `path` would be read. A log that is written beside the configuration must neither put off what
    /// has changed nor have everything looked at.
    fn may_read(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| {
            path == root.absolute || path.starts_with(&root.absolute) && holds_configuration(path)
        })
    }

    /// Under which names the file at `path` is, or may become, known.
    fn ids(&self, path: &Path) -> Vec<FileId> {
        let id = |root: usize| FileId { root, path: path.to_owned() };
        let known: Vec<_> = (0..self.roots.len()).map(id).filter(|id| self.known.contains_key(id)).collect();
        if !known.is_empty() || !holds_configuration(path) {
            return known;
        }
        let below = self.roots.iter().position(|root| path.starts_with(&root.absolute));
        below.map(id).into_iter().collect()
    }

    fn update(&self, id: &FileId, change: Change) -> Update {
        Update { source: self.name(id.root, &id.path), change }
    }

    /// The file's name as its user would write it.
    fn name(&self, root: usize, path: &Path) -> Arc<str> {
        let root = &self.roots[root];
        let name = match path.strip_prefix(&root.absolute) {
            Ok(rest) if rest.as_os_str().is_empty() => root.written.clone(),
            Ok(rest) => root.written.join(rest),
            Err(_) => path.to_owned(),
        };
        name.to_string_lossy().into()
    }
}

impl Dirty {
    fn add(&mut self, path: PathBuf) {
        if self.files.len() >= MAX_HINTS {
            self.everything = true;
        } else {
            self.files.insert(path);
        }
    }

    fn write(&mut self, path: PathBuf, now: Instant) {
        if self.open.len() < MAX_HINTS {
            self.open.insert(path.clone(), now);
        }
        self.add(path);
    }

    /// Gives up waiting for files that were not closed; tells whether there were any.
    fn release(&mut self, now: Instant) -> bool {
        let before = self.open.len();
        self.open.retain(|_, written| *written + HELD_OPEN > now);
        self.open.len() != before
    }
}

/// How long after a look at everything the next one is due.
fn until_rescan(files: usize) -> Duration {
    RESCAN.max(RESCAN_EACH.saturating_mul(files.try_into().unwrap_or(u32::MAX)))
}

/// Reads a file that nobody changes meanwhile.
fn read(path: &Path, limit: u64) -> Content {
    match read_stable(path, limit) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Gone,
        Err(error) => Content::Unreadable(scan::reason(&error)),
    }
}

fn read_stable(path: &Path, limit: u64) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let before = Stamp::of(&metadata);
    if metadata.is_dir() {
        return Ok(Content::Gone);
    }
    let too_large = || Ok(Content::Unreadable(format!("larger than {limit} bytes")));
    if metadata.len() > limit {
        return too_large();
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    // The system's own files say that they hold nothing.
    if bytes.len() as u64 > limit {
        return too_large();
    }
    if metadata.is_file() && Stamp::of(&file.metadata()?) != before {
        return Ok(Content::InFlux);
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Content::Text(text, before),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Content::Unreadable(format!("not UTF-8 text (byte {at})"))
        }
    })
}

#[cfg(test)]
mod tests;
