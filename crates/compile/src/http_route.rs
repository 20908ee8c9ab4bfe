//! The http rules of a VirtualService as routes for one Gateway (routing reference §2.4–2.9).

mod action;
mod cors;
mod fault;
mod forward;
mod headers;
mod matching;
mod retry;

use std::sync::Arc;

use portcullis_api::networking::{HttpMatchRequest, HttpRetry};
use portcullis_snapshot::Route;
use portcullis_snapshot::action::{Action, CorsPolicy, Fault, HeaderOps};
use portcullis_snapshot::matcher::{PathMatch, RouteMatcher};
use portcullis_snapshot::route::{Origin, RuleList, WhyLeftOut};

pub(crate) use self::fault::GRPC_STATUSES;
use crate::binding::Bound;
use crate::clusters::Clusters;
use crate::delegate::Rule;
use crate::diagnostic::{Diagnostics, Reporter};
use crate::environment::GatewayWorkload;
use crate::objects::Key;

/// For whom routes are made: they depend on the Gateway and on the port it declares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The Gateway.
    pub(crate) gateway: &'a Key,
    /// The declared port of the first server that fits.
    pub(crate) port: u16,
    /// Whether that server has a `tls` block.
    pub(crate) tls: bool,
}

/// What making routes needs beside the rules.
pub(crate) struct Maker<'m> {
    /// The gateway itself, for `sourceLabels` and `sourceNamespace`.
    pub(crate) workload: &'m GatewayWorkload,
    /// The mesh's retry policy, where a rule has none.
    pub(crate) mesh_retry: Option<&'m HttpRetry>,
    /// Where destinations lead.
    pub(crate) clusters: &'m Clusters,
    /// Where problems go.
    pub(crate) diagnostics: &'m mut Diagnostics,
}

/// What the http rules of one VirtualService come to for one Gateway.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The routes, in order.
    pub(crate) routes: Vec<Route>,
    /// The entries that became no route, with the reason.
    pub(crate) left_out: Vec<(Origin, WhyLeftOut)>,
}

impl Maker<'_> {
    /// The routes of one VirtualService for one Gateway, in order, up to the first that takes everything.
    pub(crate) fn routes(&mut self, bound: &Bound<'_>, scope: &Scope<'_>) -> Made {
        let mut made = Made::default();
        for rule in &bound.rules {
            self.add_rule(rule, scope, &mut made);
        }
        made
    }

    fn add_rule(&mut self, rule: &Rule<'_>, scope: &Scope<'_>, made: &mut Made) {
        let matches = &rule.http.matches;
        if let Some(catch_all) = made.routes.last().filter(|route| is_catch_all(route)) {
            let why = WhyLeftOut::AfterCatchAll(catch_all.origin.clone());
            let rest = entries(rule, 0).map(|origin| (origin, why.clone()));
            made.left_out.extend(rest);
            return;
        }
        let Some(parts) = self.parts(rule, scope) else {
            made.left_out.push((origin(rule, None), WhyLeftOut::Unusable));
            return;
        };
        let path = format!("spec.http[{}]", rule.index);
        if matches.is_empty() {
            let mut reporter = Reporter::new(self.diagnostics, rule.subject(), path);
            match parts.route(rule, None, RouteMatcher::default(), &mut reporter) {
                Some(route) => made.routes.push(route),
                None => made.left_out.push((origin(rule, None), WhyLeftOut::Unusable)),
            }
            return;
        }
        for (index, entry) in matches.iter().enumerate() {
            let mut reporter = Reporter::new(self.diagnostics, rule.subject(), &*path);
            let mut at_entry = reporter.at(format_args!("match[{index}]"));
            let namespace = &rule.owner.meta.namespace;
            if let Err(why) = matching::applies(entry, namespace, scope, self.workload, &mut at_entry) {
                made.left_out.push((origin(rule, Some(index)), why));
                continue;
            }
            let matcher = matching::matcher(entry, &mut at_entry);
            let route =
                matcher.and_then(|matcher| parts.route(rule, Some((index, entry)), matcher, &mut reporter));
            let Some(route) = route else {
                made.left_out.push((origin(rule, Some(index)), WhyLeftOut::Unusable));
                continue;
            };
            let catch_all = is_catch_all(&route).then(|| WhyLeftOut::AfterCatchAll(route.origin.clone()));
            made.routes.push(route);
            if let Some(why) = catch_all {
                made.left_out.extend(entries(rule, index + 1).map(|origin| (origin, why.clone())));
                return;
            }
        }
    }

    /// What all entries of a rule share; `None` when the rule cannot be used.
    fn parts(&mut self, rule: &Rule<'_>, scope: &Scope<'_>) -> Option<Parts> {
        let path = format!("spec.http[{}]", rule.index);
        let http = &*rule.http;
        let mut reporter = Reporter::new(self.diagnostics, rule.subject(), path);
        // What a root adds to a delegate's rule has been admitted with the root: what does not go with the
        // rule's action has no effect there.
        action::check_present(http, &mut reporter)?;
        if !rule.is_merged() {
            action::check_one(http, &mut reporter)?;
        }
        let (request_headers, response_headers) =
            headers::operations(http.headers.as_deref(), &mut reporter.at("headers"))?;
        let cors = match &http.cors_policy {
            Some(policy) => Some(Arc::new(cors::policy(policy, &mut reporter.at("corsPolicy"))?)),
            None => None,
        };
        let fault = match &http.fault {
            Some(fault) => fault::fault(fault, &mut reporter.at("fault"))?.map(Arc::new),
            None => None,
        };
        let outcome = if let Some(redirect) = &http.redirect {
            action::Outcome::Redirect(action::redirect(redirect, scope, &mut reporter.at("redirect"))?)
        } else if let Some(response) = &http.direct_response {
            action::Outcome::Respond(action::direct_response(response, &mut reporter.at("directResponse"))?)
        } else {
            forward::forward(rule, scope, self.mesh_retry, self.clusters, &mut reporter)?
        };
        Some(Parts { request_headers, response_headers, cors, fault, outcome })
    }
}

/// The place of an entry, or of a rule without any.
fn origin(rule: &Rule<'_>, entry: Option<usize>) -> Origin {
    let position = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    Origin {
        list: RuleList::Http,
        object: rule.object.clone(),
        rule: position(rule.index),
        entry: entry.map(position),
    }
}

/// The places of the entries of a rule from `first` on; of a rule without entries, its own.
fn entries<'r>(rule: &'r Rule<'_>, first: usize) -> impl Iterator<Item = Origin> + 'r {
    let whole = rule.http.matches.is_empty().then(|| origin(rule, None));
    let each = (first..rule.http.matches.len()).map(|index| origin(rule, Some(index)));
    whole.into_iter().chain(each)
}

/// Whether a route takes every request: what comes after it in the same VirtualService is dropped, and among
/// several VirtualServices of one host it moves to the end.
pub(crate) fn is_catch_all(route: &Route) -> bool {
    let RouteMatcher { path, method, scheme, authority, headers, without, query } = &route.matcher;
    let every_path = match path {
        PathMatch::Any => true,
        PathMatch::Prefix(prefix) | PathMatch::PrefixIgnoreCase(prefix) => &**prefix == "/",
        PathMatch::Regex(regex) => regex.as_str() == "^(?:.*)$",
        PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_) => false,
    };
    every_path
        && method.is_none()
        && scheme.is_none()
        && authority.is_none()
        && headers.is_empty()
        && without.is_empty()
        && query.is_empty()
}

/// A rule without its conditions.
#[derive(Debug)]
struct Parts {
    request_headers: HeaderOps,
    response_headers: HeaderOps,
    cors: Option<Arc<CorsPolicy>>,
    fault: Option<Arc<Fault>>,
    outcome: action::Outcome,
}

impl Parts {
    /// The route of one entry; `None` when its action does not go with its path condition.
    fn route(
        &self,
        rule: &Rule<'_>,
        entry: Option<(usize, &HttpMatchRequest)>,
        matcher: RouteMatcher,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<Route> {
        let action = self.outcome.action(&matcher.path, reporter)?;
        let name = rule.http.name.clone().unwrap_or_default();
        let name = match entry.and_then(|(_, entry)| entry.name.as_deref()).filter(|name| !name.is_empty()) {
            Some(entry) => format!("{name}.{entry}"),
            None => name,
        };
        Some(Route {
            name: name.into(),
            origin: origin(rule, entry.map(|(index, _)| index)),
            matcher,
            request_headers: self.request_headers.clone(),
            response_headers: self.response_headers.clone(),
            // Istio asks of a policy only where a request goes on: redirects and direct responses have none.
            cors: self.cors.clone().filter(|_| matches!(action, Action::Forward(_))),
            action,
            fault: self.fault.clone(),
        })
    }
}
