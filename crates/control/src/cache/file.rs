//! The file: whole or not there. It is written beside its place, brought to the disk, and then put there by renaming.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Key, Place, Saved, decode};

/// The file's name in its folder.
const NAME: &str = "cluster";
/// What drafts begin and end with.
const DRAFT: (&str, &str) = (".cluster-", ".draft");
/// A draft that is older was left behind by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(600);
/// The largest file that is written, and read.
pub(crate) const MAX_BYTES: usize = 256 << 20;

/// The file of a place.
pub(crate) fn path(place: &Place) -> PathBuf {
    place.folder.join(NAME)
}

/// Reads what was saved; nothing where there is no file.
///
/// # Errors
/// When there is one that cannot be used, with the reason.
pub(crate) fn load(place: &Place, cluster: &str, now: SystemTime) -> Result<Option<Saved>, String> {
    let path = path(place);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    is_trustworthy(&metadata)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let mut saved = decode(&bytes, cluster, place.key.as_ref())?;
    // While nothing changes the file is only touched.
    if let Ok(touched) = metadata.modified() {
        saved.confirmed = saved.confirmed.max(touched).min(now);
    }
    Ok(Some(saved))
}

/// Writes the file. Blocks until it is on the disk.
///
/// # Errors
/// When the folder or the disk refuses.
pub(crate) fn save(place: &Place, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.folder)?;
    // Nobody else may read it, from its first byte on: that is how drafts are made (mode 0600).
    let mut draft = tempfile::Builder::new().prefix(DRAFT.0).suffix(DRAFT.1).tempfile_in(&place.folder)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(path(place)).map_err(|error| error.error)?;
    File::open(&place.folder)?.sync_all()
}

/// What the file says was true at this time, too.
pub(crate) fn confirm(place: &Place, at: SystemTime) -> io::Result<()> {
    File::options().write(true).open(path(place))?.set_modified(at)
}

/// Removes what killed processes left behind.
pub(crate) fn sweep(folder: &Path, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let old = age.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > ABANDONED));
        if name.starts_with(DRAFT.0) && name.ends_with(DRAFT.1) && old {
            // The next start tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads a key.
///
/// # Errors
/// When the file cannot be read, or does not hold exactly as many bytes as a key has.
pub fn read_key(path: &Path) -> io::Result<Key> {
    let mut bytes = Vec::new();
    File::open(path)?.take(super::KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let wrong = || io::Error::other(format!("does not hold exactly {} bytes", super::KEY_BYTES));
    Key::new(&bytes).ok_or_else(wrong)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Whoever may write the file decides where traffic goes.
fn is_trustworthy(metadata: &fs::Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.mode() & 0o002 != 0 {
        return Err("may be written by everybody".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::UNIX_EPOCH;

    use super::super::{Texts, encode};
    use super::*;

    fn place(folder: &Path) -> Place {
        Place { folder: folder.join("new/cache"), key: None }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, now) = (place(folder.path()), SystemTime::now());
        assert!(load(&place, "c", now).expect("no file").is_none());
        let text = encode(&Texts::default(), "c", UNIX_EPOCH, None).expect("a file");
        for _ in 0..2 {
            save(&place, &text).expect("saved");
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path(&place)), mode(&place.folder)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&place.folder).expect("a folder").count(), 1, "no draft is left");
        let at = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        confirm(&place, at).expect("touched");
        assert_eq!(load(&place, "c", now).expect("readable").expect("a file").confirmed, at);
        assert!(load(&place, "other", now).is_err());
    }

    #[test]
    fn what_everybody_may_write_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(folder.path());
        save(&place, &encode(&Texts::default(), "c", UNIX_EPOCH, None).expect("a file")).expect("saved");
        fs::set_permissions(path(&place), fs::Permissions::from_mode(0o666)).expect("changed");
        assert!(load(&place, "c", SystemTime::now()).expect_err("refused").contains("everybody"));
    }

    #[test]
    fn abandoned_drafts_are_swept_and_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| File::create(folder.path().join(name)).expect("a file");
        let old = SystemTime::now() - 2 * ABANDONED;
        file(".cluster-old.draft").set_modified(old).expect("touched");
        file("mine").set_modified(old).expect("touched");
        file(".cluster-new.draft");
        sweep(folder.path(), SystemTime::now());
        let left = fs::read_dir(folder.path()).expect("a folder").flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name().into_string().expect("text")).collect();
        left.sort();
        assert_eq!(left, [".cluster-new.draft", "mine"]);
    }

    #[test]
    fn a_key_has_so_many_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        for (bytes, good) in [(31, false), (32, true), (33, false)] {
            fs::write(&path, vec![7; bytes]).expect("written");
            assert_eq!(read_key(&path).is_ok(), good, "{bytes}");
        }
    }
}
