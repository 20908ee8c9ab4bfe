//! The file source against real files, with a clock of its own.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const TIMES: SettleTimes = SettleTimes::DEFAULT;

/// A folder, a source that follows it, and a clock that stands still unless moved.
struct Fixture {
    folder: tempfile::TempDir,
    source: FileSource,
    now: Instant,
}

impl Fixture {
    /// A folder with these files, read once.
    fn new(files: &[(&str, &str)]) -> (Self, Vec<String>) {
        let folder = tempfile::tempdir().expect("folder");
        let source = FileSource::new(&[folder.path().to_owned()], TIMES).expect("source");
        let mut fixture = Self { folder, source, now: Instant::now() };
        for (name, text) in files {
            fixture.write(name, text);
        }
        let first = fixture.collect();
        (fixture, first)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, text).expect("write");
    }

    fn hint(&mut self, hint: fn(PathBuf) -> Hint, name: &str) {
        let path = self.path(name);
        self.source.note(hint(path), self.now);
    }

    fn later(&mut self, by: Duration) -> Vec<String> {
        self.now += by;
        self.collect()
    }

    /// Updates as `name: text`, `name gone` or `name unreadable`.
    fn collect(&mut self) -> Vec<String> {
        let base = format!("{}/", self.folder.path().display());
        let updates = self.source.collect(self.now).into_iter();
        let shown = updates.map(|Update { source, change }| {
            let name = source.strip_prefix(&base).unwrap_or(&source).to_owned();
            match change {
                Change::Text(text) => format!("{name}: {text}"),
                Change::Unreadable(_) => format!("{name} unreadable"),
                Change::Gone => format!("{name} gone"),
            }
        });
        shown.collect()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn everything_is_read_at_first_and_only_changes_afterwards() {
    let (mut fixture, first) = Fixture::new(&[("a.yaml", "1"), ("sub/b.yaml", "2")]);
    assert_eq!(first, ["a.yaml: 1", "sub/b.yaml: 2"]);
    fixture.write("a.yaml", "one");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.collect(), NOTHING, "the burst is not over");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: one"]);
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
}

#[test]
fn a_log_beside_the_configuration_puts_nothing_off() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    let idle = fixture.source.due();
    fixture.write("access.log", "a line");
    fixture.hint(Hint::Partial, "access.log");
    fixture.hint(Hint::Whole, "access.log");
    assert_eq!(fixture.source.due(), idle, "it is no reason to look");
    fixture.write("a.yaml", "one");
    fixture.hint(Hint::Whole, "a.yaml");
    let due = fixture.source.due();
    fixture.now += TIMES.quiet_whole / 2;
    fixture.hint(Hint::Partial, "access.log");
    assert_eq!(fixture.source.due(), due);
    assert_eq!(fixture.later(TIMES.quiet_whole / 2), ["a.yaml: one"]);
}

#[test]
fn a_file_that_was_named_is_followed_whatever_its_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("gateway.conf");
    fs::write(&path, "1").expect("write");
    let mut source = FileSource::new(std::slice::from_ref(&path), TIMES).expect("source");
    let now = Instant::now();
    assert_eq!(source.collect(now).len(), 1);
    fs::write(&path, "2").expect("write");
    source.note(Hint::Whole(path), now);
    assert_eq!(source.collect(now + TIMES.quiet_whole).len(), 1);
}

#[test]
fn a_touched_file_with_the_same_content_is_no_news() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fixture.write("a.yaml", "1");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
}

#[test]
fn a_file_held_open_is_left_alone_until_closed() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fixture.write("a.yaml", "ha");
    fixture.hint(Hint::Partial, "a.yaml");
    assert_eq!(fixture.later(TIMES.longest), NOTHING);
    fixture.write("a.yaml", "half, then whole");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: half, then whole"]);
}

#[test]
fn a_file_that_is_never_closed_is_read_in_the_end() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fixture.write("a.yaml", "2");
    fixture.hint(Hint::Partial, "a.yaml");
    assert_eq!(fixture.later(HELD_OPEN), ["a.yaml: 2"]);
}

#[test]
fn a_file_that_became_blank_is_doubted_first() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fixture.write("a.yaml", "\n");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
    assert_eq!(fixture.source.due(), Some(fixture.now + DOUBT));
    fixture.write("a.yaml", "2");
    assert_eq!(fixture.later(DOUBT), ["a.yaml: 2"]);

    fixture.write("a.yaml", "");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
    assert_eq!(fixture.later(DOUBT), ["a.yaml: "]);
}

#[test]
fn a_file_that_went_away_is_doubted_first() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1"), ("b.yaml", "2")]);
    fs::remove_file(fixture.path("a.yaml")).expect("remove");
    fixture.hint(Hint::Names, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
    assert_eq!(fixture.later(DOUBT), ["a.yaml gone"]);
    assert_eq!(fixture.later(DOUBT), NOTHING);
}

#[test]
fn a_file_deleted_and_written_again_is_just_changed() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fs::remove_file(fixture.path("a.yaml")).expect("remove");
    fixture.hint(Hint::Names, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
    fixture.write("a.yaml", "2");
    fixture.hint(Hint::Names, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: 2"]);
    assert_eq!(fixture.later(DOUBT), NOTHING);
}

#[test]
fn a_renamed_file_changes_its_name_at_once() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fs::rename(fixture.path("a.yaml"), fixture.path("b.yaml")).expect("rename");
    fixture.hint(Hint::Names, "b.yaml");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml gone", "b.yaml: 1"]);
}

#[test]
fn a_configmap_volume_swaps_all_its_files_at_once() {
    let (mut fixture, _) = Fixture::new(&[("..1/a.yaml", "1"), ("..1/b.yaml", "2")]);
    symlink("..1", fixture.path("..data")).expect("link");
    symlink("..data/a.yaml", fixture.path("a.yaml")).expect("link");
    symlink("..data/b.yaml", fixture.path("b.yaml")).expect("link");
    fixture.hint(Hint::Names, "..data");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: 1", "b.yaml: 2"]);

    fixture.write("..2/a.yaml", "one");
    fixture.write("..2/b.yaml", "2");
    symlink("..2", fixture.path("..data_tmp")).expect("link");
    fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).expect("rename");
    fixture.hint(Hint::Names, "..data");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: one"], "b.yaml says the same as before");
}

#[test]
fn a_root_that_went_away_keeps_what_it_held() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    let (here, away) = (fixture.folder.path().to_owned(), tempfile::tempdir().expect("folder"));
    let hidden = away.path().join("moved");
    fs::rename(&here, &hidden).expect("rename");
    fixture.source.rescan(fixture.now);
    assert_eq!(fixture.later(TIMES.quiet), NOTHING);
    assert_eq!(fixture.later(DOUBT), NOTHING);
    assert_eq!(fixture.source.unreachable().count(), 1);
    fs::rename(&hidden, &here).expect("rename");
    fixture.write("a.yaml", "2");
    assert_eq!(fixture.later(RESCAN), ["a.yaml: 2"]);
    assert_eq!(fixture.source.unreachable().count(), 0);
}

#[test]
fn many_files_are_looked_at_less_often() {
    assert_eq!([0, 1, 5_000].map(until_rescan), [RESCAN; 3]);
    assert_eq!(until_rescan(20_000), Duration::from_secs(20));
}

#[test]
fn changes_without_notification_are_found_periodically() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fixture.write("a.yaml", "two");
    assert_eq!(fixture.source.due(), Some(fixture.now + RESCAN));
    assert_eq!(fixture.later(RESCAN), ["a.yaml: two"]);
}

#[test]
fn bytes_that_are_no_text_are_told_and_never_read_as_text() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", "1")]);
    fs::write(fixture.path("a.yaml"), b"a: \xff").expect("write");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml unreadable"]);
    fixture.write("a.yaml", "1");
    fixture.hint(Hint::Whole, "a.yaml");
    assert_eq!(fixture.later(TIMES.quiet), ["a.yaml: 1"], "given out again, though it was known before");
}

#[test]
fn foreign_paths_do_not_wake_the_source() {
    let (mut fixture, _) = Fixture::new(&[]);
    let before = fixture.source.due();
    fixture.source.note(Hint::Names("/elsewhere/a.yaml".into()), fixture.now);
    assert_eq!(fixture.source.due(), before);
}

#[test]
fn files_are_called_as_their_root_was_written() {
    let source = FileSource::new(&["conf".into(), "/etc/gw/".into()], TIMES).expect("source");
    let absolute = std::path::absolute("conf/sub/a.yaml").expect("path");
    assert_eq!(&*source.name(0, &absolute), "conf/sub/a.yaml");
    assert_eq!(&*source.name(1, Path::new("/etc/gw/a.yaml")), "/etc/gw/a.yaml");
}
