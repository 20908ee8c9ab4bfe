//! The system's notifications, reduced to hints about where to look.
//!
//! Every folder is watched by itself: which folders count is the scan's knowledge. A hint is never proof of
//! anything: what a file holds is learned by reading it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::scan::{Identity, holds_configuration, is_hidden};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The file was written and closed, or renamed into place: it is whole.
    Whole(PathBuf),
    /// The file is being written.
    Partial(PathBuf),
    /// Names have changed at this path: a file or a folder came, went or was renamed.
    Names(PathBuf),
    /// Notifications were lost, or the kind of change is unknown: look everywhere.
    Everything,
}

/// Called with each hint, on the notifier's thread; must not block.
pub type OnHint = Box<dyn FnMut(Hint) + Send>;

/// The folders under watch.
pub struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeMap<PathBuf, Identity>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the system grants no notifications; periodic scans see changes all the same.
    pub fn new(mut on_hint: OnHint) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            for hint in hints(event) {
                on_hint(hint);
            }
        })?;
        Ok(Self { watcher, folders: BTreeMap::new() })
    }

    /// Whether it watches nothing yet.
    pub fn is_new(&self) -> bool {
        self.folders.is_empty()
    }

    /// Watches exactly `folders` from now on. Tells whether any is new: what happened in it before the watch
    /// stood has gone unseen, so the caller looks once more.
    pub fn follow(&mut self, folders: &BTreeMap<PathBuf, Identity>) -> bool {
        let gone: Vec<_> =
            self.folders.iter().filter(|(path, identity)| folders.get(*path) != Some(*identity)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.forget(&path);
        }
        let mut added = false;
        for (path, identity) in folders {
            if self.folders.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(path.clone(), *identity);
                    added = true;
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %path.display(), "folder is not watched, only scanned");
                }
            }
        }
        added
    }

    /// The folder at `path` is no longer the one that was watched there.
    pub fn forget(&mut self, path: &Path) {
        if self.folders.remove(path).is_some() {
            // The notifier drops the watch of a deleted folder by itself.
            let _ = self.watcher.unwatch(path);
        }
    }
}

/// What `event` hints at; nothing for readings and for files that never count.
fn hints(event: notify::Result<notify::Event>) -> Vec<Hint> {
    let Ok(event) = event else { return vec![Hint::Everything] };
    if event.need_rescan() {
        return vec![Hint::Everything];
    }
    let kind: fn(PathBuf) -> Hint = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Metadata(_)) => Hint::Whole,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => renamed,
        // Each half of a rename is told by itself, too.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => return Vec::new(),
        EventKind::Modify(ModifyKind::Data(_)) => Hint::Partial,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) => Hint::Names,
        EventKind::Any | EventKind::Other => return vec![Hint::Everything],
    };
    event.paths.into_iter().filter(|path| !is_temporary(path)).map(kind).collect()
}

/// A file renamed into place was written before; anything else may be a folder or a link to one.
fn renamed(path: PathBuf) -> Hint {
    if holds_configuration(&path) { Hint::Whole(path) } else { Hint::Names(path) }
}

/// Names under which editors keep what is not meant to be read yet. `..data`, which a ConfigMap volume
/// renames to change all its files at once, is none of them.
fn is_temporary(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let bytes = name.as_encoded_bytes();
    is_hidden(name) && !bytes.starts_with(b"..") || bytes.ends_with(b"~") || name == OsStr::new("4913")
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    fn hint(kind: EventKind, path: &str) -> Vec<Hint> {
        hints(Ok(notify::Event::new(kind).add_path(path.into())))
    }

    #[test]
    fn events_become_hints() {
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(hint(close(AccessMode::Write), "/a.yaml"), [Hint::Whole("/a.yaml".into())]);
        assert_eq!(hint(data, "/a.yaml"), [Hint::Partial("/a.yaml".into())]);
        assert_eq!(hint(rename, "/a.yaml"), [Hint::Whole("/a.yaml".into())]);
        assert_eq!(hint(rename, "/..data"), [Hint::Names("/..data".into())]);
        assert_eq!(hint(EventKind::Remove(RemoveKind::File), "/a.yaml"), [Hint::Names("/a.yaml".into())]);
        assert_eq!(hint(close(AccessMode::Read), "/a.yaml"), []);
        for temporary in ["/.a.yaml.swp", "/a.yaml~", "/4913"] {
            assert_eq!(hint(EventKind::Create(CreateKind::File), temporary), [], "{temporary}");
        }
    }

    #[test]
    fn a_loss_means_everything() {
        assert_eq!(hints(Err(notify::Error::generic("gone"))), [Hint::Everything]);
        let lost = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(hints(Ok(lost)), [Hint::Everything]);
    }
}
