//! Every object known from a cluster, by kind, namespace and name: what watches have told, put together.
//!
//! A watch begins with a list, which replaces everything of its scope at once; from then on it tells of single
//! objects. What a watch that fails had told before stays: a cluster that cannot be asked is no empty cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_api::{Finding, Kind, Object, ObjectRef, Severity};
use portcullis_compile::Objects;

use crate::notice::Notice;

/// What one watch covers: a kind, in all namespaces or in one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The kind watched.
    pub kind: Kind,
    /// The namespace; `None` = all of them.
    pub namespace: Option<Arc<str>>,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.kind.name()),
            None => f.write_str(self.kind.name()),
        }
    }
}

/// News of a watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Which watch.
    pub scope: Scope,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// These are all of its objects.
    Listed(Vec<Read>),
    /// An object is new, or has changed.
    Applied(Read),
    /// An object is gone.
    Deleted {
        /// Its namespace; empty for one without.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// There is nothing to watch: the cluster does not know the kind, or does not let the gateway see it.
    Absent(Absence),
    /// It cannot be watched just now.
    Failing(String),
}

/// Why there is nothing to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// The kind is not installed.
    NotInstalled,
    /// The gateway may not list or watch it.
    Forbidden(String),
}

/// An object as it was read; the ConfigMap `istio` gives two.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The object it was read from.
    pub object: ObjectRef,
    /// What could be used of it.
    pub objects: Vec<Object>,
    /// What there is to say about it.
    pub findings: Vec<Finding>,
}

/// The state of one watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether it has told everything there is, at least once.
    synced: bool,
    absent: Option<Absence>,
    failing: Option<String>,
}

/// What [`Live::states`] tells of.
const STATES: [&str; 5] = ["awaited", "failing", "following", "forbidden", "not_installed"];

impl Watch {
    fn state(&self) -> &'static str {
        match (&self.failing, &self.absent, self.synced) {
            (Some(_), ..) => "failing",
            (None, Some(Absence::NotInstalled), _) => "not_installed",
            (None, Some(Absence::Forbidden(_)), _) => "forbidden",
            (None, None, true) => "following",
            (None, None, false) => "awaited",
        }
    }
}

/// Every object known.
#[derive(Debug, Default)]
pub struct Live {
    objects: Objects,
    watches: BTreeMap<Scope, Watch>,
    /// By object; only of those with something to say.
    notices: BTreeMap<ObjectRef, Vec<Notice>>,
}

impl Live {
    /// A store that waits for these watches.
    #[must_use]
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let watches = scopes.into_iter().map(|scope| (scope, Watch::default())).collect();
        Self { watches, ..Self::default() }
    }

    /// Takes news in; tells whether anything has changed that a compilation would see.
    pub fn apply(&mut self, event: Event) -> bool {
        let Event { scope, change } = event;
        let watch = self.watches.entry(scope.clone()).or_default();
        match change {
            Change::Listed(read) => {
                let before = std::mem::replace(watch, Watch { synced: true, ..Watch::default() });
                let news = !before.synced || before.failing.is_some() || before.absent.is_some();
                self.replace(&scope, read) || news
            }
            Change::Applied(read) => {
                let recovered = watch.failing.take().is_some();
                self.put(read) || recovered
            }
            Change::Deleted { namespace, name } => {
                let recovered = watch.failing.take().is_some();
                self.remove(scope.kind, &namespace, &name) || recovered
            }
            Change::Absent(absence) => {
                let news = watch.absent.as_ref() != Some(&absence);
                *watch = Watch { synced: true, absent: Some(absence), failing: None };
                // A kind that was taken away takes its objects along; one that may not be seen any more does not:
                // that is more often a mistake in the rules than a wish.
                let gone = matches!(watch.absent, Some(Absence::NotInstalled));
                (gone && self.replace(&scope, Vec::new())) || news
            }
            Change::Failing(reason) => watch.failing.replace(reason).is_none(),
        }
    }

    /// Whether every watch has told everything there is, at least once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.watches.values().all(|watch| watch.synced)
    }

    /// How many watches are in which state.
    #[must_use]
    pub fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::from(STATES.map(|state| (state, 0)));
        for watch in self.watches.values() {
            *states.entry(watch.state()).or_default() += 1;
        }
        states
    }

    /// The watches that have not told everything yet.
    pub fn awaited(&self) -> impl Iterator<Item = &Scope> {
        self.watches.iter().filter(|(_, watch)| !watch.synced).map(|(scope, _)| scope)
    }

    /// Everything in use.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What there is to say about single objects, and about watches.
    pub fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        let of_objects = self.notices.values().flatten().cloned();
        of_objects.chain(self.watches.iter().flat_map(|(scope, watch)| about(scope, watch)))
    }

    fn replace(&mut self, scope: &Scope, read: Vec<Read>) -> bool {
        let listed: BTreeSet<(&str, &str)> =
            read.iter().map(|read| (read.object.namespace.as_str(), read.object.name.as_str())).collect();
        let gone: Vec<(String, String)> = self
            .objects
            .names(scope.kind)
            .into_iter()
            .filter(|(namespace, name)| {
                let in_scope = scope.namespace.as_deref().is_none_or(|own| own == *namespace);
                in_scope && !listed.contains(&(*namespace, *name))
            })
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
            .collect();
        let mut changed = false;
        for (namespace, name) in gone {
            changed |= self.remove(scope.kind, &namespace, &name);
        }
        for read in read {
            changed |= self.put(read);
        }
        changed
    }

    /// An object that cannot be used any more keeps its last good version.
    fn put(&mut self, read: Read) -> bool {
        let Read { object, objects, findings } = read;
        let unusable = objects.is_empty();
        let mut notices: Vec<Notice> = findings.into_iter().map(Notice::from).collect();
        if unusable && notices.iter().any(|notice| notice.severity == Severity::Error) {
            let mut kept = Notice::about_object(Severity::Warning, "KeptLastGood", object.clone());
            kept.message =
                "its new version cannot be used; the last good one, if there was one, stays in use"
                    .to_owned();
            notices.push(kept);
        }
        let said = if notices.is_empty() {
            self.notices.remove(&object).is_some()
        } else {
            self.notices.insert(object, notices.clone()) != Some(notices)
        };
        let mut changed = said;
        for object in objects {
            changed |= self.objects.update(object);
        }
        changed
    }

    fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        let object =
            ObjectRef { kind: kind.name().into(), namespace: namespace.to_owned(), name: name.to_owned() };
        let said = self.notices.remove(&object).is_some();
        let mut gone = self.objects.remove(kind, namespace, name);
        if kind == Kind::ConfigMap {
            gone |= self.objects.remove(Kind::MeshConfig, namespace, name);
        }
        said || gone
    }
}

/// What there is to say about a watch.
fn about(scope: &Scope, watch: &Watch) -> Option<Notice> {
    let about = |severity, code, message: String, remedy: &str| {
        let mut notice = Notice::about_cluster(severity, code);
        notice.message = format!("{scope}: {message}");
        notice.remedy = remedy.to_owned();
        notice
    };
    if let Some(reason) = &watch.failing {
        let kept = if watch.synced { "; what it told before stays in use" } else { "" };
        let message = format!("cannot be watched: {reason}{kept}");
        return Some(about(Severity::Warning, "WatchFailing", message, "it is tried again, ever less often"));
    }
    match watch.absent.as_ref()? {
        // Every cluster lacks some of them. Without the Gateway API nobody makes the routes that are looked for.
        Absence::NotInstalled if scope.kind == Kind::HttpRoute => None,
        Absence::NotInstalled => Some(about(
            Severity::Info,
            "KindNotInstalled",
            "the cluster does not know this kind".to_owned(),
            "`portcullis crds | kubectl apply -f -` installs it; it is then picked up",
        )),
        Absence::Forbidden(reason) => Some(about(
            Severity::Error,
            "WatchForbidden",
            format!("may not be seen: {reason}"),
            "give the gateway's ServiceAccount get, list and watch for it (deploy/kubernetes/rbac.yaml)",
        )),
    }
}

#[cfg(test)]
mod tests;
