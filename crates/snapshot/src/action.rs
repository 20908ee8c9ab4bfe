//! What a route does with a request.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use regex::Regex;

use crate::cluster::{ClusterId, HashPolicy};
use crate::host::without_port;
use crate::matcher::{RequestView, StringMatch};
use crate::retry::RetryPolicy;
use crate::template::Template;

/// The end a matched request comes to.
#[derive(Debug, Clone)]
pub enum Action {
    /// Sent to a cluster.
    Forward(Box<Forward>),
    /// Answered with a redirect.
    Redirect(Box<Redirect>),
    /// Answered with a fixed response.
    Respond(Box<DirectResponse>),
}

/// Forwarding, with everything that is done on the way.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Where to.
    pub destinations: Destinations,
    /// New path; the query is kept.
    pub path: Option<Box<PathRewrite>>,
    /// New Host sent upstream (`rewrite.authority`), above any header operation on Host.
    pub authority: Option<Bytes>,
    /// From the end of the request to the end of the response, over all tries; `None` = unbounded.
    pub timeout: Option<Duration>,
    /// Tries.
    pub retry: Arc<RetryPolicy>,
    /// Copies sent elsewhere.
    pub mirrors: Box<[Mirror]>,
    /// What consistent hashing hashes; the first policy that yields a value wins.
    pub hash: Box<[HashPolicy]>,
}

/// One destination or a weighted choice.
#[derive(Debug, Clone)]
pub enum Destinations {
    /// The only one; its weight does not matter.
    One(Destination),
    /// Several, none with weight 0.
    Weighted {
        /// Sum of the weights, at least 1.
        total: u64,
        /// The choice.
        entries: Vec<(u32, Destination)>,
    },
}

impl Destinations {
    /// The destination for a draw; `dice` is uniform over all of `u64`.
    #[must_use]
    pub fn pick(&self, dice: u64) -> &Destination {
        match self {
            Self::One(destination) => destination,
            Self::Weighted { total, entries } => {
                // Multiply-shift maps a uniform draw onto 0..total without a bias worth a name.
                let mut point = (u128::from(dice) * u128::from(*total)) >> 64;
                for (weight, destination) in entries {
                    let weight = u128::from(*weight);
                    if point < weight {
                        return destination;
                    }
                    point -= weight;
                }
                &entries[entries.len() - 1].1
            }
        }
    }

    /// Every destination, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        let (one, many): (Option<&Destination>, &[(u32, Destination)]) = match self {
            Self::One(destination) => (Some(destination), &[]),
            Self::Weighted { entries, .. } => (None, entries),
        };
        one.into_iter().chain(many.iter().map(|(_, destination)| destination))
    }
}

/// One target of a route.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The cluster, if the gateway knows it.
    pub target: Target,
    /// Header operations of this destination on requests.
    pub request_headers: HeaderOps,
    /// Header operations of this destination on responses.
    pub response_headers: HeaderOps,
}

/// A cluster, or the name of one that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Exists in this snapshot.
    Cluster(ClusterId),
    /// Answered with 503, empty body, flag NC.
    Unknown(Arc<str>),
}

/// How the path is rewritten (`http[].rewrite`).
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// The first `matched` bytes of the path are replaced as text.
    Prefix {
        /// Length of the route's prefix in bytes.
        matched: usize,
        /// Put in its place.
        replacement: Box<str>,
    },
    /// The whole path is replaced.
    Full(Box<str>),
    /// Every match is replaced; `$1` style groups are already translated from RE2's `\1`.
    Regex {
        /// Unanchored.
        pattern: Regex,
        /// Replacement in the syntax of the `regex` crate.
        replacement: Box<str>,
    },
}

impl PathRewrite {
    /// The new path (no query) for `path`.
    #[must_use]
    pub fn apply(&self, path: &str) -> String {
        match self {
            Self::Prefix { matched, replacement } => {
                let rest = path.get(*matched..).unwrap_or("");
                format!("{replacement}{rest}")
            }
            Self::Full(replacement) => replacement.to_string(),
            Self::Regex { pattern, replacement } => pattern.replace_all(path, &**replacement).into_owned(),
        }
    }
}

/// A redirect (`http[].redirect`, and `httpsRedirect` where a virtual host asks for it).
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// New scheme.
    pub scheme: Option<Scheme>,
    /// New host; the request's port goes with the old one.
    pub host: Option<Box<str>>,
    /// New port; `None` keeps what the host says.
    pub port: Option<u16>,
    /// New path.
    pub path: RedirectPath,
}

impl Redirect {
    /// The `Location` for a request: the parts the redirect names are replaced, the others stay
    /// (routing reference §2.7).
    #[must_use]
    pub fn location(&self, request: &RequestView<'_>) -> String {
        let old = if request.scheme == "https" { Scheme::Https } else { Scheme::Http };
        let scheme = self.scheme.unwrap_or(old);
        let host = match (&self.host, self.port) {
            (Some(host), _) => host,
            (None, Some(_)) => without_port(request.authority),
            (None, None) => kept_host(request.authority, old, scheme),
        };
        let port = match self.port {
            Some(port) if port != scheme.default_port() => format!(":{port}"),
            _ => String::new(),
        };
        let query = request.query.map_or(String::new(), |query| format!("?{query}"));
        let path = match &self.path {
            RedirectPath::Keep => format!("{}{query}", request.path),
            RedirectPath::Replace(path) if path.contains('?') => path.to_string(),
            RedirectPath::Replace(path) => format!("{path}{query}"),
            RedirectPath::Prefix { matched, replacement } => {
                format!("{replacement}{}{query}", request.path.get(*matched..).unwrap_or(""))
            }
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{}://{host}{port}{slash}{path}", scheme.as_str())
    }
}

/// The port of the Host header stays, unless the scheme changes and it was the old one's default.
fn kept_host(authority: &str, old: Scheme, new: Scheme) -> &str {
    let default = format!(":{}", old.default_port());
    if old != new && authority.ends_with(&default) { without_port(authority) } else { authority }
}

/// Scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As written in a URI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Port that needs no writing.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Path of a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// As requested.
    Keep,
    /// Replaced as a whole; the query goes too if the text holds a `?`.
    Replace(Box<str>),
    /// The matched prefix is replaced.
    Prefix {
        /// Length of the route's prefix in bytes.
        matched: usize,
        /// Put in its place.
        replacement: Box<str>,
    },
}

/// A fixed answer (`http[].directResponse`).
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: StatusCode,
    /// At most 1 MB; `None` and empty differ in nothing.
    pub body: Bytes,
}

/// Header operations: remove, then set, then add (`http[].headers`). Most routes and destinations have none, and there
/// are many: then it is one empty word.
#[derive(Clone, Default)]
pub struct HeaderOps(Option<Arc<HeaderOperations>>);

/// What [`HeaderOps`] are, where there are some.
#[derive(Debug, Default)]
pub struct HeaderOperations {
    /// Names to remove, lower case.
    pub remove: Vec<Box<str>>,
    /// Overwritten, sorted by name.
    pub set: Vec<(Bytes, Template)>,
    /// Added as extra lines, sorted by name.
    pub add: Vec<(Bytes, Template)>,
    /// A `Host` / `:authority` operation: the new authority (requests only; set wins over add).
    pub authority: Option<Template>,
}

static NO_OPERATIONS: HeaderOperations =
    HeaderOperations { remove: Vec::new(), set: Vec::new(), add: Vec::new(), authority: None };

impl HeaderOps {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether requests have to be counted or timed on their way for it.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.set.iter().chain(&self.add).any(|(_, template)| template.is_measured())
    }
}

impl fmt::Debug for HeaderOps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeaderOperations { remove, set, add, authority } = &**self;
        out.debug_struct("HeaderOps")
            .field("remove", remove)
            .field("set", set)
            .field("add", add)
            .field("authority", authority)
            .finish()
    }
}

impl From<HeaderOperations> for HeaderOps {
    fn from(operations: HeaderOperations) -> Self {
        let HeaderOperations { remove, set, add, authority } = &operations;
        let is_empty = remove.is_empty() && set.is_empty() && add.is_empty() && authority.is_none();
        Self((!is_empty).then(|| Arc::new(operations)))
    }
}

impl Deref for HeaderOps {
    type Target = HeaderOperations;
    fn deref(&self) -> &HeaderOperations {
        self.0.as_deref().unwrap_or(&NO_OPERATIONS)
    }
}

/// `http[].corsPolicy`.
#[derive(Debug, Clone)]
pub struct CorsPolicy {
    /// Origins allowed; a regex is a full match, `Present` stands for `*`.
    pub allow_origins: Vec<StringMatch>,
    /// Joined with `,`; `*` echoes what was asked.
    pub allow_methods: Option<Bytes>,
    /// Joined with `,`; `*` echoes what was asked.
    pub allow_headers: Option<Bytes>,
    /// Joined with `,`.
    pub expose_headers: Option<Bytes>,
    /// Whole seconds.
    pub max_age: Option<Bytes>,
    /// Whether `access-control-allow-credentials: true` is sent.
    pub allow_credentials: bool,
    /// Preflights of foreign origins: forwarded (default) or answered here.
    pub forward_unmatched_preflights: bool,
}

/// `http[].fault`.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Wait before anything else.
    pub delay: Option<(Percentage, Duration)>,
    /// Answer instead of forwarding.
    pub abort: Option<(Percentage, Abort)>,
}

/// The answer of an injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(StatusCode),
    /// A gRPC status code.
    Grpc(u16),
}

/// A share in millionths: 0 never, 1,000,000 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u32);

impl Percentage {
    /// From a percentage of 0 to 100; values outside are cut off.
    #[must_use]
    pub fn from_percent(percent: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1,000,000 before"
        )]
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// Whether a draw uniform over `u64` falls inside.
    #[must_use]
    pub fn hit(self, dice: u64) -> bool {
        (u128::from(dice) * 1_000_000) >> 64 < u128::from(self.0)
    }

    /// In millionths.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }
}

/// A copy of requests sent to another cluster, its answers thrown away.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where to.
    pub target: Target,
    /// Share of requests.
    pub share: Percentage,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(name: &str) -> Destination {
        Destination {
            target: Target::Unknown(name.into()),
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
        }
    }

    #[test]
    fn weights_share_out_the_dice() {
        let entries = vec![(1, destination("a")), (3, destination("b"))];
        let choice = Destinations::Weighted { total: 4, entries };
        let name = |dice| match &choice.pick(dice).target {
            Target::Unknown(name) => name.to_string(),
            Target::Cluster(_) => unreachable!(),
        };
        assert_eq!(name(0), "a");
        assert_eq!(name(u64::MAX / 4 - 1), "a");
        assert_eq!(name(u64::MAX / 4 + 2), "b");
        assert_eq!(name(u64::MAX), "b");
    }

    #[test]
    fn rewrites() {
        let prefix = PathRewrite::Prefix { matched: 4, replacement: "/".into() };
        assert_eq!(prefix.apply("/foo/bar"), "//bar");
        assert_eq!(PathRewrite::Full("/x".into()).apply("/a/b"), "/x");
        let pattern = Regex::new("/(a)/").expect("pattern");
        assert_eq!(
            PathRewrite::Regex { pattern, replacement: "/${1}x/".into() }.apply("/a/b/a/"),
            "/ax/b/ax/"
        );
    }

    #[test]
    fn percentage_bounds() {
        assert!(!Percentage::from_percent(0.0).hit(0));
        assert!(Percentage::from_percent(100.0).hit(u64::MAX));
        assert!(Percentage::from_percent(50.0).hit(u64::MAX / 2 - 1));
        assert!(!Percentage::from_percent(50.0).hit(u64::MAX / 2 + 2));
    }
}
