//! Route tables, virtual hosts and the index that finds the first matching route.
//!
//! Istio's rule is that the first route whose conditions hold wins. A walk along the list would
//! cost more with every route, so a virtual host keeps an index from path conditions to ordinals
//! (positions in the list): exact paths in a hash map, prefixes in a trie, regexes in one set. The
//! index yields candidates; the smallest ordinal whose other conditions hold wins.

use std::fmt;
use std::sync::Arc;

use regex::bytes::RegexSet;

use crate::FastMap;
use crate::action::{Action, CorsPolicy, Destinations, Fault, HeaderOps};
use crate::host::HostIndex;
use crate::matcher::{PathMatch, RequestView, RouteMatcher};
use crate::prefix_trie::{Ordinals, PrefixTrie};

/// Everything that is served behind one HTTP filter chain.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// `http.80`, `https.443.https-app.gw.default`.
    pub name: Arc<str>,
    /// Virtual hosts by host pattern.
    pub hosts: HostIndex<Arc<VirtualHost>>,
    /// Whether gRPC-Web is translated to gRPC and back.
    pub grpc_web: bool,
    /// Whether a virtual host here [is measured](VirtualHost::is_measured): which one it will be is not known yet when
    /// counting has to begin.
    pub measured: bool,
    /// What certificate authorities are answered, by host pattern ([`challenge`](Self::challenge)).
    pub challenges: Arc<HostIndex<Arc<VirtualHost>>>,
    /// Match entries that take no part here, for those who ask why; never looked at by a request.
    pub left_out: Vec<LeftOut>,
}

/// What the path of a certificate authority's question begins with (RFC 8555 §8.3).
pub const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

impl RouteTable {
    /// Looks again whether a virtual host is measured.
    pub fn settle(&mut self) {
        self.measured = self.hosts.values().any(|host| host.is_measured());
    }

    /// The virtual host that answers a certificate authority's question, which comes before all others; it has a route for
    /// it.
    #[must_use]
    pub fn challenge(&self, request: &RequestView<'_>) -> Option<&Arc<VirtualHost>> {
        if !request.path.starts_with(ACME_CHALLENGE) {
            return None;
        }
        self.challenges.find(&request.host()).filter(|host| host.find(request).is_some())
    }
}

/// A match entry of a VirtualService of this table that became no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it was written.
    pub origin: Origin,
    /// The host patterns it would have served.
    pub hosts: Arc<[String]>,
    /// What kept it out.
    pub why: WhyLeftOut,
}

/// What keeps a match entry out of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyLeftOut {
    /// `match.port` is another port than the server's declared one.
    Port {
        /// Asked for.
        wanted: u32,
        /// Declared by the server.
        declared: u16,
    },
    /// `match.gateways` does not name the Gateway of the server.
    Gateway {
        /// The Gateway of the server, `namespace/name`.
        serving: Arc<str>,
    },
    /// `sourceLabels` or `sourceNamespace` differ from the gateway's own.
    Source,
    /// The rule or entry cannot be used; a diagnostic about it says why.
    Unusable,
    /// An earlier entry of the same VirtualService takes every request.
    AfterCatchAll(Origin),
}

impl fmt::Display for WhyLeftOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { wanted, declared } => {
                write!(out, "needs port {wanted}, the server declares {declared}")
            }
            Self::Gateway { serving } => {
                write!(out, "its match.gateways does not name {serving}, which serves here")
            }
            Self::Source => {
                out.write_str("sourceLabels or sourceNamespace differ from those of the gateway itself")
            }
            Self::Unusable => out.write_str("it cannot be used: see the findings about it"),
            Self::AfterCatchAll(earlier) => write!(out, "{earlier} before it takes every request"),
        }
    }
}

/// The routes of one host name.
#[derive(Debug)]
pub struct VirtualHost {
    /// `shop.example.com:80` as Istio names it: host pattern and declared port.
    pub name: Arc<str>,
    /// Whether plaintext requests are redirected to https before any route (`httpsRedirect`).
    pub require_tls: bool,
    measured: bool,
    routes: Box<[Route]>,
    /// Leads to routes where a walk along them would take longer.
    index: Option<Box<RouteIndex>>,
}

/// So many routes, none with a regex, are walked along: it takes no longer than a look into an index, which takes more
/// memory than they do.
const WALKED: usize = 8;

/// One match entry with its action.
#[derive(Debug, Clone)]
pub struct Route {
    /// Access-log `route_name`.
    pub name: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
    /// Conditions.
    pub matcher: RouteMatcher,
    /// Outcome.
    pub action: Action,
    /// Route-level operations on requests.
    pub request_headers: HeaderOps,
    /// Route-level operations on responses.
    pub response_headers: HeaderOps,
    /// Cross-origin policy.
    pub cors: Option<Arc<CorsPolicy>>,
    /// Injected fault.
    pub fault: Option<Arc<Fault>>,
}

impl Route {
    fn is_measured(&self) -> bool {
        let destinations = match &self.action {
            Action::Forward(forward) => Some(&forward.destinations),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        let of_destinations = destinations.into_iter().flat_map(Destinations::iter);
        let of_destinations = of_destinations.flat_map(|one| [&one.request_headers, &one.response_headers]);
        [&self.request_headers, &self.response_headers]
            .into_iter()
            .chain(of_destinations)
            .any(HeaderOps::is_measured)
    }
}

/// The place in the configuration a route comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `VirtualService default/app`.
    pub object: Arc<str>,
    /// The list of rules it stands in.
    pub list: RuleList,
    /// Position in that list, from 0.
    pub rule: u32,
    /// Position in the rule's `match`, from 0; `None` for a rule without match.
    pub entry: Option<u32>,
}

/// The lists of rules in a VirtualService.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleList {
    /// `spec.http`
    Http,
    /// `spec.tls`
    Tls,
    /// `spec.tcp`
    Tcp,
    /// `spec.rules` of an Ingress or HTTPRoute
    Rules,
}

impl RuleList {
    /// As written in the resource.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Rules => "rules",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}[{}]", self.object, self.list.as_str(), self.rule)?;
        match self.entry {
            Some(entry) => write!(out, ".match[{entry}]"),
            None => Ok(()),
        }
    }
}

impl VirtualHost {
    /// Indexes `routes`, which are tried in the order given.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, require_tls: bool, routes: Vec<Route>) -> Self {
        let has_regex = routes.iter().any(|route| matches!(route.matcher.path, PathMatch::Regex(_)));
        let indexed = has_regex || routes.len() > WALKED;
        let index =
            indexed.then(|| Box::new(RouteIndex::new(routes.iter().map(|route| &route.matcher.path))));
        let measured = routes.iter().any(Route::is_measured);
        Self { name: name.into(), require_tls, measured, routes: routes.into(), index }
    }

    /// Whether a header operation of a route tells what has to be counted or timed on the way of a request.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured
    }

    /// The routes in order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The first route whose conditions all hold, with its position.
    #[must_use]
    pub fn find(&self, request: &RequestView<'_>) -> Option<(usize, &Route)> {
        let Some(index) = &self.index else {
            return self.routes.iter().enumerate().find(|(_, route)| {
                route.matcher.path.matches(request.path) && route.matcher.matches_beside_path(request)
            });
        };
        let beside_path = |ordinal: u32| self.routes[ordinal as usize].matcher.matches_beside_path(request);
        let ordinal = index.first(request.path, beside_path)? as usize;
        Some((ordinal, &self.routes[ordinal]))
    }
}

/// Path conditions to ordinals.
#[derive(Debug, Default)]
struct RouteIndex {
    exact: FastMap<Box<str>, Ordinals>,
    exact_ignore_case: FastMap<Box<str>, Ordinals>,
    prefix: PrefixTrie,
    prefix_ignore_case: Option<PrefixTrie>,
    /// None where no route asks for one: even an empty set costs kilobytes, and there are many virtual hosts.
    regexes: Option<RegexSet>,
    regex_ordinals: Vec<u32>,
    any: Vec<u32>,
}

impl RouteIndex {
    fn new<'a>(paths: impl Iterator<Item = &'a PathMatch>) -> Self {
        let mut index = Self::default();
        let mut patterns = Vec::new();
        for (ordinal, path) in (0u32..).zip(paths) {
            match path {
                PathMatch::Any => index.any.push(ordinal),
                PathMatch::Exact(text) => index.exact.entry(text.clone()).or_default().push(ordinal),
                PathMatch::ExactIgnoreCase(text) => {
                    index.exact_ignore_case.entry(text.clone()).or_default().push(ordinal);
                }
                PathMatch::Prefix(text) => index.prefix.insert(text.as_bytes(), ordinal),
                PathMatch::PrefixIgnoreCase(text) => {
                    index.prefix_ignore_case.get_or_insert_default().insert(text.as_bytes(), ordinal);
                }
                PathMatch::Regex(regex) => {
                    patterns.push(regex.as_str().to_owned());
                    index.regex_ordinals.push(ordinal);
                }
            }
        }
        // A set too large for the regex engine's bound is walked one by one instead: see `first`.
        if !patterns.is_empty() {
            index.regexes = RegexSet::new(patterns).ok();
        }
        if index.regexes.is_none() {
            index.any.append(&mut index.regex_ordinals);
            index.any.sort_unstable();
        }
        index
    }

    /// The smallest ordinal whose path condition holds and that `holds` accepts.
    fn first(&self, path: &str, mut holds: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut best = u32::MAX;
        let mut consider = |ordinals: &[u32]| {
            for &ordinal in ordinals {
                if ordinal >= best {
                    return;
                }
                if holds(ordinal) {
                    best = ordinal;
                    return;
                }
            }
        };
        if let Some(ordinals) = self.exact.get(path) {
            consider(ordinals);
        }
        self.prefix.visit(path.as_bytes(), |ordinals| consider(ordinals));
        if !self.exact_ignore_case.is_empty() || self.prefix_ignore_case.is_some() {
            let lower = path.to_ascii_lowercase();
            if let Some(ordinals) = self.exact_ignore_case.get(lower.as_str()) {
                consider(ordinals);
            }
            if let Some(trie) = &self.prefix_ignore_case {
                trie.visit(lower.as_bytes(), |ordinals| consider(ordinals));
            }
        }
        consider(&self.any);
        if let (Some(regexes), Some(&first_regex)) = (&self.regexes, self.regex_ordinals.first())
            && first_regex < best
        {
            for position in &regexes.matches(path.as_bytes()) {
                let ordinal = self.regex_ordinals[position];
                if ordinal >= best {
                    break;
                }
                if holds(ordinal) {
                    best = ordinal;
                    break;
                }
            }
        }
        (best != u32::MAX).then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::Regex;

    use super::*;
    use crate::action::DirectResponse;
    use crate::headers::Headers;
    use crate::matcher::{NamedMatch, StringMatch};

    fn route(matcher: RouteMatcher) -> Route {
        Route {
            name: "".into(),
            origin: Origin { object: "test".into(), list: RuleList::Http, rule: 0, entry: None },
            matcher,
            action: Action::Respond(Box::new(DirectResponse {
                status: http::StatusCode::OK,
                body: bytes::Bytes::new(),
            })),
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            cors: None,
            fault: None,
        }
    }

    fn path_match() -> impl Strategy<Value = PathMatch> {
        let text = "/[abA/]{0,3}";
        prop_oneof![
            Just(PathMatch::Any),
            text.prop_map(|text| PathMatch::Exact(text.into())),
            text.prop_map(|text| PathMatch::ExactIgnoreCase(text.to_ascii_lowercase().into())),
            text.prop_map(|text| PathMatch::Prefix(text.into())),
            text.prop_map(|text| PathMatch::PrefixIgnoreCase(text.to_ascii_lowercase().into())),
            "/[ab.]{0,3}".prop_map(|text| PathMatch::Regex(Box::new(
                Regex::new(&format!("^(?:{text})$")).expect("pattern")
            ))),
        ]
    }

    fn matcher() -> impl Strategy<Value = RouteMatcher> {
        let method = proptest::option::of(prop_oneof![Just("GET"), Just("PUT")]);
        let query = proptest::option::of(prop_oneof![Just("1"), Just("2")]);
        (path_match(), method, query).prop_map(|(path, method, query)| RouteMatcher {
            path,
            method: method.map(|method| Box::new(StringMatch::Exact(method.into()))),
            query: query
                .map(|value| NamedMatch { name: "q".into(), value: StringMatch::Exact(value.into()) })
                .into_iter()
                .collect(),
            ..RouteMatcher::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn index_agrees_with_a_list_walk(
            matchers in proptest::collection::vec(matcher(), 0..30),
            path in "/[abA/]{0,4}",
            method in prop_oneof![Just("GET"), Just("PUT"), Just("get")],
            query in proptest::option::of(prop_oneof![Just("q=1"), Just("x=2&q=2&q=1"), Just("q")]),
        ) {
            let headers = Headers::default();
            let request = RequestView { method, scheme: "http", authority: "a", path: &path, query, headers: &headers };
            let naive = matchers.iter().position(|matcher| matcher.matches(&request));
            let naive_by_reason = matchers.iter().position(|matcher| matcher.mismatch(&request).is_none());
            prop_assert_eq!(naive, naive_by_reason);
            let host = VirtualHost::new("test", false, matchers.into_iter().map(route).collect());
            prop_assert_eq!(host.find(&request).map(|(ordinal, _)| ordinal), naive);
        }
    }
}
