//! What the watches have told, for those beside the control thread who need more of it than it does: the reporter, and
//! the keeper of the last good state.
//!
//! The watches write it down, and then tell the control thread; each piece of news has a number, by which a bulletin of the
//! control thread says how far it has come. All watches run on one thread, so the numbers are in the order of the news.

use std::sync::{Arc, Mutex};

use portcullis_api::ObjectRef;

use crate::cache::shelf::Shelf;
use crate::live::{Absence, Change, Read};
use crate::report::ledger::{Facts, Ledger};

/// The book, in the hands of several tasks of one thread. It is never held while something is waited for.
pub(crate) type Shared = Arc<Mutex<Book>>;

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    news: u64,
    pub(crate) ledger: Ledger,
    /// The texts of all objects, where they are kept.
    pub(crate) shelf: Option<Shelf>,
}

/// An object as a watch sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) read: Read,
    /// Of an object that may be reported on.
    pub(super) facts: Option<Facts>,
    /// Of an object that is to be kept.
    pub(super) text: Option<Arc<str>>,
}

/// News of a watch, before they are cut down to what is compiled.
#[derive(Debug)]
pub(super) enum Told {
    Listed(Vec<Seen>),
    Applied(Seen),
    Deleted(ObjectRef),
    Absent(Absence),
    Failing(String),
}

/// Where news are from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    /// The kind's name; unique among the kinds of the ledger.
    pub(super) kind: &'a str,
    pub(super) namespace: Option<&'a str>,
}

impl Book {
    /// Writes news down, and gives their number with what the control thread is told.
    pub(super) fn enter(&mut self, from: From<'_>, told: Told) -> (u64, Change) {
        self.news += 1;
        let change = match told {
            Told::Listed(seen) => {
                let listed: Vec<&ObjectRef> = seen.iter().map(|seen| &seen.read.object).collect();
                self.ledger.retain(from.kind, from.namespace, &listed, self.news);
                if let Some(shelf) = &mut self.shelf {
                    shelf.retain(from.kind, from.namespace, &listed);
                }
                Change::Listed(seen.into_iter().map(|seen| self.put(seen)).collect())
            }
            Told::Applied(seen) => Change::Applied(self.put(seen)),
            Told::Deleted(object) => {
                self.ledger.remove(&object, self.news);
                if let Some(shelf) = &mut self.shelf {
                    shelf.remove(&object);
                }
                Change::Deleted { namespace: object.namespace, name: object.name }
            }
            Told::Absent(absence) => {
                // As in the store: a kind that was taken away takes its objects along.
                if absence == Absence::NotInstalled {
                    self.ledger.retain(from.kind, from.namespace, &[], self.news);
                    if let Some(shelf) = &mut self.shelf {
                        shelf.retain(from.kind, from.namespace, &[]);
                    }
                }
                Change::Absent(absence)
            }
            Told::Failing(reason) => Change::Failing(reason),
        };
        (self.news, change)
    }

    fn put(&mut self, seen: Seen) -> Read {
        let Seen { read, facts, text } = seen;
        if let Some(facts) = facts {
            self.ledger.put(read.object.clone(), facts, self.news);
        }
        // What cannot be used leaves its last good version where it is.
        if let (Some(shelf), Some(text)) = (&mut self.shelf, text)
            && !read.objects.is_empty()
        {
            shelf.put(read.object.clone(), text);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use portcullis_api::from_json_value;
    use serde_json::json;

    use super::*;
    use crate::report::ledger::tests::facts;

    const FROM: From<'_> = From { kind: "Service", namespace: None };

    fn seen(name: &str, text: &str, good: bool) -> Seen {
        let object = ObjectRef { kind: "Service".into(), namespace: "a".to_owned(), name: name.to_owned() };
        let metadata = json!({"name": name, "namespace": "a"});
        let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}});
        let objects = if good { from_json_value("cluster", value).objects } else { Vec::new() };
        let read = Read { object, objects, findings: Vec::new() };
        Seen { read, facts: Some(facts(name, 1)), text: Some(text.into()) }
    }

    fn kept(book: &Book) -> Vec<String> {
        let texts = book.shelf.as_ref().expect("a shelf").texts().plain;
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn news_are_numbered_and_what_cannot_be_used_keeps_its_last_good_text() {
        let mut book = Book { shelf: Some(Shelf::default()), ..Book::default() };
        let (number, change) =
            book.enter(FROM, Told::Listed(vec![seen("one", "1", true), seen("two", "2", true)]));
        assert!(matches!(change, Change::Listed(read) if read.len() == 2) && number == 1);
        let (number, _) = book.enter(FROM, Told::Applied(seen("one", "broken", false)));
        assert_eq!((number, kept(&book)), (2, vec!["1".to_owned(), "2".to_owned()]));
        book.enter(FROM, Told::Failing("refused".to_owned()));
        assert_eq!((kept(&book).len(), book.ledger.iter().count()), (2, 2), "a failure takes nothing away");
        let gone = seen("one", "", true).read.object;
        assert_eq!(book.enter(FROM, Told::Deleted(gone)).0, 4);
        assert_eq!((kept(&book), book.ledger.iter().count()), (vec!["2".to_owned()], 1));
        book.enter(FROM, Told::Absent(Absence::NotInstalled));
        assert_eq!((kept(&book).len(), book.ledger.iter().count()), (0, 0));
    }
}
