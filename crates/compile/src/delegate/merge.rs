//! One rule of a delegate, narrowed by the rule of the root that leads to it.

use portcullis_api::Map;
use portcullis_api::networking::{HttpMatchRequest, HttpRoute};
use portcullis_api::wire::StringMatch;

/// The merged rule; `None` when one of the delegate's matches fits no match of the root. Names of Gateways must
/// be complete in both: they are compared, and either may stay.
pub(super) fn rule(root: &HttpRoute, delegate: &HttpRoute) -> Option<HttpRoute> {
    let matches = matches(&root.matches, &delegate.matches)?;
    let mut merged = delegate.clone();
    merged.matches = matches;
    merged.name = joined(root.name.as_deref(), delegate.name.as_deref());
    // Whole fields: what the delegate sets, it sets alone.
    inherit(&mut merged.rewrite, &root.rewrite);
    inherit(&mut merged.direct_response, &root.direct_response);
    inherit(&mut merged.timeout, &root.timeout);
    inherit(&mut merged.retries, &root.retries);
    inherit(&mut merged.fault, &root.fault);
    inherit(&mut merged.mirror, &root.mirror);
    inherit(&mut merged.mirror_percent, &root.mirror_percent);
    inherit(&mut merged.mirror_percent_snake, &root.mirror_percent_snake);
    inherit(&mut merged.mirror_percentage, &root.mirror_percentage);
    inherit(&mut merged.cors_policy, &root.cors_policy);
    inherit(&mut merged.headers, &root.headers);
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&root.mirrors);
    }
    Some(merged)
}

fn inherit<T: Clone>(field: &mut Option<T>, root: &Option<T>) {
    if field.is_none() {
        field.clone_from(root);
    }
}

fn joined(root: Option<&str>, delegate: Option<&str>) -> Option<String> {
    let filled = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    match (filled(root), filled(delegate)) {
        (Some(root), Some(delegate)) => Some(format!("{root}-{delegate}")),
        (root, delegate) => delegate.or(root),
    }
}

/// Every delegate match with every root match it fits, delegate outside, root inside.
fn matches(root: &[HttpMatchRequest], delegate: &[HttpMatchRequest]) -> Option<Vec<HttpMatchRequest>> {
    if root.is_empty() {
        return Some(delegate.to_vec());
    }
    if delegate.is_empty() {
        return Some(root.to_vec());
    }
    let mut merged = Vec::new();
    for leaf in delegate {
        let before = merged.len();
        let fitting = root.iter().filter(|root| !conflict(root, leaf));
        merged.extend(fitting.map(|root| merge(root, leaf)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge(root: &HttpMatchRequest, leaf: &HttpMatchRequest) -> HttpMatchRequest {
    HttpMatchRequest {
        name: joined(root.name.as_deref(), leaf.name.as_deref()).map(Into::into),
        uri: either(&leaf.uri, &root.uri),
        scheme: either(&leaf.scheme, &root.scheme),
        method: either(&leaf.method, &root.method),
        authority: either(&leaf.authority, &root.authority),
        headers: both(&root.headers, &leaf.headers),
        without_headers: both(&root.without_headers, &leaf.without_headers),
        query_params: both(&root.query_params, &leaf.query_params),
        port: port(leaf).or_else(|| port(root)),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
        source_labels: both(&root.source_labels, &leaf.source_labels),
        source_namespace: leaf.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        ignore_uri_case: leaf.ignore_uri_case,
        stat_prefix: leaf.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

fn either<T: Clone>(leaf: &Option<T>, root: &Option<T>) -> Option<T> {
    leaf.clone().or_else(|| root.clone())
}

fn both<T: Clone>(root: &Map<T>, leaf: &Map<T>) -> Map<T> {
    let mut all = root.clone();
    all.extend(leaf.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

fn port(entry: &HttpMatchRequest) -> Option<u32> {
    entry.port.filter(|&port| port != 0)
}

fn conflict(root: &HttpMatchRequest, leaf: &HttpMatchRequest) -> bool {
    let texts = [
        (root.uri.as_ref(), leaf.uri.as_ref()),
        (root.scheme.as_deref(), leaf.scheme.as_deref()),
        (root.method.as_deref(), leaf.method.as_deref()),
        (root.authority.as_deref(), leaf.authority.as_deref()),
    ];
    texts.iter().any(|(root, leaf)| text_conflict(*root, *leaf))
        || map_conflict(&root.headers, &leaf.headers)
        || map_conflict(&root.without_headers, &leaf.without_headers)
        || map_conflict(&root.query_params, &leaf.query_params)
        || root.ignore_uri_case.unwrap_or(false) != leaf.ignore_uri_case.unwrap_or(false)
        || matches!((port(root), port(leaf)), (Some(root), Some(leaf)) if root != leaf)
        || source_conflict(root, leaf)
}

fn source_conflict(root: &HttpMatchRequest, leaf: &HttpMatchRequest) -> bool {
    let labels = leaf
        .source_labels
        .iter()
        .any(|(name, value)| root.source_labels.get(name).is_some_and(|own| own != value));
    // A delegate has to repeat the namespace of its root (Istio's `hasConflict`).
    let filled = |text: &Option<Box<str>>| text.clone().filter(|text| !text.is_empty());
    let namespace = filled(&root.source_namespace);
    let namespaces = namespace.is_some() && namespace != filled(&leaf.source_namespace);
    let gateways = !root.gateways.is_empty()
        && (root.gateways.len() < leaf.gateways.len()
            || leaf.gateways.iter().any(|name| !root.gateways.contains(name)));
    labels || namespaces || gateways
}

fn map_conflict(root: &Map<StringMatch>, leaf: &Map<StringMatch>) -> bool {
    leaf.iter().any(|(name, value)| text_conflict(root.get(name), Some(value)))
}

/// Whether the leaf asks for something the root does not let through, as far as Istio can tell.
fn text_conflict(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> bool {
    let (Some(root), Some(leaf)) = (root, leaf) else { return false };
    let filled = |text: &Option<Box<str>>| text.clone().filter(|text| !text.is_empty());
    if filled(&root.regex).is_some() || filled(&leaf.regex).is_some() {
        return true;
    }
    let (leaf_exact, leaf_prefix) = (filled(&leaf.exact), filled(&leaf.prefix));
    if let Some(exact) = filled(&root.exact) {
        return leaf_prefix.is_some() || leaf_exact.as_ref() != Some(&exact);
    }
    match (filled(&root.prefix), leaf_prefix.or(leaf_exact)) {
        (Some(prefix), Some(leaf)) => !leaf.starts_with(&*prefix),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(kind: &str, text: &str) -> HttpMatchRequest {
        let text = Some(text.into());
        let uri = match kind {
            "exact" => StringMatch { exact: text, ..StringMatch::default() },
            "prefix" => StringMatch { prefix: text, ..StringMatch::default() },
            _ => StringMatch { regex: text, ..StringMatch::default() },
        };
        HttpMatchRequest { uri: Some(uri), ..HttpMatchRequest::default() }
    }

    #[test]
    fn conflicts_of_paths() {
        for (root, leaf, expected) in [
            (("prefix", "/a"), ("prefix", "/a/b"), false),
            (("prefix", "/a"), ("exact", "/a/b"), false),
            (("prefix", "/a/b"), ("prefix", "/a"), true),
            (("exact", "/a"), ("exact", "/a"), false),
            (("exact", "/a"), ("exact", "/b"), true),
            (("exact", "/a"), ("prefix", "/a"), true),
            (("prefix", "/"), ("regex", "/a"), true),
            (("regex", "/a"), ("exact", "/a"), true),
        ] {
            assert_eq!(conflict(&uri(root.0, root.1), &uri(leaf.0, leaf.1)), expected, "{root:?} {leaf:?}");
        }
    }

    #[test]
    fn one_misfit_drops_the_whole_rule() {
        let root = HttpRoute { matches: vec![uri("prefix", "/a")], ..HttpRoute::default() };
        let fits = HttpRoute { matches: vec![uri("prefix", "/a/b")], ..HttpRoute::default() };
        let misfit =
            HttpRoute { matches: vec![uri("prefix", "/a/b"), uri("prefix", "/c")], ..HttpRoute::default() };
        assert_eq!(rule(&root, &fits).map(|rule| rule.matches), Some(vec![uri("prefix", "/a/b")]));
        assert_eq!(rule(&root, &misfit), None);
        assert_eq!(rule(&root, &HttpRoute::default()).map(|rule| rule.matches), Some(root.matches.clone()));
    }

    #[test]
    fn names_are_joined() {
        assert_eq!(joined(Some("root"), Some("leaf")).as_deref(), Some("root-leaf"));
        assert_eq!(joined(None, Some("leaf")).as_deref(), Some("leaf"));
        assert_eq!(joined(Some("root"), None).as_deref(), Some("root"));
    }
}
