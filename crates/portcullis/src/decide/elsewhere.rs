//! Names beside the one asked for: which pattern took it, and on which other ports it is served.

use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::listener::ChainService;
use portcullis_snapshot::{Listener, Snapshot};

use super::declared;

/// The pattern that `name` is held by: itself, else the longest wildcard, else `*`.
pub(super) fn pattern<T>(index: &HostIndex<T>, name: Option<&str>) -> Option<String> {
    let patterns = index.sorted().into_iter().map(|(pattern, _)| pattern);
    let Some(name) = name else { return patterns.into_iter().find(|pattern| pattern == "*") };
    // An exact name beats every wildcard, whatever their length.
    patterns.filter(|pattern| takes(pattern, name)).max_by_key(|pattern| (pattern == name, pattern.len()))
}

/// Whether `pattern` takes `name`, both in lower case.
pub(super) fn takes(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => pattern == name,
    }
}

/// The ports other than `not` on which `host` has a server or virtual host of its own, `*` aside.
pub(super) fn ports(snapshot: &Snapshot, host: &str, not: u16) -> Vec<String> {
    let listeners = snapshot.listeners.iter().filter(|listener| declared(listener) != not);
    let ports = listeners.filter_map(|listener| Some((declared(listener), how(listener, host)?)));
    ports.map(|(port, how)| format!("port {port} ({how})")).collect()
}

fn how(listener: &Listener, host: &str) -> Option<&'static str> {
    if listener.tls.find_specific(host).is_some() {
        return Some("TLS");
    }
    let chain = listener.plain.as_ref()?;
    match &chain.service {
        ChainService::Http(table) => table.hosts.find_specific(host).map(|_| "plaintext HTTP"),
        ChainService::Tcp(_) | ChainService::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_pattern_takes_a_name() {
        let mut index = HostIndex::default();
        for pattern in ["a.b.com", "*.b.com", "*.com", "*"] {
            index.insert(pattern, ()).expect("a free pattern");
        }
        for (name, taken_by) in
            [("a.b.com", "a.b.com"), ("x.y.b.com", "*.b.com"), ("b.com", "*.com"), ("org", "*")]
        {
            assert_eq!(pattern(&index, Some(name)).as_deref(), Some(taken_by), "{name}");
        }
        assert_eq!(pattern(&index, None).as_deref(), Some("*"));
        assert!(!takes("*.b.com", ".b.com") && !takes("*.b.com", "ab.com"));
    }
}
