//! Names: hosts and how they contain each other, short names, Gateway references, namespaces in front of hosts,
//! and who may see an object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use crate::objects::Key;

/// A host without any dot completed to `name.namespace.svc.domain`; every other one as it is (a name with one
/// dot counts as complete: routing reference §2.1).
pub(crate) fn qualified<'a>(host: &'a str, namespace: &str, domain: &str) -> Cow<'a, str> {
    if host.is_empty() || host == "*" || host.contains('.') || host.parse::<IpAddr>().is_ok() {
        return Cow::Borrowed(host);
    }
    Cow::Owned(format!("{host}.{namespace}.svc.{domain}"))
}

/// Whether every name that `inner` stands for is one that `outer` stands for.
pub(crate) fn subset_of(inner: &str, outer: &str) -> bool {
    match (inner.strip_prefix('*'), outer.strip_prefix('*')) {
        (Some(inner), Some(outer)) => inner.ends_with(outer),
        (None, Some(outer)) => inner.ends_with(outer),
        (Some(_), None) => false,
        (None, None) => inner == outer,
    }
}

/// Which Gateway `reference` in a VirtualService of `namespace` means; `None` for the mesh itself.
///
/// The form `name.namespace.svc…` is older than `namespace/name` and still understood.
pub(crate) fn gateway_reference(reference: &str, namespace: &str) -> Option<Key> {
    if reference == "mesh" {
        return None;
    }
    if let Some((space, name)) = reference.split_once('/') {
        let space = if space == "." { namespace } else { space };
        return Some((space.to_owned(), name.to_owned()));
    }
    let (name, space) = match reference.split_once('.') {
        None => (reference, namespace),
        Some((name, rest)) => (name, rest.split_once('.').map_or(rest, |(space, _)| space)),
    };
    Some((space.to_owned(), name.to_owned()))
}

/// How an object's `exportTo` reaches the namespace of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Visibility {
    /// By `.` or its own namespace: it lives beside the gateway.
    Private,
    /// By naming the gateway's namespace.
    Named,
    /// By `*`.
    Public,
}

/// Whether, and how, an object of `own` namespace is visible to a gateway in namespace `viewer`.
///
/// An empty `export_to` falls back to the mesh's `default`, and that to everyone.
pub(crate) fn visibility(
    export_to: &[String],
    default: &[String],
    own: &str,
    viewer: &str,
) -> Option<Visibility> {
    let effective = if export_to.is_empty() { default } else { export_to };
    if effective.is_empty() || effective.iter().any(|name| name == "*") {
        return Some(Visibility::Public);
    }
    if own == viewer {
        return effective.iter().any(|name| name == "." || name == own).then_some(Visibility::Private);
    }
    effective.iter().any(|name| name == viewer).then_some(Visibility::Named)
}

/// A host of a Gateway's server: `host`, or `namespace/host`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerHost {
    /// Only VirtualServices of this namespace may use it; `None` = any.
    pub(crate) namespace: Option<String>,
    /// The host, as written.
    pub(crate) host: String,
}

impl ServerHost {
    /// The hosts of a server of a Gateway in `namespace`, `.` and `*` replaced; `*/*` stands for the whole list.
    pub(crate) fn all(hosts: &[String], namespace: &str) -> Vec<Self> {
        if hosts.iter().any(|host| host == "*/*") {
            return vec![Self { namespace: None, host: "*".to_owned() }];
        }
        hosts.iter().map(|host| Self::one(host, namespace)).collect()
    }

    fn one(text: &str, own: &str) -> Self {
        match text.split_once('/') {
            None | Some(("*", _)) => {
                let host = text.strip_prefix("*/").unwrap_or(text);
                Self { namespace: None, host: host.to_owned() }
            }
            Some((space, host)) => {
                let space = if space == "." { own } else { space };
                Self { namespace: Some(space.to_owned()), host: host.to_owned() }
            }
        }
    }

    /// Whether VirtualServices of `namespace` may use it.
    pub(crate) fn admits(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// As Istio compares it with the hosts of other servers.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match &self.namespace {
            None => Cow::Borrowed(&self.host),
            Some(namespace) => Cow::Owned(format!("{namespace}/{}", self.host)),
        }
    }
}

/// The hosts of one or more servers, arranged so that asking for an exact name does not walk them all.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostSet {
    hosts: Vec<ServerHost>,
    /// From host to positions in `hosts`.
    index: HashMap<String, Vec<usize>>,
}

impl HostSet {
    /// Arranges `hosts`.
    pub(crate) fn new(hosts: Vec<ServerHost>) -> Self {
        let mut index: HashMap<String, Vec<usize>> = HashMap::with_capacity(hosts.len());
        for (position, host) in hosts.iter().enumerate() {
            index.entry(host.host.clone()).or_default().push(position);
        }
        Self { hosts, index }
    }

    /// The hosts in the order given.
    pub(crate) fn hosts(&self) -> &[ServerHost] {
        &self.hosts
    }

    /// The host names a VirtualService of `namespace` with `hosts` gets here: of each pair the narrower one.
    pub(crate) fn intersection(&self, hosts: &[Cow<'_, str>], namespace: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut add = |host: &str| {
            if !found.iter().any(|held| held == host) {
                found.push(host.to_owned());
            }
        };
        for host in hosts {
            if self.covers(host, namespace) {
                add(host);
            }
            // Only a wildcard can hold narrower names; those are few, so the walk is affordable.
            if host.starts_with('*') {
                let narrower = self.hosts.iter().filter(|own| own.admits(namespace));
                for own in narrower.filter(|own| subset_of(&own.host, host)) {
                    add(&own.host);
                }
            }
        }
        found
    }

    /// Whether one of the hosts stands for all that `host` stands for.
    fn covers(&self, host: &str, namespace: &str) -> bool {
        let admitted = |key: &str| {
            self.index
                .get(key)
                .is_some_and(|positions| positions.iter().any(|&at| self.hosts[at].admits(namespace)))
        };
        if admitted(host) || admitted("*") {
            return true;
        }
        let suffix = host.strip_prefix('*').unwrap_or(host);
        suffix.match_indices('.').any(|(dot, _)| admitted(&format!("*{}", &suffix[dot..])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (host, expected) in [
            ("reviews", "reviews.default.svc.cluster.local"),
            ("reviews.prod", "reviews.prod"),
            ("*", "*"),
            ("a.b.c", "a.b.c"),
            ("::1", "::1"),
        ] {
            assert_eq!(qualified(host, "default", "cluster.local"), expected, "{host}");
        }
    }

    #[test]
    fn gateway_references() {
        let key = |space: &str, name: &str| Some((space.to_owned(), name.to_owned()));
        for (reference, expected) in [
            ("mesh", None),
            ("gw", key("own", "gw")),
            ("./gw", key("own", "gw")),
            ("other/gw", key("other", "gw")),
            ("gw.other", key("other", "gw")),
            ("gw.other.svc.cluster.local", key("other", "gw")),
        ] {
            assert_eq!(gateway_reference(reference, "own"), expected, "{reference}");
        }
    }

    #[test]
    fn export_to() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (export_to, default, own, expected) in [
            (&[][..], &[][..], "app", Some(Visibility::Public)),
            (&[], &["."], "app", None),
            (&[], &["."], "gw", Some(Visibility::Private)),
            (&["*"], &["."], "app", Some(Visibility::Public)),
            (&["."], &[], "app", None),
            (&["."], &[], "gw", Some(Visibility::Private)),
            (&["gw"], &[], "app", Some(Visibility::Named)),
            (&["other"], &[], "app", None),
        ] {
            let found = visibility(&names(export_to), &names(default), own, "gw");
            assert_eq!(found, expected, "{export_to:?} {default:?} {own}");
        }
    }

    #[test]
    fn server_hosts_are_rewritten() {
        let hosts = |hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let all = ServerHost::all(&hosts, "own");
            all.iter().map(|host| host.text().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hosts(&["a.com", "./b.com", "*/c.com", "ns/*"]), ["a.com", "own/b.com", "c.com", "ns/*"]);
        assert_eq!(hosts(&["a.com", "*/*"]), ["*"]);
    }

    #[test]
    fn the_narrower_name_is_emitted() {
        let server = |hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
            HostSet::new(ServerHost::all(&hosts, "own"))
        };
        let meet = |own: &[&str], hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| Cow::Borrowed(*host)).collect();
            server(own).intersection(&hosts, "app")
        };
        assert_eq!(meet(&["a.foo.com"], &["*.foo.com"]), ["a.foo.com"]);
        assert_eq!(meet(&["*"], &["a.foo.com"]), ["a.foo.com"]);
        assert_eq!(meet(&["*.foo.com"], &["*.b.foo.com"]), ["*.b.foo.com"]);
        assert_eq!(meet(&["*.foo.com", "a.foo.com"], &["*"]), ["*.foo.com", "a.foo.com"]);
        assert_eq!(meet(&["a.com"], &["b.com"]), [""; 0]);
        assert_eq!(meet(&["other/a.com"], &["a.com"]), [""; 0]);
        assert_eq!(meet(&["app/a.com"], &["a.com"]), ["a.com"]);
    }

    proptest! {
        /// The index says what comparing every pair says.
        #[test]
        fn intersection_is_what_all_pairs_give(
            own in proptest::collection::vec("(app/|b/)?(\\*|\\*\\.a|\\*\\.b\\.a|x\\.a|x\\.b\\.a|b\\.a)", 0..6),
            hosts in proptest::collection::vec("\\*|\\*\\.a|\\*\\.b\\.a|x\\.a|x\\.b\\.a|b\\.a", 0..4),
        ) {
            let all = ServerHost::all(&own, "own");
            let mut naive = Vec::new();
            for host in &hosts {
                for own in all.iter().filter(|own| own.admits("app")) {
                    if subset_of(&own.host, host) {
                        naive.push(own.host.clone());
                    } else if subset_of(host, &own.host) {
                        naive.push(host.clone());
                    }
                }
            }
            naive.sort();
            naive.dedup();
            let hosts: Vec<_> = hosts.iter().map(|host| Cow::Borrowed(host.as_str())).collect();
            let mut found = HostSet::new(all).intersection(&hosts, "app");
            found.sort();
            prop_assert_eq!(found, naive);
        }
    }
}
