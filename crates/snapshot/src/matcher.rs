//! Conditions of a route, and the view of a request they look at.

use std::borrow::Cow;
use std::fmt;

use regex::bytes::Regex;

use crate::headers::Headers;
use crate::host::looked_up;

/// What routing may know of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Method token, case-sensitive.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host header or `:authority`, with its port, as sent.
    pub authority: &'a str,
    /// Normalised path without query.
    pub path: &'a str,
    /// Query without `?`, undecoded.
    pub query: Option<&'a str>,
    /// Header fields.
    pub headers: &'a Headers,
}

impl<'a> RequestView<'a> {
    /// Host for the virtual-host look-up: lower case, without port.
    #[must_use]
    pub fn host(&self) -> Cow<'a, str> {
        looked_up(self.authority)
    }

    /// Value of a header or pseudo-header, several lines joined by `,`; `None` when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        match name {
            ":method" => Some(Cow::Borrowed(self.method.as_bytes())),
            ":authority" | "host" => Some(Cow::Borrowed(self.authority.as_bytes())),
            ":scheme" => Some(Cow::Borrowed(self.scheme.as_bytes())),
            ":path" => Some(match self.query {
                None => Cow::Borrowed(self.path.as_bytes()),
                Some(query) => Cow::Owned(format!("{}?{query}", self.path).into_bytes()),
            }),
            _ => {
                let mut values = self.headers.iter().filter(|field| field.name == name.as_bytes());
                let first = values.next()?;
                if values.next().is_none() {
                    return Some(Cow::Borrowed(first.value));
                }
                self.headers.joined(name).map(|joined| Cow::Owned(joined.into_owned()))
            }
        }
    }

    /// First value of query parameter `name`, undecoded; empty for a bare `?name`.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<&'a str> {
        self.query?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// A test of one text value.
#[derive(Debug, Clone)]
pub enum StringMatch {
    /// Equal.
    Exact(Box<str>),
    /// Starts with.
    Prefix(Box<str>),
    /// The whole value matches; the pattern is anchored at both ends when compiled.
    Regex(Regex),
    /// Anything, the empty text included.
    Present,
}

impl StringMatch {
    /// Whether `value` passes.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
        }
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(out, "={text:?}"),
            Self::Prefix(text) => write!(out, " starts with {text:?}"),
            Self::Regex(regex) => write!(out, " matches {:?}", shown_regex(regex)),
            Self::Present => out.write_str(" is present"),
        }
    }
}

/// The pattern as its author wrote it, without the anchors put around it.
fn shown_regex(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

/// The condition on the path; it is what the route index is built on.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// No condition.
    Any,
    /// The whole path is equal.
    Exact(Box<str>),
    /// The whole path is equal, ASCII case aside; held in lower case.
    ExactIgnoreCase(Box<str>),
    /// Plain text prefix, no segment boundary (Istio's rule); may be empty.
    Prefix(Box<str>),
    /// As `Prefix`, ASCII case aside; held in lower case.
    PrefixIgnoreCase(Box<str>),
    /// The whole path matches.
    Regex(Box<Regex>),
}

impl PathMatch {
    /// Whether `path` passes.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let starts_with_ignoring_case = |prefix: &str| {
            path.len() >= prefix.len()
                && path.as_bytes()[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
        };
        match self {
            Self::Any => true,
            Self::Exact(text) => path == &**text,
            Self::ExactIgnoreCase(text) => path.eq_ignore_ascii_case(text),
            Self::Prefix(text) => path.starts_with(&**text),
            Self::PrefixIgnoreCase(text) => starts_with_ignoring_case(text),
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any path"),
            Self::Exact(text) => write!(out, "path = {text:?}"),
            Self::ExactIgnoreCase(text) => write!(out, "path = {text:?} (any case)"),
            Self::Prefix(text) => write!(out, "path starts with {text:?}"),
            Self::PrefixIgnoreCase(text) => write!(out, "path starts with {text:?} (any case)"),
            Self::Regex(regex) => write!(out, "path matches {:?}", shown_regex(regex)),
        }
    }
}

/// A condition on a named header or query parameter.
#[derive(Debug, Clone)]
pub struct NamedMatch {
    /// Lower-case header name (pseudo-headers allowed) or raw parameter name.
    pub name: Box<str>,
    /// The test of its value.
    pub value: StringMatch,
}

/// A condition that a header does not match (`withoutHeaders`).
#[derive(Debug, Clone)]
pub enum Without {
    /// The header must be absent.
    Absent(Box<str>),
    /// The value must not match; an absent header counts as the empty text.
    Unlike(NamedMatch),
}

/// All conditions of one match entry; they are joined by AND.
#[derive(Debug, Clone)]
pub struct RouteMatcher {
    /// On the path.
    pub path: PathMatch,
    /// On the method.
    pub method: Option<Box<StringMatch>>,
    /// On the scheme.
    pub scheme: Option<Box<StringMatch>>,
    /// On the authority, port included.
    pub authority: Option<Box<StringMatch>>,
    /// On headers: one line of several that fits is enough.
    pub headers: Box<[NamedMatch]>,
    /// On the absence of headers.
    pub without: Box<[Without]>,
    /// On query parameters, first occurrence, undecoded.
    pub query: Box<[NamedMatch]>,
}

impl Default for RouteMatcher {
    fn default() -> Self {
        Self {
            path: PathMatch::Any,
            method: None,
            scheme: None,
            authority: None,
            headers: Box::default(),
            without: Box::default(),
            query: Box::default(),
        }
    }
}

impl RouteMatcher {
    /// Whether every condition holds.
    #[must_use]
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path) && self.matches_beside_path(request)
    }

    /// Whether every condition but the one on the path holds (the index has settled that one).
    #[must_use]
    pub fn matches_beside_path(&self, request: &RequestView<'_>) -> bool {
        let text = |condition: &Option<Box<StringMatch>>, value: &str| {
            condition.as_ref().is_none_or(|condition| condition.matches(value.as_bytes()))
        };
        text(&self.method, request.method)
            && text(&self.scheme, request.scheme)
            && text(&self.authority, request.authority)
            && self.headers.iter().all(|condition| header_matches(condition, request))
            && self.without.iter().all(|condition| without_matches(condition, request))
            && self.query.iter().all(|condition| query_matches(condition, request))
    }

    /// The first condition that fails, in words; `None` when all hold.
    #[must_use]
    pub fn mismatch(&self, request: &RequestView<'_>) -> Option<String> {
        if !self.path.matches(request.path) {
            return Some(format!("needs {}, the path is {:?}", self.path, request.path));
        }
        let texts = [
            ("method", &self.method, request.method),
            ("scheme", &self.scheme, request.scheme),
            ("authority", &self.authority, request.authority),
        ];
        for (name, condition, value) in texts {
            if let Some(condition) =
                condition.as_ref().filter(|condition| !condition.matches(value.as_bytes()))
            {
                return Some(format!("needs {name}{condition}, it is {value:?}"));
            }
        }
        let header = self.headers.iter().find(|condition| !header_matches(condition, request));
        if let Some(NamedMatch { name, value }) = header {
            let found = request.header(name).map_or("absent".to_owned(), |found| shown(&found));
            return Some(format!("needs header {name}{value}, it is {found}"));
        }
        match self.without.iter().find(|condition| !without_matches(condition, request)) {
            Some(Without::Absent(name)) => return Some(format!("needs header {name} to be absent")),
            Some(Without::Unlike(NamedMatch { name, value })) => {
                return Some(format!("must not have header {name}{value} (an absent header counts as \"\")"));
            }
            None => {}
        }
        let NamedMatch { name, value } =
            self.query.iter().find(|condition| !query_matches(condition, request))?;
        let found = request.query_parameter(name).map_or("absent".to_owned(), |found| format!("{found:?}"));
        Some(format!("needs query parameter {name}{value}, it is {found}"))
    }
}

fn shown(value: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(value))
}

/// Each line of a field is looked at by itself, and one that fits is enough: what stands in several lines need not be a
/// list, as Cookie shows (RFC 6265 §4.2.1).
fn header_matches(NamedMatch { name, value }: &NamedMatch, request: &RequestView<'_>) -> bool {
    let mut lines = request.headers.all(name).peekable();
    if lines.peek().is_some() {
        return lines.any(|line| value.matches(line));
    }
    request.header(name).is_some_and(|pseudo| value.matches(&pseudo))
}

fn without_matches(condition: &Without, request: &RequestView<'_>) -> bool {
    match condition {
        Without::Absent(name) => request.header(name).is_none(),
        Without::Unlike(condition) => match request.header(&condition.name) {
            Some(_) => !header_matches(condition, request),
            None => !condition.value.matches(b""),
        },
    }
}

fn query_matches(condition: &NamedMatch, request: &RequestView<'_>) -> bool {
    request.query_parameter(&condition.name).is_some_and(|value| condition.value.matches(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &Headers) -> RequestView<'_> {
        RequestView { method: "GET", scheme: "http", authority: "a.test", path: "/", query: None, headers }
    }

    #[test]
    fn one_line_that_fits_is_enough() {
        let mut headers = Headers::default();
        headers.append("x-a", "one");
        headers.append("x-a", "two");
        let exact = |name: &str, value: &str| NamedMatch {
            name: name.into(),
            value: StringMatch::Exact(value.into()),
        };
        for (name, value, expected) in [
            ("x-a", "one", true),
            ("x-a", "two", true),
            ("x-a", "one,two", false),
            ("x-b", "", false),
            (":method", "GET", true),
            ("host", "a.test", true),
        ] {
            let view = request(&headers);
            assert_eq!(header_matches(&exact(name, value), &view), expected, "{name}: {value}");
            let unlike = Without::Unlike(exact(name, value));
            let absent = name == "x-b";
            assert_eq!(without_matches(&unlike, &view), !expected && !absent, "without {name}: {value}");
        }
    }
}
