//! One look at the watched paths: which files hold configuration, and what they look like from outside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Deepest nesting of folders below a root.
pub const MAX_DEPTH: usize = 16;

/// Most files read; what comes after is left out and reported.
pub const MAX_FILES: usize = 100_000;

/// What is compared to see whether a file has changed: cheap, and never a reading of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    identity: Identity,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which file or folder it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Stamp {
    /// The stamp of what `metadata` describes.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            identity: Identity::of(metadata),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file, and the root it was found under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    /// Position of the root in the list given, from 0.
    pub(super) root: usize,
    /// The path, beginning as the root was written.
    pub(super) path: PathBuf,
}

impl Ord for FileId {
    /// By the bytes of the paths: to compare them part by part takes longer than all the rest of a look.
    fn cmp(&self, other: &Self) -> Ordering {
        let [own, others] = [self, other].map(|id| id.path.as_os_str().as_encoded_bytes());
        self.root.cmp(&other.root).then_with(|| own.cmp(others))
    }
}

impl PartialOrd for FileId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Something that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreachable {
    /// Position of the root.
    pub(super) root: usize,
    /// What was to be looked at.
    pub(super) path: PathBuf,
    /// Why it failed.
    pub(super) reason: String,
}

/// The result of one look.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Files with configuration.
    pub(super) files: BTreeMap<FileId, Stamp>,
    /// Folders whose changes matter, parents of the roots included.
    pub(super) folders: BTreeMap<PathBuf, Identity>,
    /// What could not be looked at. What was known below such a path stays as it was.
    pub(super) unreachable: Vec<Unreachable>,
    /// Files seen, so that one is read once however many links or roots lead to it.
    seen: HashSet<Identity>,
}

/// Looks at every root: a file is taken whatever its name, a folder is searched.
///
/// In a folder, files ending in `.yaml`, `.yml` and `.json` count, unless hidden. Folders are searched too,
/// unless hidden: so the `..data` and `..2026_…` folders of a mounted ConfigMap are left aside, and
/// the links that lead into them are followed.
pub(super) fn scan(roots: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for (root, path) in roots.iter().enumerate() {
        scan.add_parent(path);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => scan.add_folder(root, path, &metadata, 0),
            Ok(metadata) => scan.add_file(root, path, &metadata),
            Err(error) => scan.add_unreachable(root, path, &error),
        }
    }
    scan
}

/// The roots that are folders, and the folders that roots stand in: known without a look into any.
pub(super) fn outermost(roots: &[PathBuf]) -> BTreeMap<PathBuf, Identity> {
    let mut scan = Scan::default();
    for path in roots {
        scan.add_parent(path);
        if let Ok(metadata) = fs::metadata(path)
            && metadata.is_dir()
        {
            scan.folders.insert(path.clone(), Identity::of(&metadata));
        }
    }
    scan.folders
}

/// Looks at single files, each under every name it was given. Nothing but a file counts: reading anything else
/// might wait for ever.
pub(super) fn scan_named(roots: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for (root, path) in roots.iter().enumerate() {
        scan.add_parent(path);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                scan.files.insert(FileId { root, path: path.clone() }, Stamp::of(&metadata));
            }
            Ok(_) => scan.add_unreachable(root, path, &io::Error::other("not a file")),
            Err(error) => scan.add_unreachable(root, path, &error),
        }
    }
    scan
}

impl Scan {
    /// The folder a root stands in is watched too, to see the root replaced.
    fn add_parent(&mut self, root: &Path) {
        let parent = match root.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return,
        };
        if let Ok(metadata) = fs::metadata(parent) {
            self.folders.insert(parent.to_owned(), Identity::of(&metadata));
        }
    }

    fn add_folder(&mut self, root: usize, path: &Path, metadata: &Metadata, depth: usize) {
        let identity = Identity::of(metadata);
        if depth > MAX_DEPTH {
            self.add_unreachable(
                root,
                path,
                &io::Error::other(format!("nested deeper than {MAX_DEPTH} folders")),
            );
            return;
        }
        // A folder met twice is a link back up, or two roots that overlap.
        if self.folders.insert(path.to_owned(), identity).is_some() && depth > 0
            || !self.seen.insert(identity)
        {
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.add_unreachable(root, path, &error),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.add_entry(root, &entry.path(), depth),
                Err(error) => self.add_unreachable(root, path, &error),
            }
        }
    }

    fn add_entry(&mut self, root: usize, path: &Path, depth: usize) {
        if path.file_name().is_none_or(is_hidden) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.add_folder(root, path, &metadata, depth + 1),
            Ok(metadata) if metadata.is_file() && holds_configuration(path) => {
                self.add_file(root, path, &metadata);
            }
            Ok(_) => {}
            // Gone between the listing and now, or a link into nothing: not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.add_unreachable(root, path, &error),
        }
    }

    fn add_file(&mut self, root: usize, path: &Path, metadata: &Metadata) {
        if self.files.len() >= MAX_FILES {
            if self.files.len() == MAX_FILES && self.unreachable.iter().all(|other| other.path != path) {
                self.add_unreachable(root, path, &io::Error::other(format!("more than {MAX_FILES} files")));
            }
            return;
        }
        let stamp = Stamp::of(metadata);
        if self.seen.insert(stamp.identity) {
            self.files.insert(FileId { root, path: path.to_owned() }, stamp);
        }
    }

    fn add_unreachable(&mut self, root: usize, path: &Path, error: &io::Error) {
        self.unreachable.push(Unreachable { root, path: path.to_owned(), reason: reason(error) });
    }
}

/// Whether a file's name says that it holds configuration.
pub(super) fn holds_configuration(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}

/// Whether it is the link that a mounted ConfigMap or Secret replaces to change all its files at once (`..data`).
pub(super) fn is_volume_link(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
}

/// Whether a name is hidden: editors' temporary files, `.git`, the inner folders of a ConfigMap volume.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The error in the system's words, without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(roots: &[PathBuf], base: &Path) -> Vec<String> {
        let shown = |id: &FileId| id.path.strip_prefix(base).expect("below").display().to_string();
        scan(roots).files.keys().map(shown).collect()
    }

    fn write(base: &Path, name: &str) {
        let path = base.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, name).expect("write");
    }

    #[test]
    fn configuration_is_told_from_the_rest() {
        let base = tempfile::tempdir().expect("folder");
        for name in ["b.yaml", "a.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~", ".git/g.yaml", "sub/h.yaml"]
        {
            write(base.path(), name);
        }
        let found = names(&[base.path().to_owned()], base.path());
        assert_eq!(found, ["a.yml", "b.yaml", "c.json", "sub/h.yaml"]);
    }

    #[test]
    fn a_configmap_volume_yields_each_file_once() {
        let base = tempfile::tempdir().expect("folder");
        write(base.path(), "..2026_01/a.yaml");
        symlink("..2026_01", base.path().join("..data")).expect("link");
        symlink("..data/a.yaml", base.path().join("a.yaml")).expect("link");
        assert_eq!(names(&[base.path().to_owned()], base.path()), ["a.yaml"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let base = tempfile::tempdir().expect("folder");
        write(base.path(), "sub/a.yaml");
        symlink("..", base.path().join("sub/up")).expect("link");
        symlink("nowhere.yaml", base.path().join("dangling.yaml")).expect("link");
        assert_eq!(names(&[base.path().to_owned()], base.path()), ["sub/a.yaml"]);
    }

    #[test]
    fn overlapping_roots_read_a_file_once() {
        let base = tempfile::tempdir().expect("folder");
        write(base.path(), "a.yaml");
        let roots = [base.path().to_owned(), base.path().join("a.yaml"), base.path().to_owned()];
        assert_eq!(names(&roots, base.path()), ["a.yaml"]);
    }

    #[test]
    fn a_missing_root_is_told() {
        let base = tempfile::tempdir().expect("folder");
        let gone = base.path().join("gone");
        let unreachable = scan(std::slice::from_ref(&gone)).unreachable;
        let expected = Unreachable { root: 0, path: gone, reason: "no such file or directory".into() };
        assert_eq!(unreachable, [expected]);
    }
}
