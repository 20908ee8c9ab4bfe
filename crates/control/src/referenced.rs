//! Files that objects name by path: certificates, keys and revocation lists beside the gateway.
//!
//! They are read before the objects are compiled and followed for as long as an object names them, so that a
//! renewed certificate is in use moments after it was written. What was read once stays in use when the file goes
//! away or cannot be read any more. Nothing but plain files of [`MAX_NAMED_FILE_BYTES`](crate::file::MAX_NAMED_FILE_BYTES) at most is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use portcullis_api::Severity;
use portcullis_compile::Files;

use crate::file::{FileSource, Hint, Watch};
use crate::notice::Notice;
use crate::settle::SettleTimes;
use crate::store::{Change, Update};

/// Most files followed; what objects name beyond is not read.
pub const MAX_NAMED_FILES: usize = 4096;

/// The files in use.
pub struct Referenced {
    source: FileSource,
    held: BTreeMap<String, Held>,
}

/// One file.
#[derive(Default)]
struct Held {
    /// Its last good content.
    content: Option<Arc<[u8]>>,
    /// Why it cannot be read now.
    problem: Option<String>,
}

impl Referenced {
    /// No file yet.
    #[must_use]
    pub fn new(times: SettleTimes) -> Self {
        Self { source: FileSource::of_named_files(times), held: BTreeMap::new() }
    }

    /// Has hints sent from now on; without them only the periodic look sees changes.
    pub fn watch(&mut self, watch: Watch) {
        self.source.watch(watch);
    }

    /// Follows exactly the files at `paths` from now on; those that are new are read at once.
    pub fn refer(&mut self, paths: BTreeSet<String>, now: Instant) {
        if self.held.keys().eq(&paths) {
            return;
        }
        self.held.retain(|path, _| paths.contains(path));
        for path in paths {
            self.held.entry(path).or_default();
        }
        self.source.name_files(self.held.keys().take(MAX_NAMED_FILES).map(String::as_str));
        for held in self.held.values_mut().skip(MAX_NAMED_FILES) {
            held.problem = Some(format!("more than {MAX_NAMED_FILES} files are named"));
        }
        self.collect(now);
    }

    /// Takes a hint of the file system.
    pub fn note(&mut self, hint: &Hint, now: Instant) {
        if !self.held.is_empty() {
            self.source.note(hint.clone(), now);
        }
    }

    /// When [`collect`](Self::collect) has something to do; `None`: not before other files are named.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        if self.held.is_empty() { None } else { self.source.due() }
    }

    /// Looks where it must; tells whether anything is different now.
    pub fn collect(&mut self, now: Instant) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let mut changed = false;
        for Update { source, change } in self.source.collect(now) {
            if let Some(held) = self.held.get_mut(&*source) {
                changed |= held.take(change);
            }
        }
        for (path, reason) in self.source.unreachable() {
            if let Some(held) = self.held.get_mut(&*path) {
                changed |= held.fail(reason);
            }
        }
        changed
    }

    /// What the files hold.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        for (path, held) in &self.held {
            let problem = || held.problem.clone().unwrap_or_else(|| "it is being written".to_owned());
            files.insert(path, held.content.clone().ok_or_else(problem));
        }
        files
    }

    /// About files whose last good content is in use. Those that never had any are the compiler's business, which
    /// knows who needs them.
    pub fn notices(&self) -> impl Iterator<Item = Notice> {
        self.held.iter().filter_map(|(path, held)| {
            let reason = held.content.is_some().then_some(held.problem.as_deref()).flatten()?;
            let message = format!("cannot be used: {reason}; its last good content stays in use");
            let path: Arc<str> = path.as_str().into();
            Some(Notice::about_file(Severity::Warning, "KeptLastGood", path, message, ""))
        })
    }
}

impl Held {
    /// Takes news in; tells whether anything is different now.
    fn take(&mut self, change: Change) -> bool {
        match change {
            Change::Text(text) if text.trim().is_empty() => self.fail("it is empty"),
            Change::Text(text) => {
                *self = Self { content: Some(text.into_bytes().into()), problem: None };
                true
            }
            Change::Unreadable(reason) => self.fail(&reason),
            Change::Gone => self.fail("it is gone"),
        }
    }

    fn fail(&mut self, reason: &str) -> bool {
        let is_new = self.problem.as_deref() != Some(reason);
        self.problem = Some(reason.to_owned());
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::file::{DOUBT, MAX_NAMED_FILE_BYTES, RESCAN};

    fn refer(referenced: &mut Referenced, base: &Path, names: &[&str], now: Instant) -> Vec<String> {
        let paths: Vec<_> = names.iter().map(|name| base.join(name).display().to_string()).collect();
        referenced.refer(paths.iter().cloned().collect(), now);
        paths
    }

    /// `content`, or `problem (content)`.
    fn shown(referenced: &Referenced, path: &str) -> String {
        let held = &referenced.held[path];
        let content = held.content.as_ref().map(|content| String::from_utf8_lossy(content).into_owned());
        let content = content.unwrap_or_else(|| "-".to_owned());
        match &held.problem {
            None => content,
            Some(problem) => format!("{problem} ({content})"),
        }
    }

    #[test]
    fn what_is_named_is_read_at_once_under_every_name() {
        let base = tempfile::tempdir().expect("folder");
        fs::write(base.path().join("a.pem"), "a").expect("write");
        std::os::unix::fs::symlink("a.pem", base.path().join("b.pem")).expect("link");
        fs::create_dir(base.path().join("folder")).expect("folder");
        let large = vec![b'x'; usize::try_from(MAX_NAMED_FILE_BYTES).expect("fits") + 1];
        fs::write(base.path().join("large"), large).expect("write");
        let mut referenced = Referenced::new(SettleTimes::DEFAULT);
        let names = ["a.pem", "b.pem", "missing", "folder", "large"];
        let paths = refer(&mut referenced, base.path(), &names, Instant::now());
        let found: Vec<_> = paths.iter().map(|path| shown(&referenced, path)).collect();
        let expected =
            ["a", "a", "no such file or directory (-)", "not a file (-)", "larger than 1048576 bytes (-)"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_renewed_file_is_taken_and_a_lost_one_keeps_its_content() {
        let base = tempfile::tempdir().expect("folder");
        let file = base.path().join("a.pem");
        fs::write(&file, "old").expect("write");
        let mut now = Instant::now();
        let mut referenced = Referenced::new(SettleTimes::DEFAULT);
        let paths = refer(&mut referenced, base.path(), &["a.pem"], now);
        assert!(!referenced.collect(now), "nothing has changed");
        fs::write(&file, "newer").expect("write");
        referenced.note(&Hint::Whole(file.clone()), now);
        now = referenced.due().expect("a look is due");
        assert!(referenced.collect(now));
        assert_eq!(shown(&referenced, &paths[0]), "newer");
        fs::remove_file(&file).expect("remove");
        now += RESCAN;
        referenced.collect(now);
        now += DOUBT;
        referenced.collect(now);
        assert_eq!(shown(&referenced, &paths[0]), "no such file or directory (newer)");
        assert_eq!(referenced.notices().count(), 1);
        fs::write(&file, "newest").expect("write");
        now += RESCAN;
        assert!(referenced.collect(now));
        assert_eq!(shown(&referenced, &paths[0]), "newest");
    }

    #[test]
    fn a_volume_that_swaps_its_link_is_seen() {
        let base = tempfile::tempdir().expect("folder");
        let link = |target: &str, name: &str| {
            let temporary = base.path().join("link");
            std::os::unix::fs::symlink(target, &temporary).expect("link");
            fs::rename(temporary, base.path().join(name)).expect("rename");
        };
        for (folder, text) in [("..1", "one"), ("..2", "second")] {
            fs::create_dir(base.path().join(folder)).expect("folder");
            fs::write(base.path().join(folder).join("tls.crt"), text).expect("write");
        }
        link("..1", "..data");
        link("..data/tls.crt", "tls.crt");
        let mut referenced = Referenced::new(SettleTimes::DEFAULT);
        let paths = refer(&mut referenced, base.path(), &["tls.crt"], Instant::now());
        assert_eq!(shown(&referenced, &paths[0]), "one");
        link("..2", "..data");
        let now = Instant::now();
        referenced.note(&Hint::Names(base.path().join("..data")), now);
        let due = referenced.due().expect("a look is due");
        assert!(due < now + RESCAN / 2, "the periodic look is not waited for");
        assert!(referenced.collect(due));
        assert_eq!(shown(&referenced, &paths[0]), "second");
    }

    #[test]
    fn what_is_not_named_any_more_is_forgotten() {
        let base = tempfile::tempdir().expect("folder");
        fs::write(base.path().join("a.pem"), "a").expect("write");
        fs::write(base.path().join("b.pem"), "b").expect("write");
        let mut referenced = Referenced::new(SettleTimes::DEFAULT);
        refer(&mut referenced, base.path(), &["a.pem", "b.pem"], Instant::now());
        let paths = refer(&mut referenced, base.path(), &["b.pem"], Instant::now());
        assert_eq!(referenced.held.keys().collect::<Vec<_>>(), [&paths[0]]);
        assert_eq!(shown(&referenced, &paths[0]), "b");
        refer(&mut referenced, base.path(), &[], Instant::now());
        assert!(referenced.due().is_none());
    }
}
