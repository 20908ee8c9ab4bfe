//! Host look-up: exact names, then the longest wildcard suffix, then `*`.
//!
//! Serves virtual hosts (Host header) and filter chains (SNI) alike. Cost depends on the number of
//! labels in the name asked for, never on the number of names held.

use std::borrow::Cow;
use std::sync::Arc;

use crate::FastMap;

/// Longest host name looked at, in bytes (RFC 1035 §2.3.4 allows 255); longer ones only match `*`.
pub const MAX_HOST: usize = 255;

/// A map from host patterns to values. Cloning shares the patterns.
#[derive(Debug, Clone)]
pub struct HostIndex<T> {
    exact: FastMap<Arc<str>, T>,
    /// Keyed by the suffix with its leading dot: `*.foo.com` is held as `.foo.com`.
    wildcard: FastMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: FastMap::default(), wildcard: FastMap::default(), any: None }
    }
}

impl<T> HostIndex<T> {
    /// Adds `pattern` (`foo.com`, `*.foo.com` or `*`, lower case) unless it is already held.
    ///
    /// # Errors
    /// Gives the value back when the pattern is taken: the first one stays.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<(), T> {
        if pattern == "*" {
            if self.any.is_some() {
                return Err(value);
            }
            self.any = Some(value);
            return Ok(());
        }
        let (map, key) = match pattern.strip_prefix('*') {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, pattern),
        };
        if map.contains_key(key) {
            return Err(value);
        }
        map.insert(key.into(), value);
        Ok(())
    }

    /// Makes room for so many names more.
    pub fn reserve(&mut self, names: usize) {
        self.exact.reserve(names);
    }

    /// Puts `value` in the place of `pattern`, whether that is held or not.
    pub fn set(&mut self, pattern: &str, value: T) {
        let (map, key) = match (pattern, pattern.strip_prefix('*')) {
            ("*", _) => {
                self.any = Some(value);
                return;
            }
            (_, Some(suffix)) => (&mut self.wildcard, suffix),
            (_, None) => (&mut self.exact, pattern),
        };
        match map.get_mut(key) {
            Some(held) => *held = value,
            None => {
                map.insert(key.into(), value);
            }
        }
    }

    /// Takes `pattern` out.
    pub fn remove(&mut self, pattern: &str) {
        match (pattern, pattern.strip_prefix('*')) {
            ("*", _) => self.any = None,
            (_, Some(suffix)) => drop(self.wildcard.remove(suffix)),
            (_, None) => drop(self.exact.remove(pattern)),
        }
    }

    /// The value for `host`, which must be lower case and without a port.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&T> {
        self.find_specific(host).or(self.any.as_ref())
    }

    /// As [`find`](Self::find), leaving `*` out.
    #[must_use]
    pub fn find_specific(&self, host: &str) -> Option<&T> {
        if host.len() > MAX_HOST {
            return None;
        }
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        // Left to right, so the longest suffix is asked for first. A wildcard stands for at least
        // one character, hence position 0 is skipped.
        let dots = memchr::memchr_iter(b'.', host.as_bytes()).filter(|&dot| dot > 0);
        dots.into_iter().find_map(|dot| self.wildcard.get(&host[dot..]))
    }

    /// The value held for exactly this pattern.
    #[must_use]
    pub fn pattern(&self, pattern: &str) -> Option<&T> {
        if pattern == "*" {
            return self.any.as_ref();
        }
        match pattern.strip_prefix('*') {
            Some(suffix) => self.wildcard.get(suffix),
            None => self.exact.get(pattern),
        }
    }

    /// The value for names that nothing else matches.
    #[must_use]
    pub fn any(&self) -> Option<&T> {
        self.any.as_ref()
    }

    /// Whether no pattern is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_none()
    }

    /// How many patterns are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len() + usize::from(self.any.is_some())
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(&self.any)
    }

    /// Every value, to be changed, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.wildcard.values_mut()).chain(&mut self.any)
    }

    /// Every pattern, in no order; a text is only made when it is reached.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let exact = self.exact.keys().map(|name| name.to_string());
        let wildcard = self.wildcard.keys().map(|suffix| format!("*{suffix}"));
        exact.chain(wildcard).chain(self.any.iter().map(|_| "*".to_owned()))
    }

    /// Every pattern with its value, sorted by pattern, for people and tests.
    #[must_use]
    pub fn sorted(&self) -> Vec<(String, &T)> {
        let exact = self.exact.iter().map(|(name, value)| (name.to_string(), value));
        let wildcard = self.wildcard.iter().map(|(suffix, value)| (format!("*{suffix}"), value));
        let any = self.any.iter().map(|value| ("*".to_owned(), value));
        let mut all: Vec<_> = exact.chain(wildcard).chain(any).collect();
        all.sort_by(|left, right| left.0.cmp(&right.0));
        all
    }
}

/// The host part of an authority: the port is cut off, IPv6 brackets stay.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    let digits = authority.bytes().rev().take_while(u8::is_ascii_digit).count();
    let Some(host) = authority[..authority.len() - digits].strip_suffix(':') else { return authority };
    // `::1` without brackets is no host:port pair.
    if host.bytes().any(|byte| byte == b':') && !host.ends_with(']') { authority } else { host }
}

/// The host part of an authority as it is looked up: without its port, in lower case.
#[must_use]
pub fn looked_up(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(patterns: &[&'static str]) -> HostIndex<&'static str> {
        let mut index = HostIndex::default();
        for pattern in patterns {
            let _ = index.insert(pattern, *pattern);
        }
        index
    }

    #[test]
    fn exact_then_longest_suffix_then_any() {
        let index = index(&["a.foo.com", "*.foo.com", "*.b.foo.com", "*"]);
        for (host, expected) in [
            ("a.foo.com", "a.foo.com"),
            ("x.foo.com", "*.foo.com"),
            ("x.b.foo.com", "*.b.foo.com"),
            ("b.foo.com", "*.foo.com"),
            ("foo.com", "*"),
            (".foo.com", "*"),
            ("foo.com.", "*"),
            ("", "*"),
        ] {
            assert_eq!(index.find(host), Some(&expected), "{host}");
        }
    }

    #[test]
    fn first_one_in_stays() {
        let mut index = index(&["a.com"]);
        assert_eq!(index.insert("a.com", "other"), Err("other"));
        assert_eq!(index.find("a.com"), Some(&"a.com"));
        assert_eq!(index.find("b.com"), None);
    }

    #[test]
    fn a_pattern_is_replaced_and_taken_out_alone() {
        let patterns = ["a.com", "*.com", "*"];
        for pattern in patterns {
            let mut index = index(&patterns);
            index.set(pattern, "new");
            assert_eq!((index.pattern(pattern), index.len()), (Some(&"new"), 3));
            index.remove(pattern);
            assert_eq!((index.pattern(pattern), index.len()), (None, 2));
            index.set(pattern, "again");
            assert_eq!((index.pattern(pattern), index.len()), (Some(&"again"), 3));
        }
    }

    #[test]
    fn port_is_cut_off() {
        for (authority, host) in [
            ("foo.com:8080", "foo.com"),
            ("foo.com", "foo.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("foo.com:x", "foo.com:x"),
            ("foo.com:", "foo.com"),
        ] {
            assert_eq!(without_port(authority), host, "{authority}");
        }
    }
}
