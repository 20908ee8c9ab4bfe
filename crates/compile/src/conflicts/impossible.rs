//! Conditions that no request of any client can meet.

use http::{HeaderName, Method};
use portcullis_snapshot::matcher::{PathMatch, RouteMatcher, StringMatch, Without};
use portcullis_snapshot::path;
use portcullis_snapshot::settings::PathNormalization;

/// What is known of the requests a route sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// How paths are normalised before they are compared.
    pub(super) level: PathNormalization,
    /// Whether a request may come with scheme `http`, and with `https`.
    pub(super) schemes: (bool, bool),
}

/// The condition that cannot hold, as a field of the match entry, with the reason.
pub(super) fn reason(matcher: &RouteMatcher, traffic: Traffic) -> Option<(String, String)> {
    let path = path_reason(&matcher.path, traffic.level).map(|why| ("uri".to_owned(), why));
    path.or_else(|| method(matcher)).or_else(|| scheme(matcher, traffic)).or_else(|| header(matcher))
}

fn method(matcher: &RouteMatcher) -> Option<(String, String)> {
    let Some(StringMatch::Exact(text)) = matcher.method.as_deref() else { return None };
    let valid = Method::from_bytes(text.as_bytes()).is_ok();
    (!valid).then(|| ("method".to_owned(), format!("{text:?} is no method that HTTP allows")))
}

fn scheme(matcher: &RouteMatcher, traffic: Traffic) -> Option<(String, String)> {
    let condition = matcher.scheme.as_ref()?;
    let (http, https) = traffic.schemes;
    let possible = (http && condition.matches(b"http")) || (https && condition.matches(b"https"));
    let here = match (http, https) {
        (true, false) => "requests come in plaintext, so their scheme is http",
        (false, true) => "requests come in TLS, so their scheme is https",
        _ => "a request's scheme is http or https",
    };
    (!possible).then(|| ("scheme".to_owned(), format!("{here}, and scheme{condition} is asked for")))
}

fn header(matcher: &RouteMatcher) -> Option<(String, String)> {
    for condition in &matcher.headers {
        let name = &condition.name;
        let known = matches!(&**name, ":method" | ":scheme" | ":authority" | ":path");
        // A name with an at sign stands for a claim.
        if !known && !name.starts_with('@') && HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Some((format!("headers[{name:?}]"), "is no name a header can have".to_owned()));
        }
        let absent = |own: &Without| matches!(own, Without::Absent(other) if other == name);
        if matcher.without.iter().any(absent) {
            let why = "must be present and, by withoutHeaders, absent".to_owned();
            return Some((format!("headers[{name:?}]"), why));
        }
    }
    None
}

fn path_reason(condition: &PathMatch, level: PathNormalization) -> Option<String> {
    let (text, whole) = match condition {
        PathMatch::Exact(text) | PathMatch::ExactIgnoreCase(text) => (text, true),
        PathMatch::Prefix(text) | PathMatch::PrefixIgnoreCase(text) => (text, false),
        PathMatch::Any | PathMatch::Regex(_) => return None,
    };
    if text.is_empty() && !whole {
        return None;
    }
    if !text.starts_with('/') {
        return Some(format!("{text:?} does not start with a slash, as every path does"));
    }
    if let Some(mark) = text.chars().find(|mark| matches!(mark, '?' | '#')) {
        return Some(format!("{text:?} holds {mark:?}, which ends a path: query strings are not part of it"));
    }
    if level == PathNormalization::None {
        return None;
    }
    // The last segment of a prefix may go on.
    let segments: Vec<&str> = text.split('/').collect();
    let complete = if whole { &segments[..] } else { &segments[..segments.len() - 1] };
    if complete.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Some(format!("{text:?} holds a dot segment: paths are normalised before they are compared"));
    }
    if level >= PathNormalization::MergeSlashes && text.contains("//") {
        return Some(format!("{text:?} holds //, and the mesh merges slashes before paths are compared"));
    }
    let changed = |letter: &char| path::is_changed_by_normalization(*letter);
    text.chars().find(changed).map(|letter| {
        format!("{text:?} holds {letter:?}, which never stands in a path as itself after normalisation")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        use PathNormalization::{Base, MergeSlashes, None as Off};
        let exact = |text: &str| PathMatch::Exact(text.into());
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        for (condition, level, impossible) in [
            (exact("/a"), Base, false),
            (exact("a"), Base, true),
            (exact(""), Base, true),
            (prefix(""), Base, false),
            (prefix("api"), Off, true),
            (exact("/a?b"), Base, true),
            (prefix("/a#"), Base, true),
            (exact("/a/../b"), Base, true),
            (exact("/a/../b"), Off, false),
            (exact("/a/.."), Base, true),
            (prefix("/a/.."), Base, false),
            (exact("/a.."), Base, false),
            (prefix("/a/./"), Base, true),
            (exact("/a//b"), Base, false),
            (exact("/a//b"), MergeSlashes, true),
            (exact("/a b"), Base, true),
            (exact("/{id}"), Base, true),
            (exact("/a\\b"), Base, true),
            (exact("/a%20b"), Base, false),
            (exact("/caf\u{e9}"), Base, true),
        ] {
            assert_eq!(path_reason(&condition, level).is_some(), impossible, "{condition} {level:?}");
        }
    }

    proptest::proptest! {
        /// No path that arrives, in whatever spelling, meets a condition that is called impossible.
        #[test]
        fn the_impossible_never_arrives(
            text in "/?[a-c./%2{| \\\\?#]{0,8}", raw in "/[a-c./%2eE5{| \\\\]{0,10}", whole in proptest::bool::ANY,
        ) {
            use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Off};
            let condition = if whole { PathMatch::Exact(text.into()) } else { PathMatch::Prefix(text.into()) };
            for level in [Off, Base, MergeSlashes, DecodeAndMergeSlashes] {
                if path_reason(&condition, level).is_some()
                    && let Ok(arrived) = path::normalize(&raw, level)
                {
                    proptest::prop_assert!(!condition.matches(&arrived), "{condition} {arrived} {level:?}");
                }
            }
        }
    }
}
