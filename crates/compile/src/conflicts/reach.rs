//! Routes that no request can reach, since an earlier route of the same virtual host takes all of theirs.
//!
//! The answer is sound and not complete: what is reported is surely unreachable, but a route that several
//! earlier ones cover only together is not found. [`covers`] decides; the index only keeps the number of pairs
//! it is asked about near linear.

use std::collections::HashMap;

use portcullis_snapshot::Route;
use portcullis_snapshot::matcher::{NamedMatch, PathMatch, RouteMatcher, StringMatch, Without};
use portcullis_snapshot::prefix_trie::PrefixTrie;

/// Virtual hosts up to this many routes are compared pair by pair.
const SMALL: usize = 16;

/// Earlier routes a single route of a larger virtual host is compared with, at most.
const MAX_CANDIDATES: usize = 64;

/// A route and the one that takes its requests, as positions in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed {
    /// The route that is never chosen.
    pub ordinal: usize,
    /// The first route found that takes all its requests.
    pub by: usize,
}

/// The routes of a virtual host that are never chosen, in order.
#[must_use]
pub fn shadowed(routes: &[Route]) -> Vec<Shadowed> {
    let matchers: Vec<&RouteMatcher> = routes.iter().map(|route| &route.matcher).collect();
    shadowed_matchers(&matchers)
}

fn shadowed_matchers(matchers: &[&RouteMatcher]) -> Vec<Shadowed> {
    let mut found = Vec::new();
    if matchers.len() <= SMALL {
        for (ordinal, narrow) in matchers.iter().enumerate().skip(1) {
            if let Some(by) = matchers[..ordinal].iter().position(|wide| covers(wide, narrow)) {
                found.push(Shadowed { ordinal, by });
            }
        }
        return found;
    }
    let mut index = Earlier::default();
    for (ordinal, narrow) in (0u32..).zip(matchers) {
        let covering = |at: &u32| covers(matchers[*at as usize], narrow);
        match index.candidates(&narrow.path).iter().find(|at| covering(at)) {
            Some(&by) => found.push(Shadowed { ordinal: ordinal as usize, by: by as usize }),
            // What an unreachable route covers, the route that covers it does, too.
            None => index.add(&narrow.path, ordinal),
        }
    }
    found
}

/// Routes seen so far, by their path conditions.
#[derive(Default)]
struct Earlier {
    any: Vec<u32>,
    exact: HashMap<String, Vec<u32>>,
    exact_ignore_case: HashMap<String, Vec<u32>>,
    prefix: PrefixTrie,
    prefix_ignore_case: PrefixTrie,
    regex: HashMap<String, Vec<u32>>,
    regexes: Vec<u32>,
}

impl Earlier {
    fn add(&mut self, path: &PathMatch, ordinal: u32) {
        match path {
            PathMatch::Any => self.any.push(ordinal),
            PathMatch::Exact(text) => self.exact.entry(text.to_string()).or_default().push(ordinal),
            PathMatch::ExactIgnoreCase(text) => {
                self.exact_ignore_case.entry(text.to_string()).or_default().push(ordinal);
            }
            PathMatch::Prefix(text) => self.prefix.insert(text.as_bytes(), ordinal),
            PathMatch::PrefixIgnoreCase(text) => self.prefix_ignore_case.insert(text.as_bytes(), ordinal),
            PathMatch::Regex(regex) => {
                match literal_start(regex.as_str()) {
                    Some((literal, true)) => self.prefix.insert(literal.as_bytes(), ordinal),
                    _ => self.regexes.push(ordinal),
                }
                self.regex.entry(regex.as_str().to_owned()).or_default().push(ordinal);
            }
        }
    }

    /// Routes that may cover a route with this path condition, the earliest first and bounded in number.
    fn candidates(&self, path: &PathMatch) -> Vec<u32> {
        let mut found: Vec<u32> = self.any.iter().take(MAX_CANDIDATES).copied().collect();
        let mut take = |ordinals: &[u32]| found.extend(ordinals.iter().take(MAX_CANDIDATES));
        let text = known_start(path);
        self.prefix.visit(text.as_bytes(), |ordinals| take(ordinals));
        let lower = text.to_ascii_lowercase();
        self.prefix_ignore_case.visit(lower.as_bytes(), |ordinals| take(ordinals));
        match path {
            PathMatch::Exact(text) => {
                self.exact.get(&**text).into_iter().for_each(|ordinals| take(ordinals));
                take(&self.regexes);
            }
            PathMatch::Regex(regex) => {
                self.regex.get(regex.as_str()).into_iter().for_each(|ordinals| take(ordinals));
            }
            _ => {}
        }
        if matches!(path, PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_)) {
            self.exact_ignore_case.get(&lower).into_iter().for_each(|ordinals| take(ordinals));
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_CANDIDATES);
        found
    }
}

/// Whether every request that meets `narrow` surely meets `wide`. It may say no where the answer is yes.
pub(super) fn covers(wide: &RouteMatcher, narrow: &RouteMatcher) -> bool {
    // Written out, so that a new kind of condition cannot be forgotten here.
    let RouteMatcher { path, method, scheme, authority, headers, without, query } = wide;
    let text = |wide: &Option<Box<StringMatch>>, narrow: &Option<Box<StringMatch>>| match (wide, narrow) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => implies(narrow, wide),
        (Some(_), None) => false,
    };
    covers_path(path, &narrow.path)
        && text(method, &narrow.method)
        && text(scheme, &narrow.scheme)
        && text(authority, &narrow.authority)
        && headers.iter().all(|condition| required(condition, &narrow.headers))
        && without.iter().all(|condition| excluded(condition, narrow))
        && query.iter().all(|condition| required(condition, &narrow.query))
}

/// Whether one of `conditions` asks for all that `wanted` asks for.
fn required(wanted: &NamedMatch, conditions: &[NamedMatch]) -> bool {
    conditions.iter().any(|own| own.name == wanted.name && implies(&own.value, &wanted.value))
}

/// Whether a request that meets `narrow` surely meets the negative condition.
fn excluded(wanted: &Without, narrow: &RouteMatcher) -> bool {
    match wanted {
        Without::Absent(name) => {
            narrow.without.iter().any(|own| matches!(own, Without::Absent(other) if other == name))
        }
        Without::Unlike(NamedMatch { name, value }) => {
            // An absent header counts as the empty text here. What `narrow` wants of a header says nothing: one line
            // may be as it wants, and another as this does not.
            narrow.without.iter().any(|own| match own {
                Without::Absent(other) => other == name && !value.matches(b""),
                Without::Unlike(own) => own.name == *name && implies(value, &own.value),
            })
        }
    }
}

/// Whether every value that meets `narrow` surely meets `wide`.
fn implies(narrow: &StringMatch, wide: &StringMatch) -> bool {
    match (narrow, wide) {
        (_, StringMatch::Present) => true,
        (StringMatch::Exact(text), wide) => wide.matches(text.as_bytes()),
        (StringMatch::Prefix(narrow), StringMatch::Prefix(wide)) => narrow.starts_with(&**wide),
        (StringMatch::Regex(narrow), StringMatch::Regex(wide)) => narrow.as_str() == wide.as_str(),
        _ => false,
    }
}

fn covers_path(wide: &PathMatch, narrow: &PathMatch) -> bool {
    if is_every_path(wide) {
        return true;
    }
    match (wide, narrow) {
        (PathMatch::Any, _) => true,
        (PathMatch::Exact(wide), PathMatch::Exact(narrow)) => wide == narrow,
        (PathMatch::Exact(_), _) => false,
        (PathMatch::ExactIgnoreCase(wide), PathMatch::Exact(narrow) | PathMatch::ExactIgnoreCase(narrow)) => {
            narrow.eq_ignore_ascii_case(wide)
        }
        (PathMatch::ExactIgnoreCase(_), _) => false,
        (PathMatch::Prefix(wide), narrow) => starts_with(narrow, wide),
        (PathMatch::PrefixIgnoreCase(wide), narrow) => {
            known_start(narrow).to_ascii_lowercase().starts_with(&**wide)
        }
        (PathMatch::Regex(wide), narrow) => {
            let as_prefix = match literal_start(wide.as_str()) {
                Some((literal, true)) => starts_with(narrow, literal),
                _ => false,
            };
            as_prefix
                || match narrow {
                    PathMatch::Exact(text) => wide.is_match(text.as_bytes()),
                    PathMatch::Regex(narrow) => wide.as_str() == narrow.as_str(),
                    _ => false,
                }
        }
    }
}

/// Whether every path that meets `narrow` starts with `prefix`, letter case included.
fn starts_with(narrow: &PathMatch, prefix: &str) -> bool {
    let cased = matches!(narrow, PathMatch::ExactIgnoreCase(_) | PathMatch::PrefixIgnoreCase(_));
    known_start(narrow).starts_with(prefix)
        && !(cased && prefix.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// Whether every path passes: each one starts with `/` (`path::normalize` refuses the others).
fn is_every_path(path: &PathMatch) -> bool {
    match path {
        PathMatch::Any => true,
        PathMatch::Prefix(text) | PathMatch::PrefixIgnoreCase(text) => matches!(&**text, "" | "/"),
        PathMatch::Regex(regex) => matches!(literal_start(regex.as_str()), Some(("" | "/", true))),
        PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_) => false,
    }
}

/// The text that every path meeting the condition starts with; in lower case where case is ignored.
fn known_start(path: &PathMatch) -> &str {
    let start = match path {
        PathMatch::Any => "",
        PathMatch::Exact(text)
        | PathMatch::ExactIgnoreCase(text)
        | PathMatch::Prefix(text)
        | PathMatch::PrefixIgnoreCase(text) => text,
        PathMatch::Regex(regex) => literal_start(regex.as_str()).map_or("", |(literal, _)| literal),
    };
    // Whatever the condition says, a path starts with a slash.
    if start.is_empty() { "/" } else { start }
}

/// The literal text an anchored expression starts with, and whether nothing but `.*` follows, which makes it a
/// prefix. `None` where that cannot be told at a glance.
fn literal_start(anchored: &str) -> Option<(&str, bool)> {
    let pattern = anchored.strip_prefix("^(?:")?.strip_suffix(")$")?;
    // An alternative or a flag may change what the first letters mean.
    if pattern.contains('|') || pattern.contains("(?") {
        return None;
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_~:=@!,;%".contains(byte);
    let length = pattern.as_bytes().iter().take_while(|byte| plain(byte)).count();
    let (literal, rest) = pattern.split_at(length);
    match rest.bytes().next() {
        // A quantifier belongs to the last letter.
        Some(b'*' | b'?' | b'{' | b'+') => Some((&literal[..length.checked_sub(1)?], false)),
        _ => Some((literal, rest == ".*")),
    }
}

#[cfg(test)]
mod tests;
