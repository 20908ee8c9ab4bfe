//! Objects of kinds that are not read, as far as a cluster has some: what is said about each, as if it came from a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_api::{Object, ObjectRef, Severity, Unsupported};
use portcullis_compile::not_honoured;

use crate::live::{Absence, Change, Read};
use crate::notice::Notice;

/// Objects of one kind that are told one by one.
const MAX_OF_A_KIND: usize = 1000;

/// News of a watch of such a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The kind's name.
    pub(crate) kind: &'static str,
    /// Its API group: two kinds may have one name.
    pub(crate) group: &'static str,
    /// The namespace watched; `None` = all of them.
    pub(crate) namespace: Option<Arc<str>>,
    /// What happened.
    pub(crate) change: Change,
}

/// A kind, by its group and name.
type Kind = (&'static str, &'static str);

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    objects: BTreeMap<Kind, BTreeMap<(String, String), Arc<Unsupported>>>,
    /// What may not be seen, and so is not told of, by kind and namespace.
    hidden: BTreeMap<(Kind, Option<Arc<str>>), String>,
}

impl Unread {
    /// Takes news in; tells whether there is anything else to say than before.
    pub(crate) fn apply(&mut self, event: Event) -> bool {
        let Event { kind, group, namespace, change } = event;
        let kind = (group, kind);
        let place = (kind, namespace.clone());
        let table = self.objects.entry(kind).or_default();
        match change {
            Change::Listed(read) => {
                let seen = self.hidden.remove(&place).is_some();
                replace(table, namespace.as_deref(), read) || seen
            }
            Change::Applied(read) => put(table, read),
            Change::Deleted { namespace, name } => table.remove(&(namespace, name)).is_some(),
            Change::Absent(Absence::NotInstalled) => {
                let seen = self.hidden.remove(&place).is_some();
                replace(table, namespace.as_deref(), Vec::new()) || seen
            }
            Change::Absent(Absence::Forbidden(reason)) => {
                self.hidden.insert(place, reason.clone()) != Some(reason)
            }
            // Every other watch says so, too.
            Change::Failing(_) => false,
        }
    }

    /// What there is to say.
    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        let each = self.objects.iter().flat_map(|((group, kind), table)| {
            let told = table.values().take(MAX_OF_A_KIND);
            let told = told.filter_map(|object| not_honoured(object).map(Notice::from));
            told.map(|notice| named(notice, group, kind)).chain(too_many(kind, table.len()))
        });
        each.chain(
            self.hidden
                .iter()
                .map(|(((_, kind), namespace), reason)| hidden(kind, namespace.as_deref(), reason)),
        )
    }
}

/// The name of a kind that is not read, with its group where a kind that is read has the same: as kubectl takes it.
pub(crate) fn qualified(group: &str, kind: &str) -> Arc<str> {
    match kind == portcullis_api::Kind::Gateway.name() {
        true => format!("{kind}.{group}").into(),
        false => kind.into(),
    }
}

/// The name that is unique among all kinds that are watched: those that are read have theirs.
pub(crate) fn qualified_unless(read: bool, group: &str, kind: &str) -> Arc<str> {
    if read { kind.into() } else { qualified(group, kind) }
}

fn named(mut notice: Notice, group: &str, kind: &str) -> Notice {
    if let Some(ObjectRef { kind: name, .. }) = &mut notice.object {
        *name = qualified(group, kind);
    }
    notice
}

fn replace(
    table: &mut BTreeMap<(String, String), Arc<Unsupported>>,
    namespace: Option<&str>,
    read: Vec<Read>,
) -> bool {
    let listed: std::collections::BTreeSet<(String, String)> =
        read.iter().map(|read| (read.object.namespace.clone(), read.object.name.clone())).collect();
    let before = table.len();
    table.retain(|key, _| namespace.is_some_and(|own| own != key.0) || listed.contains(key));
    let gone = table.len() != before;
    read.into_iter().fold(gone, |changed, read| put(table, read) || changed)
}

fn put(table: &mut BTreeMap<(String, String), Arc<Unsupported>>, read: Read) -> bool {
    let key = (read.object.namespace, read.object.name);
    let object = read.objects.into_iter().find_map(|object| match object {
        Object::Unsupported(object) => Some(object),
        _ => None,
    });
    // Whatever changes in it, what is said about it stays the same.
    object.is_some_and(|object| table.insert(key, object).is_none())
}

fn too_many(kind: &str, count: usize) -> Option<Notice> {
    let more = count.checked_sub(MAX_OF_A_KIND).filter(|more| *more > 0)?;
    let mut notice = Notice::about_cluster(Severity::Warning, "KindNotHonoured");
    notice.message = format!("{kind}: {more} more objects of this kind have no effect either");
    Some(notice)
}

fn hidden(kind: &str, namespace: Option<&str>, reason: &str) -> Notice {
    let mut notice = Notice::about_cluster(Severity::Warning, "KindNotSeen");
    let place = namespace.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    notice.message = format!(
        "{kind}{place}: may not be seen, so nothing says which objects of this kind have no effect: {reason}"
    );
    "give the gateway's ServiceAccount list and watch for it (deploy/kubernetes/rbac.yaml)"
        .clone_into(&mut notice.remedy);
    notice
}

#[cfg(test)]
mod tests {
    use portcullis_api::identity_of;
    use serde_json::json;

    use super::*;

    fn event(kind: &'static str, group: &'static str, change: Change) -> Event {
        Event { kind, group, namespace: None, change }
    }

    fn read(api: &str, kind: &str, name: &str) -> Read {
        let object = ObjectRef { kind: kind.into(), namespace: "a".to_owned(), name: name.to_owned() };
        let metadata = json!({"name": name, "namespace": "a"});
        let value = json!({"apiVersion": api, "kind": kind, "metadata": metadata});
        let objects = identity_of("cluster", value).into_iter().collect();
        Read { object, objects, findings: Vec::new() }
    }

    fn said(unread: &Unread) -> Vec<(&'static str, Severity, String)> {
        let about = |notice: &Notice| notice.object.as_ref().map_or(String::new(), ToString::to_string);
        unread.notices().map(|notice| (notice.code, notice.severity, about(&notice))).collect()
    }

    #[test]
    fn each_object_is_told_of_as_one_of_a_file_is() {
        let mut unread = Unread::default();
        let policy = || read("security.istio.io/v1", "AuthorizationPolicy", "p");
        let of = |change| event("AuthorizationPolicy", "security.istio.io", change);
        assert!(unread.apply(of(Change::Listed(vec![policy()]))));
        assert!(!unread.apply(of(Change::Applied(policy()))), "the same");
        let gateway = read("gateway.networking.k8s.io/v1", "Gateway", "g");
        assert!(unread.apply(event("Gateway", "gateway.networking.k8s.io", Change::Listed(vec![gateway]))));
        assert_eq!(
            said(&unread),
            [
                ("PCL1020", Severity::Warning, "Gateway.gateway.networking.k8s.io a/g".to_owned()),
                ("PCL1019", Severity::Error, "AuthorizationPolicy a/p".to_owned()),
            ]
        );
        assert!(unread.apply(of(Change::Deleted { namespace: "a".to_owned(), name: "p".to_owned() })));
        assert!(unread.apply(event(
            "Gateway",
            "gateway.networking.k8s.io",
            Change::Absent(Absence::NotInstalled)
        )));
        assert_eq!(said(&unread), []);
    }

    /// Its kind is read, too, where it is one of cert-manager's solvers.
    #[test]
    fn an_ingress_is_told_of_by_its_metadata() {
        let mut unread = Unread::default();
        let ingress = read("networking.k8s.io/v1", "Ingress", "i");
        assert!(unread.apply(event("Ingress", "networking.k8s.io", Change::Listed(vec![ingress]))));
        assert_eq!(said(&unread), [("PCL1020", Severity::Warning, "Ingress a/i".to_owned())]);
    }

    #[test]
    fn what_may_not_be_seen_is_told_once() {
        let mut unread = Unread::default();
        let of = |change| event("EnvoyFilter", "networking.istio.io", change);
        assert!(unread.apply(of(Change::Absent(Absence::Forbidden("no".to_owned())))));
        assert!(!unread.apply(of(Change::Absent(Absence::Forbidden("no".to_owned())))));
        assert!(!unread.apply(of(Change::Failing("refused".to_owned()))));
        assert_eq!(said(&unread), [("KindNotSeen", Severity::Warning, String::new())]);
        assert!(unread.apply(of(Change::Listed(Vec::new()))));
        assert_eq!(said(&unread), []);
    }
}
