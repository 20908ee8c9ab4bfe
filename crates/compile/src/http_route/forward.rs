//! `route`: destinations, and what is done on the way to them.

use std::sync::{Arc, LazyLock};

use portcullis_api::networking::{self as api, HttpRetry, HttpRoute, HttpRouteDestination};
use portcullis_snapshot::action::{
    Destination, Destinations, Forward, Mirror, PathRewrite, Percentage, Target,
};
use portcullis_snapshot::re2;
use portcullis_snapshot::retry::RetryPolicy;

use super::action::{Outcome, filled};
use super::{Scope, fault, headers, retry};
use crate::clusters::Clusters;
use crate::delegate::Rule;
use crate::destination;
use crate::diagnostic::{Code, Reporter};

/// Forwarding as a rule describes it; `None` when the rule cannot be used.
pub(super) fn forward(
    rule: &Rule<'_>,
    scope: &Scope<'_>,
    mesh_retry: Option<&HttpRetry>,
    clusters: &Clusters,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Outcome> {
    let http = &*rule.http;
    let lookup = destination::Lookup { namespace: &rule.owner.meta.namespace, port: scope.port, clusters };
    let destinations = destinations(&http.route, &lookup, reporter)?;
    let mirrors = mirrors(http, &lookup, reporter)?;
    let hash = lookup.hash_policies(&destinations, &http.route);
    let timeout = retry::duration(http.timeout.as_ref(), "timeout", reporter)?;
    let hashed = matches!(destinations, Destinations::One(_)) && !hash.is_empty();
    let retry =
        retry::policy(http.retries.as_deref().or(mesh_retry), timeout, hashed, &mut reporter.at("retries"))?;
    let (path, splice) = rewrite(http, &mut reporter.at("rewrite"))?;
    let authority = http.rewrite.as_ref().and_then(|rewrite| filled(rewrite.authority.as_deref()));
    let forward = Forward {
        destinations,
        path: path.map(Box::new),
        authority: authority.map(|authority| authority.to_owned().into()),
        timeout,
        retry: shared(retry),
        mirrors: mirrors.into(),
        hash: hash.into(),
    };
    Some(Outcome::Forward(Box::new(forward), splice))
}

/// Istio's own policy, which most routes have, once for all of them.
fn shared(policy: RetryPolicy) -> Arc<RetryPolicy> {
    static DEFAULT: LazyLock<Arc<RetryPolicy>> = LazyLock::new(|| Arc::new(RetryPolicy::istio_default()));
    if policy == **DEFAULT { Arc::clone(&DEFAULT) } else { Arc::new(policy) }
}

fn destinations(
    routes: &[HttpRouteDestination],
    lookup: &destination::Lookup<'_, '_>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Destinations> {
    let weights: Vec<i32> = routes.iter().map(|route| route.weight.unwrap_or(0)).collect();
    let chosen = destination::weights(&weights, reporter)?;
    let mut entries = Vec::with_capacity(chosen.len());
    for (index, weight) in chosen {
        let route = &routes[index];
        let mut reporter = reporter.at(format_args!("route[{index}]"));
        let target = lookup.target(
            &route.destination,
            "requests are answered with 503",
            &mut reporter.at("destination"),
        )?;
        let (request_headers, response_headers) =
            headers::operations(route.headers.as_deref(), &mut reporter.at("headers"))?;
        entries.push((weight, Destination { target, request_headers, response_headers }));
    }
    Some(destination::choice(routes.len(), entries))
}

fn mirrors(
    http: &HttpRoute,
    lookup: &destination::Lookup<'_, '_>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Vec<Mirror>> {
    if http.mirror.is_some() && !http.mirrors.is_empty() {
        return reporter.refuse("mirrors", "excludes mirror", "keep one of them");
    }
    let mut mirrors = Vec::new();
    if let Some(mirror) = &http.mirror {
        let share = mirror_share(http, reporter)?;
        mirrors.extend(one_mirror(mirror, share, lookup, &mut reporter.at("mirror"))?);
    }
    for (index, policy) in http.mirrors.iter().enumerate() {
        let mut reporter = reporter.at(format_args!("mirrors[{index}]"));
        let share = match &policy.percentage {
            Some(percentage) => fault::share(percentage, &mut reporter)?,
            None => Percentage::from_percent(100.0),
        };
        mirrors.extend(one_mirror(&policy.destination, share, lookup, &mut reporter.at("destination"))?);
    }
    Some(mirrors)
}

/// Share of requests copied to `mirror`: the newer spelling of the percentage counts; left out it is all.
fn mirror_share(http: &HttpRoute, reporter: &mut Reporter<'_, '_>) -> Option<Percentage> {
    let whole = http.mirror_percent.or(http.mirror_percent_snake);
    if whole.is_some() {
        reporter.report(Code::Deprecated, "mirrorPercent", "is deprecated", "use mirrorPercentage.value");
    }
    match (&http.mirror_percentage, whole) {
        (Some(percentage), _) => fault::share(percentage, &mut reporter.at("mirrorPercentage")),
        (None, Some(whole @ 0..=100)) => Some(Percentage::from_percent(f64::from(whole))),
        (None, Some(whole)) => {
            reporter.refuse("mirrorPercent", format!("{whole} is more than all"), "use 0 to 100")
        }
        (None, None) => Some(Percentage::from_percent(100.0)),
    }
}

#[expect(clippy::option_option, reason = "the outer layer says the rule is left out")]
fn one_mirror(
    spec: &api::Destination,
    share: Percentage,
    lookup: &destination::Lookup<'_, '_>,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Option<Mirror>> {
    let target = lookup.target(spec, "no copy is sent", reporter)?;
    // A copy to nowhere is no copy: the request itself goes its way.
    let known = matches!(target, Target::Cluster(_));
    Some((known && share.millionths() > 0).then_some(Mirror { target, share }))
}

/// The part of a rewrite that holds for every path condition, and the text to splice in for the others.
fn rewrite(
    http: &HttpRoute,
    reporter: &mut Reporter<'_, '_>,
) -> Option<(Option<PathRewrite>, Option<Box<str>>)> {
    let Some(rewrite) = &http.rewrite else { return Some((None, None)) };
    let uri = filled(rewrite.uri.as_deref());
    let authority = filled(rewrite.authority.as_deref());
    let Some(by_regex) = &rewrite.uri_regex_rewrite else {
        if uri.is_none() && authority.is_none() {
            return reporter.refuse("", "rewrites nothing", "add uri, authority or uriRegexRewrite");
        }
        return Some((None, uri.map(Into::into)));
    };
    if uri.is_some() {
        return reporter.refuse("uriRegexRewrite", "excludes uri", "keep one of them");
    }
    let path = regex_rewrite(by_regex, &mut reporter.at("uriRegexRewrite"))?;
    Some((Some(path), None))
}

fn regex_rewrite(spec: &api::RegexRewrite, reporter: &mut Reporter<'_, '_>) -> Option<PathRewrite> {
    let Some(pattern) = filled(spec.pattern.as_deref()) else {
        return reporter.refuse("match", "is missing", "write an expression");
    };
    let pattern = match re2::anywhere(pattern) {
        Ok(pattern) => pattern,
        Err(error) => {
            return reporter.refuse("match", format!("cannot be used: {error}"), "mend the expression");
        }
    };
    match re2::substitution(spec.rewrite.as_deref().unwrap_or_default()) {
        Ok((_, group)) if group >= pattern.captures_len() => reporter.refuse(
            "rewrite",
            format!("\\{group} is no group of the expression"),
            "mend the substitution",
        ),
        Ok((replacement, _)) => Some(PathRewrite::Regex { pattern, replacement: replacement.into() }),
        Err(error) => reporter.refuse("rewrite", error, "mend the substitution"),
    }
}
