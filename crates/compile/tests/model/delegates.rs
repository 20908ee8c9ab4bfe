//! The model's delegates: a root VirtualService with the rules of others put in its place.

use std::collections::BTreeMap;

use crate::config::{HttpRule, Match, Text, VirtualService, World};

/// Every VirtualService with hosts, its delegate rules replaced by those of the delegates.
pub(crate) fn merged(world: &World) -> Vec<VirtualService> {
    let all: Vec<VirtualService> = world.virtual_services.iter().map(at_home).collect();
    let roots = all.iter().filter(|service| !service.hosts.is_empty());
    roots
        .map(|root| {
            let rules = root.http.iter().flat_map(|rule| match rule.delegate {
                None => vec![rule.clone()],
                Some((namespace, name)) => {
                    let namespace = namespace.unwrap_or(root.meta.namespace);
                    let delegate = all.iter().find(|other| {
                        other.hosts.is_empty()
                            && other.meta.namespace == namespace
                            && other.meta.name == name
                            && is_exported(other, root.meta.namespace)
                    });
                    let own = delegate.map(|delegate| delegate.http.as_slice()).unwrap_or_default();
                    // One level only: a delegate's own delegates are not followed.
                    let own = own.iter().filter(|own| own.delegate.is_none());
                    own.filter_map(|own| merge(rule, own)).collect()
                }
            });
            VirtualService { http: rules.collect(), ..root.clone() }
        })
        .collect()
}

/// Notes the namespace that short names are relative to, which merging must not change.
fn at_home(service: &VirtualService) -> VirtualService {
    let mut service = service.clone();
    let home = service.meta.namespace;
    for rule in &mut service.http {
        rule.matches.iter_mut().for_each(|entry| entry.home = home);
        rule.route.iter_mut().for_each(|destination| destination.home = home);
    }
    for rule in service.tls.iter_mut().chain(&mut service.tcp) {
        rule.route.iter_mut().for_each(|destination| destination.home = home);
    }
    service
}

fn is_exported(delegate: &VirtualService, to: &str) -> bool {
    let own = delegate.meta.namespace;
    delegate.export_to.is_empty()
        || delegate.export_to.iter().any(|name| *name == "*" || *name == to || (*name == "." && own == to))
}

/// A delegate's rule under a root's; None when their matches have nothing in common.
fn merge(root: &HttpRule, own: &HttpRule) -> Option<HttpRule> {
    let matches = if root.matches.is_empty() {
        own.matches.clone()
    } else if own.matches.is_empty() {
        root.matches.clone()
    } else {
        let mut out = Vec::new();
        for leaf in &own.matches {
            let compatible: Vec<_> = root.matches.iter().filter(|entry| !conflict(entry, leaf)).collect();
            if compatible.is_empty() {
                return None;
            }
            out.extend(compatible.into_iter().map(|entry| merge_match(entry, leaf)));
        }
        out
    };
    Some(HttpRule {
        name: joined(&root.name, &own.name),
        matches,
        delegate: None,
        route: own.route.clone(),
        redirect: own.redirect.clone(),
        respond: own.respond.or(root.respond),
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: own.timeout.or(root.timeout),
    })
}

fn joined(root: &str, own: &str) -> String {
    match (root, own) {
        ("", name) | (name, "") => name.to_owned(),
        (root, own) => format!("{root}-{own}"),
    }
}

fn merge_match(root: &Match, leaf: &Match) -> Match {
    let texts = |root: &BTreeMap<&'static str, Text>, leaf: &BTreeMap<&'static str, Text>| {
        let mut all = root.clone();
        all.extend(leaf.clone());
        all
    };
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(leaf.source_labels.clone());
    let gateways = if leaf.gateways.is_empty() { root } else { leaf };
    Match {
        name: joined(&root.name, &leaf.name),
        uri: leaf.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: leaf.ignore_uri_case,
        scheme: leaf.scheme.clone().or_else(|| root.scheme.clone()),
        method: leaf.method.clone().or_else(|| root.method.clone()),
        authority: leaf.authority.clone().or_else(|| root.authority.clone()),
        headers: texts(&root.headers, &leaf.headers),
        without: texts(&root.without, &leaf.without),
        query: texts(&root.query, &leaf.query),
        port: leaf.port.or(root.port),
        gateways: gateways.gateways.clone(),
        home: gateways.home,
        source_labels,
        source_namespace: leaf.source_namespace.or(root.source_namespace),
    }
}

fn conflict(root: &Match, leaf: &Match) -> bool {
    let own = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    if own.iter().any(|(root, leaf)| texts_conflict(root.as_ref(), leaf.as_ref())) {
        return true;
    }
    let named = [(&root.headers, &leaf.headers), (&root.without, &leaf.without), (&root.query, &leaf.query)];
    for (root, leaf) in named {
        if leaf.iter().any(|(name, text)| texts_conflict(root.get(name), Some(text))) {
            return true;
        }
    }
    let differing = |root: Option<u16>, leaf: Option<u16>| root.is_some() && leaf.is_some() && root != leaf;
    let labels = leaf
        .source_labels
        .iter()
        .any(|(key, value)| root.source_labels.get(key).is_some_and(|found| found != value));
    let gateways = |entry: &Match| crate::meaning::names(&entry.gateways, entry.home);
    let beyond = !root.gateways.is_empty()
        && !leaf.gateways.is_empty()
        && (root.gateways.len() < leaf.gateways.len()
            || gateways(leaf).iter().any(|name| !gateways(root).contains(name)));
    root.ignore_uri_case != leaf.ignore_uri_case
        || differing(root.port, leaf.port)
        || labels
        // Istio asks a delegate to repeat the namespace of its root.
        || (root.source_namespace.is_some() && root.source_namespace != leaf.source_namespace)
        || beyond
}

fn texts_conflict(root: Option<&Text>, leaf: Option<&Text>) -> bool {
    match (root, leaf) {
        (None, _) | (_, None) => false,
        (Some(Text::Exact(root)), Some(Text::Exact(leaf))) => root.is_empty() || root != leaf,
        (Some(Text::Prefix(root)), Some(Text::Exact(leaf) | Text::Prefix(leaf))) => {
            root.is_empty() || leaf.is_empty() || !leaf.starts_with(root)
        }
        // Regex beside anything, exact over a prefix; and an empty condition is compatible with none.
        _ => true,
    }
}
