//! Every object known, by the file it came from, with the last content of each file that could be used.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::{Code, Finding, Kind, Loaded, Object, ObjectRef, Severity, load};
use portcullis_compile::Objects;

use crate::notice::Notice;
use crate::priority::give_way;
use crate::readers::shared_out;

/// News from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The file, as its user calls it.
    pub source: Arc<str>,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// It holds this text now.
    Text(String),
    /// It is there and cannot be read.
    Unreadable(String),
    /// It is not there any more.
    Gone,
}

impl std::fmt::Debug for Change {
    /// Without the text, which may hold private keys.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(out, "Text({} bytes)", text.len()),
            Self::Unreadable(reason) => write!(out, "Unreadable({reason:?})"),
            Self::Gone => out.write_str("Gone"),
        }
    }
}

/// The objects of every source.
#[derive(Debug, Default)]
pub struct Store {
    sources: BTreeMap<Arc<str>, Source>,
    /// Those of all sources together.
    objects: Objects,
}

/// One file.
#[derive(Debug, Default)]
struct Source {
    /// The last ones that could be used.
    objects: Vec<Object>,
    notices: Vec<Notice>,
}

impl Store {
    /// Takes news in. A file that cannot be read or parsed keeps the objects it had last, and so does a single
    /// object that cannot be used any more; a notice says so.
    pub fn apply(&mut self, update: Update) {
        let loaded = read(&update);
        self.take(update, loaded);
    }

    /// Takes the news of many files in, in their order. Parsing them is shared among threads: at the start of a gateway
    /// everybody waits for it.
    pub fn apply_all(&mut self, updates: Vec<Update>) {
        let loaded = shared_out(&updates, read);
        for (update, loaded) in updates.into_iter().zip(loaded) {
            self.take(update, loaded);
            give_way();
        }
    }

    fn take(&mut self, update: Update, loaded: Option<Loaded>) {
        let Update { source: name, change } = update;
        match (change, loaded) {
            (Change::Gone, _) => {
                let gone = self.sources.remove(&name).unwrap_or_default();
                self.exchange(&gone.objects, &name);
            }
            (Change::Unreadable(reason), _) => {
                let source = self.sources.entry(Arc::clone(&name)).or_default();
                source.notices = vec![unreadable(&name, &reason, source.objects.len())];
            }
            (Change::Text(_), loaded) => {
                let Loaded { objects, findings, .. } = loaded.unwrap_or_default();
                let source = self.sources.entry(Arc::clone(&name)).or_default();
                let before = source.objects.clone();
                source.replace(&name, objects, findings);
                self.exchange(&before, &name);
            }
        }
    }

    /// Puts what a source holds now in the place of what it held `before`.
    fn exchange(&mut self, before: &[Object], name: &str) {
        // An object that was given twice stands for another one, which comes into use when it goes.
        if self.objects.has_duplicates() {
            self.objects = self.all().collect();
            return;
        }
        for object in before {
            self.objects.withdraw(object);
        }
        let held = self.sources.get(name).map(|source| source.objects.as_slice());
        self.objects.extend(held.unwrap_or_default().iter().cloned());
    }

    /// Everything in use, ready for the compiler.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Every object in use.
    pub fn all(&self) -> impl Iterator<Item = Object> + '_ {
        self.sources.values().flat_map(|source| source.objects.iter().cloned())
    }

    /// What there is to say about the files themselves.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.sources.values().flat_map(|source| source.notices.iter())
    }

    /// How many objects of each kind are in use.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let counts = Kind::ALL.map(|kind| (kind.name(), self.objects.count(kind)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Number of files held.
    #[must_use]
    pub fn files(&self) -> usize {
        self.sources.len()
    }
}

/// What the text of an update holds; `None` without one.
fn read(update: &Update) -> Option<Loaded> {
    match &update.change {
        Change::Text(text) => Some(load(&update.source, text)),
        Change::Unreadable(_) | Change::Gone => None,
    }
}

impl Source {
    fn replace(&mut self, name: &Arc<str>, objects: Vec<Object>, findings: Vec<Finding>) {
        let broken = findings.iter().any(breaks_the_file);
        let lost: Vec<_> = lost(&self.objects, &objects, &findings).cloned().collect();
        self.notices = findings.into_iter().map(Notice::from).collect();
        if broken && !self.objects.is_empty() {
            self.notices.push(kept(name, self.objects.len()));
            return;
        }
        for object in &lost {
            self.notices.push(kept_one(name, object));
        }
        self.objects = objects;
        self.objects.extend(lost);
    }
}

/// Whether what is behind the finding may be anything: the text cannot be cut into objects.
fn breaks_the_file(finding: &Finding) -> bool {
    finding.severity == Severity::Error
        && finding.object.is_none()
        && matches!(finding.code, Code::SyntaxError | Code::TooLarge | Code::DuplicateKey | Code::NotAnObject)
}

/// Objects that were in use, and now have an error and no usable version.
fn lost<'a>(
    old: &'a [Object],
    new: &'a [Object],
    findings: &'a [Finding],
) -> impl Iterator<Item = &'a Object> {
    let refused = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let refused: Vec<&ObjectRef> = refused.filter_map(|finding| finding.object.as_ref()).collect();
    let usable: Vec<ObjectRef> =
        if refused.is_empty() { Vec::new() } else { new.iter().map(Object::object_ref).collect() };
    old.iter().filter(move |object| {
        if refused.is_empty() {
            return false;
        }
        let name = object.object_ref();
        refused.contains(&&name) && !usable.contains(&name)
    })
}

fn unreadable(name: &Arc<str>, reason: &str, objects: usize) -> Notice {
    let kept = match objects {
        0 => String::new(),
        objects => format!("; its last good content ({objects} objects) stays in use"),
    };
    let message = format!("cannot be read: {reason}{kept}");
    Notice::about_file(Severity::Error, "UnreadableFile", Arc::clone(name), message, "")
}

fn kept(name: &Arc<str>, objects: usize) -> Notice {
    let message = format!("the file is broken; its last good content ({objects} objects) stays in use");
    let remedy = "mend the file; the errors above say where it is broken";
    Notice::about_file(Severity::Warning, "KeptLastGood", Arc::clone(name), message, remedy)
}

fn kept_one(name: &Arc<str>, object: &Object) -> Notice {
    let message = "its new version cannot be used; the last good one stays in use".to_owned();
    let mut notice = Notice::about_file(Severity::Warning, "KeptLastGood", Arc::clone(name), message, "");
    notice.object = Some(object.object_ref());
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n\
                        {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";

    /// The store after these texts of one file: names of its objects, codes of its notices.
    fn after(texts: &[&str]) -> (Vec<String>, Vec<&'static str>) {
        let mut store = Store::default();
        for text in texts {
            let change = Change::Text((*text).to_owned());
            store.apply(Update { source: "a.yaml".into(), change });
        }
        let objects = store.sources.values().flat_map(|source| &source.objects);
        let mut names: Vec<_> = objects.map(|object| object.meta().name.clone()).collect();
        names.sort();
        (names, store.notices().map(|notice| notice.code).collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_good_text_counts() {
        assert_eq!(after(&[GOOD]), (names(&["a", "b"]), vec![]));
        let one = GOOD.split("---").next().expect("a document");
        assert_eq!(after(&[GOOD, one]), (names(&["a"]), vec![]));
        assert_eq!(after(&[GOOD, ""]), (names(&[]), vec![]));
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_content_until_it_is_mended() {
        let broken = "kind: [\n";
        let (kept, notices) = after(&[GOOD, broken]);
        assert_eq!((kept, notices.last()), (names(&["a", "b"]), Some(&"KeptLastGood")));
        assert_eq!(after(&[GOOD, broken, GOOD]), (names(&["a", "b"]), vec![]));
        assert_eq!(after(&[broken]).0, names(&[]));
    }

    #[test]
    fn a_broken_object_keeps_its_own_last_good_version() {
        let broken = GOOD.replace("{name: b}", "{name: b, labels: 7}").replace("name: a", "name: c");
        let (kept, notices) = after(&[GOOD, &broken]);
        assert_eq!((kept, notices.last()), (names(&["b", "c"]), Some(&"KeptLastGood")));
    }

    #[test]
    fn an_unreadable_file_keeps_its_content_and_a_deleted_one_does_not() {
        let mut store = Store::default();
        let apply = |store: &mut Store, change| store.apply(Update { source: "a.yaml".into(), change });
        apply(&mut store, Change::Text(GOOD.to_owned()));
        apply(&mut store, Change::Unreadable("permission denied".to_owned()));
        assert_eq!(store.objects().len(), 2);
        assert_eq!(store.notices().next().map(|notice| notice.code), Some("UnreadableFile"));
        apply(&mut store, Change::Gone);
        assert_eq!((store.objects().len(), store.files(), store.notices().count()), (0, 0, 0));
    }

    #[test]
    fn many_files_are_read_as_one_by_one() {
        let text = |number: usize| match number % 3 {
            0 => "kind: [\n".to_owned(),
            _ => GOOD
                .replace("name: a", &format!("name: a{number}"))
                .replace("name: b", &format!("name: b{number}")),
        };
        let update = |number: usize| Update {
            source: format!("{number:04}.yaml").into(),
            change: Change::Text(text(number)),
        };
        let updates: Vec<Update> = (0..600).map(update).collect();
        let (mut together, mut alone) = (Store::default(), Store::default());
        together.apply_all(updates.clone());
        updates.into_iter().for_each(|update| alone.apply(update));
        assert_eq!(together.objects().names(Kind::Namespace), alone.objects().names(Kind::Namespace));
        assert!(together.notices().eq(alone.notices()));
    }

    #[test]
    fn an_object_of_two_files_goes_with_the_last_of_them() {
        let mut store = Store::default();
        let mut apply = |source: &str, text: Option<&str>| {
            let change = text.map_or(Change::Gone, |text| Change::Text(text.to_owned()));
            store.apply(Update { source: source.into(), change });
            let names = store.objects().names(Kind::Namespace);
            names.iter().map(|(_, name)| (*name).to_owned()).collect::<Vec<_>>()
        };
        let b = GOOD.rsplit("---").next();
        assert_eq!(apply("1.yaml", Some(GOOD)), names(&["a", "b"]));
        assert_eq!(apply("2.yaml", b), names(&["a", "b"]));
        assert_eq!(apply("1.yaml", None), names(&["b"]));
        assert_eq!(apply("3.yaml", b), names(&["b"]));
        assert_eq!(apply("3.yaml", Some(GOOD)), names(&["a", "b"]));
        assert_eq!(apply("3.yaml", None), names(&["b"]));
        assert_eq!(apply("2.yaml", None), names(&[]));
    }

    #[test]
    fn what_a_file_holds_is_never_printed() {
        let change = Change::Text("tls.key: c2VjcmV0".to_owned());
        assert_eq!(format!("{change:?}"), "Text(17 bytes)");
    }
}
