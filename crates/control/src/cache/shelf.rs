//! The texts of all objects as they were read last, ready to be saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_api::{Kind, ObjectRef};

use super::Texts;

/// The texts, by object.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    texts: BTreeMap<ObjectRef, Arc<str>>,
    /// Grows with every change.
    version: u64,
}

impl Shelf {
    pub(crate) fn put(&mut self, object: ObjectRef, text: Arc<str>) {
        if self.texts.get(&object) != Some(&text) {
            self.texts.insert(object, text);
            self.version += 1;
        }
    }

    pub(crate) fn remove(&mut self, object: &ObjectRef) {
        if self.texts.remove(object).is_some() {
            self.version += 1;
        }
    }

    /// These are all objects of a kind, in a namespace or in all.
    pub(crate) fn retain(&mut self, kind: &str, namespace: Option<&str>, listed: &[&ObjectRef]) {
        let listed: BTreeSet<&ObjectRef> = listed.iter().copied().collect();
        let before = self.texts.len();
        self.texts.retain(|object, _| {
            let in_scope = &*object.kind == kind && namespace.is_none_or(|own| own == object.namespace);
            !in_scope || listed.contains(object)
        });
        if self.texts.len() != before {
            self.version += 1;
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Everything, without a copy of any text.
    pub(crate) fn texts(&self) -> Texts {
        let mut all = Texts::default();
        for (object, text) in &self.texts {
            match &*object.kind == Kind::Secret.name() {
                true => all.secret.push(Arc::clone(text)),
                false => all.plain.push(Arc::clone(text)),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_make_a_new_version() {
        let object = |kind: &str, namespace: &str| ObjectRef {
            kind: kind.into(),
            namespace: namespace.to_owned(),
            name: "n".to_owned(),
        };
        let mut shelf = Shelf::default();
        shelf.put(object("Service", "a"), "1".into());
        shelf.put(object("Service", "b"), "2".into());
        shelf.put(object("Secret", "a"), "3".into());
        let version = shelf.version();
        shelf.put(object("Service", "a"), "1".into());
        shelf.retain("Service", Some("a"), &[&object("Service", "a")]);
        assert_eq!(shelf.version(), version);
        let texts = shelf.texts();
        assert_eq!((texts.plain.len(), texts.secret.len()), (2, 1));
        shelf.retain("Service", Some("a"), &[]);
        shelf.remove(&object("Secret", "a"));
        assert_eq!((shelf.version(), shelf.texts().plain.len()), (version + 2, 1));
    }
}
