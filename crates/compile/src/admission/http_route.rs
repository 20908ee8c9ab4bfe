//! HTTP rules (`validateHTTPRoute`).

use portcullis_api::Map;
use portcullis_api::networking::{
    Abort, CorsPolicy, Delay, DirectResponse, HeaderOperations, Headers, HttpFaultInjection,
    HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
};
use portcullis_api::wire::{Percent, StringMatch};

use super::virtual_service::{Whole, destination, expression, is_claim, total_weight, weight, where_from};
use super::{MILLISECOND, Review, Verdict, fault, header_value, member, names, port, regex};
use crate::diagnostic::Code;
use crate::http_route::GRPC_STATUSES;

/// A body beyond this many bytes is refused; Istio keeps it in every copy of the configuration.
const LARGEST_BODY: usize = 1 << 20;

/// A body beyond this many bytes earns a warning.
const LARGE_BODY: usize = 100 << 10;

/// What a rule may be tried again for, besides status codes (`supportedRetryOnPolicies`).
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Methods that may be allowed to other origins.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// Names in a match that begin with a colon and are no headers.
const PSEUDO: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":status"];

pub(super) fn review(rule: &HttpRoute, whole: Whole, review: &mut Review<'_, '_>) {
    conflicts(rule, whole, review);
    for (at, entry) in rule.matches.iter().enumerate() {
        of_match(entry, &mut review.at(format_args!("match[{at}]")).silent());
    }
    if let Some(headers) = &rule.headers {
        of_headers(headers, &mut review.at("headers"));
    }
    if let Some(cors) = &rule.cors_policy {
        of_cors(cors, &mut review.at("corsPolicy"));
    }
    if let Some(fault) = &rule.fault {
        of_fault(fault, &mut review.at("fault").silent());
    }
    mirrors(rule, review);
    if let Some(redirect) = &rule.redirect {
        review.judge("redirect", of_redirect(redirect, &rule.matches));
    }
    if let Some(response) = &rule.direct_response {
        of_response(response, &mut review.at("directResponse"));
    }
    if let Some(retries) = &rule.retries {
        of_retries(retries, &mut review.at("retries"));
    }
    if let Some(rewrite) = &rule.rewrite {
        review.judge("rewrite", of_rewrite(rewrite));
    }
    authority_once(rule, review);
    for (at, weighted) in rule.route.iter().enumerate() {
        let mut review = review.at(format_args!("route[{at}]"));
        if let Some(headers) = &weighted.headers {
            of_headers(headers, &mut review.at("headers"));
        }
        if !whole.converted {
            destination(&weighted.destination, &mut review.at("destination"));
        }
        weight(weighted.weight, &mut review);
    }
    total_weight(rule.route.iter().map(|weighted| weighted.weight), review);
    review.length("timeout", rule.timeout.as_ref());
}

/// What a rule may not have side by side (`validateHTTPRouteConflict`).
fn conflicts(rule: &HttpRoute, whole: Whole, review: &mut Review<'_, '_>) {
    if rule.delegate.is_some() && !whole.delegate {
        for (field, present) in [("redirect", rule.redirect.is_some()), ("route", !rule.route.is_empty())] {
            if present {
                review.refuse(field, "does not go with delegate", "leave it to the delegate");
            }
        }
        return;
    }
    if rule.delegate.is_some() {
        review.refuse("delegate", "a delegate may not delegate further", "remove it");
    }
    let (answer, other) = match (&rule.redirect, &rule.direct_response) {
        (Some(_), response) => ("redirect", response.is_some()),
        (None, Some(_)) => ("directResponse", false),
        (None, None) => {
            if rule.route.is_empty() {
                review.refuse("", "has neither route, redirect nor directResponse", "add one of them");
            }
            ("", false)
        }
    };
    if !answer.is_empty() {
        for (field, present) in [
            ("route", !rule.route.is_empty()),
            ("fault", rule.fault.is_some()),
            ("rewrite", rule.rewrite.is_some()),
            ("directResponse", other),
        ] {
            if present {
                review.refuse(field, format!("does not go with {answer}"), "keep one of them");
            }
        }
    }
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        review.refuse("mirrors", "excludes mirror", "keep one of them");
    }
}

/// `validateHTTPRouteMatchRequest`. Its warnings are lost on the way, as in Istio.
fn of_match(entry: &HttpMatchRequest, review: &mut Review<'_, '_>) {
    for (name, matcher) in &entry.headers {
        let field = member("headers", name);
        review.judge(&field, match_name(name));
        review.judge(&field, text(Some(matcher)));
    }
    for (name, matcher) in &entry.without_headers {
        let field = member("withoutHeaders", name);
        review.judge(&field, match_name(name));
        // `*` stands for any value here.
        if expression(matcher) != Some("*") {
            review.judge(&field, text(Some(matcher)));
        }
    }
    review.judge("uri", entry.uri.as_ref().map_or(Ok(()), pattern));
    review.judge("scheme", text(entry.scheme.as_deref()));
    review.judge("method", text(entry.method.as_deref()));
    review.judge("authority", text(entry.authority.as_deref()));
    for (name, matcher) in &entry.query_params {
        review.judge(member("queryParams", name), text(Some(matcher)));
    }
    where_from(entry.port, &entry.source_labels, &entry.gateways, review);
    if let Some(space) =
        entry.source_namespace.as_deref().filter(|space| !space.is_empty() && !names::is_label(space))
    {
        review.refuse("sourceNamespace", format!("{space:?} is no namespace"), "use letters, digits and -");
    }
}

/// `validateStringMatch`.
fn text(matcher: Option<&StringMatch>) -> Verdict {
    let Some(matcher) = matcher else { return Ok(()) };
    if matcher.prefix.as_deref() == Some("") {
        return fault("has an empty prefix", "remove it, or use {}");
    }
    pattern(matcher)
}

/// `validateStringMatchRegexp`.
fn pattern(matcher: &StringMatch) -> Verdict {
    match expression(matcher) {
        None => Ok(()),
        Some("") => fault("has an empty expression", "write an expression"),
        Some(written) => regex::check(written),
    }
}

fn is_token(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `ValidateHTTPHeaderNameOrJwtClaimRoute`.
fn match_name(name: &str) -> Verdict {
    if name.is_empty() {
        return fault("a header without a name", "name the header");
    }
    if is_claim(name) || PSEUDO.contains(&name) || is_token(name) {
        return Ok(());
    }
    fault(format!("{name:?} is no header name"), "use letters, digits and hyphens")
}

/// `ValidateCORSHTTPHeaderName`.
fn cors_name(name: &str) -> Verdict {
    match name {
        "" => fault("a header without a name", "name the header"),
        name if is_token(name) => Ok(()),
        _ => fault(format!("{name:?} is no header name"), "use letters, digits and hyphens"),
    }
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host")
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || is_host(name)
}

/// A name to set; the authority may be, elsewhere than in responses.
fn operation_name(name: &str, authority: bool) -> Verdict {
    if name.is_empty() {
        return fault("a header without a name", "name the header");
    }
    if authority && is_authority(name) {
        return Ok(());
    }
    if is_host(name) {
        return fault("the Host header cannot be changed here", "use rewrite.authority");
    }
    if name.starts_with(':') {
        return fault(format!("{name:?} is no header"), "use rewrite for path and authority");
    }
    Ok(())
}

fn of_headers(headers: &Headers, review: &mut Review<'_, '_>) {
    for (part, operations, authority) in
        [("request", &headers.request, true), ("response", &headers.response, false)]
    {
        if let Some(operations) = operations {
            of_operations(operations, authority, &mut review.at(part));
        }
    }
}

fn of_operations(operations: &HeaderOperations, authority: bool, review: &mut Review<'_, '_>) {
    for (operation, map) in [("add", &operations.add), ("set", &operations.set)] {
        for (name, value) in map {
            let field = member(operation, name);
            review.judge(&field, operation_name(name, authority));
            review.judge(&field, header_value::check(value));
        }
    }
    for (at, name) in operations.remove.iter().enumerate() {
        review.judge(format_args!("remove[{at}]"), operation_name(name, false));
    }
}

/// The authority may be written in one place only (`validateAuthorityRewrite`).
fn authority_once(rule: &HttpRoute, review: &mut Review<'_, '_>) {
    let rewrite = rule.rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref());
    let request = rule.headers.as_ref().and_then(|headers| headers.request.as_ref());
    let none = Map::default();
    let (set, add) = request.map_or((&none, &none), |request| (&request.set, &request.add));
    let written =
        set.iter().chain(add).filter(|(name, _)| is_authority(name)).map(|(_, value)| value.as_str());
    let written: Vec<&str> = rewrite.into_iter().chain(written).collect();
    // What is written last may be empty, what comes before it counts only if it is not.
    let taken = written.iter().position(|value| !value.is_empty());
    if taken.is_some_and(|at| at + 1 < written.len()) {
        let message = "the authority is written more than once";
        review.refuse("headers.request", message, "keep rewrite.authority alone");
    }
}

fn of_cors(cors: &CorsPolicy, review: &mut Review<'_, '_>) {
    for (at, origin) in cors.allow_origins.iter().enumerate() {
        let texts = [&origin.exact, &origin.prefix, &origin.regex];
        let field = format!("allowOrigins[{at}]");
        if texts.into_iter().all(|text| text.as_deref().is_none_or(str::is_empty)) {
            review.refuse(&field, "names no origin", "add exact, prefix or regex");
        } else {
            review.judge(&field, pattern(origin));
        }
    }
    for (at, method) in cors.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            review.refuse(
                format_args!("allowMethods[{at}]"),
                format!("{method:?} is no method"),
                "use GET and the like",
            );
        }
    }
    for (field, list) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
        for (at, name) in list.iter().enumerate() {
            review.judge(format_args!("{field}[{at}]"), cors_name(name));
        }
    }
    review.length("maxAge", cors.max_age.as_ref());
    if cors.max_age.as_ref().is_some_and(|age| age.nanos() % (1000 * MILLISECOND) > 0) {
        review.refuse("maxAge", "is finer than a second", "round it to whole seconds");
    }
}

/// `validateHTTPFaultInjection`. Its warnings are lost on the way, as in Istio.
fn of_fault(fault: &HttpFaultInjection, review: &mut Review<'_, '_>) {
    if fault.abort.is_none() && fault.delay.is_none() {
        review.refuse("", "has neither abort nor delay", "add one of them");
    }
    if let Some(abort) = &fault.abort {
        of_abort(abort, &mut review.at("abort"));
    }
    if let Some(delay) = &fault.delay {
        of_delay(delay, &mut review.at("delay"));
    }
}

fn of_abort(abort: &Abort, review: &mut Review<'_, '_>) {
    share(abort.percentage, review);
    if let Some(status) = &abort.grpc_status {
        if !GRPC_STATUSES.contains(&status.as_str()) {
            review.refuse(
                "grpcStatus",
                format!("{status:?} is no gRPC status"),
                "use a name such as UNAVAILABLE",
            );
        }
    } else if abort.http2_error.is_some() {
        review.refuse("http2Error", "is not supported, by Istio neither", "use httpStatus");
    } else if let Some(code) = abort.http_status {
        review.judge("httpStatus", status(code));
    }
}

fn of_delay(delay: &Delay, review: &mut Review<'_, '_>) {
    share(delay.percentage, review);
    review.length("fixedDelay", delay.fixed_delay.as_ref());
    if delay.exponential_delay.is_some() {
        review.refuse("exponentialDelay", "is not supported, by Istio neither", "use fixedDelay");
    }
}

/// `validatePercentage`.
fn share(percent: Option<Percent>, review: &mut Review<'_, '_>) {
    let value = percent.and_then(|percent| percent.value).unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) || (value > 0.0 && value < 0.0001) {
        review.refuse("percentage.value", format!("{value} is no percentage"), "use 0, or 0.0001 to 100");
    }
}

/// `validateHTTPStatus`, whose bounds are these.
fn status(status: i32) -> Verdict {
    if (200..=600).contains(&status) {
        return Ok(());
    }
    fault(format!("{status} is no status to answer with"), "use 200 to 599")
}

fn mirrors(rule: &HttpRoute, review: &mut Review<'_, '_>) {
    let percent = rule.mirror_percent.or(rule.mirror_percent_snake);
    if let Some(percent) = percent {
        if percent > 100 {
            review.refuse("mirrorPercent", format!("{percent} is no percentage"), "use 0 to 100");
        }
        review.warn_as(Code::Deprecated, "mirrorPercent", "is deprecated", "use mirrorPercentage.value");
    }
    review.judge("mirrorPercentage.value", mirror_share(rule.mirror_percentage));
    if let Some(mirror) = &rule.mirror {
        destination(mirror, &mut review.at("mirror"));
    }
    for (at, mirror) in rule.mirrors.iter().enumerate() {
        let mut review = review.at(format_args!("mirrors[{at}]"));
        destination(&mirror.destination, &mut review.at("destination"));
        review.judge("percentage.value", mirror_share(mirror.percentage));
    }
}

fn mirror_share(percent: Option<Percent>) -> Verdict {
    match percent.and_then(|percent| percent.value) {
        Some(value) if !(0.0..=100.0).contains(&value) => {
            fault(format!("{value} is no percentage"), "use 0 to 100")
        }
        _ => Ok(()),
    }
}

/// `validateHTTPRedirect`.
fn of_redirect(redirect: &HttpRedirect, matches: &[HttpMatchRequest]) -> Verdict {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let prefix = set(&redirect.prefix_rewrite);
    if set(&redirect.uri) && prefix {
        return fault("uri and prefixRewrite exclude each other", "keep one of them");
    }
    let other_than_prefix =
        |entry: &HttpMatchRequest| entry.uri.as_ref().is_some_and(|uri| uri.prefix.is_none());
    if prefix && matches.iter().any(other_than_prefix) {
        return fault("prefixRewrite needs a rule that matches by prefix", "match uri.prefix in every entry");
    }
    let to_port = redirect.port.is_some() || redirect.derive_port.is_some();
    if !(set(&redirect.uri) || prefix || set(&redirect.authority) || to_port || set(&redirect.scheme)) {
        return fault("leads nowhere", "set uri, authority, scheme or port");
    }
    match redirect.redirect_code {
        None | Some(0 | 300..=399) => {}
        Some(code) => {
            return fault(format!("{code} is no redirect"), "set redirectCode to 301, 302, 303, 307 or 308");
        }
    }
    if !matches!(redirect.scheme.as_deref(), None | Some("" | "http" | "https")) {
        return fault("has another scheme than http and https", "use one of them");
    }
    match redirect.port {
        Some(number) if number > 0 => port(number),
        _ => Ok(()),
    }
}

/// `validateHTTPDirectResponse`.
fn of_response(response: &DirectResponse, review: &mut Review<'_, '_>) {
    let body = response.body.as_ref();
    let text = body.and_then(|body| body.string.as_ref().map(String::len));
    let bytes = body.and_then(|body| body.bytes.as_ref().map(|bytes| bytes.0.len()));
    match text.or(bytes).unwrap_or(0) {
        size if size > LARGEST_BODY => {
            review.refuse("body", "is larger than 1 MiB", "serve it from a backend");
        }
        size if size > LARGE_BODY => review.warn("body", "is larger than 100 KiB", "serve it from a backend"),
        _ => {}
    }
    review.judge("status", status(i32::try_from(response.status).unwrap_or(-1)));
}

/// `agent.ValidateHTTPRetry`.
fn of_retries(retries: &HttpRetry, review: &mut Review<'_, '_>) {
    let attempts = retries.attempts.unwrap_or(0);
    let conditions = retries.retry_on.as_deref().unwrap_or_default();
    if attempts < 0 {
        review.refuse("attempts", format!("{attempts} is less than none"), "use 0 or more");
    }
    let more = retries.per_try_timeout.is_some()
        || !conditions.is_empty()
        || retries.retry_remote_localities.is_some();
    if attempts == 0 && more {
        review.refuse("attempts", "is 0, so nothing else may be set", "set attempts to 1 or more");
    }
    review.length("perTryTimeout", retries.per_try_timeout.as_ref());
    let listed = conditions.split(',').filter(|_| !conditions.is_empty());
    for condition in listed.filter(|condition| !RETRY_ON.contains(condition) && !is_status(condition)) {
        let message = format!("{condition:?} is no reason to try again");
        review.refuse(
            "retryOn",
            message,
            "use names of Envoy or status codes, separated by commas without spaces",
        );
    }
    review.length("backoff", retries.backoff.as_ref());
}

/// A status code that has a name (`http.StatusText`).
fn is_status(text: &str) -> bool {
    let Ok(code) = text.parse::<i64>() else { return false };
    matches!(
        code,
        100..=103 | 200..=208 | 226 | 300..=305 | 307..=308 | 400..=418 | 421..=426 | 428..=429 | 431 | 451
            | 500..=508 | 510..=511
    )
}

/// `validateHTTPRewrite`.
fn of_rewrite(rewrite: &HttpRewrite) -> Verdict {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let Some(expression) = &rewrite.uri_regex_rewrite else {
        if set(&rewrite.uri) || set(&rewrite.authority) {
            return Ok(());
        }
        return fault("rewrites nothing", "add uri, authority or uriRegexRewrite");
    };
    if set(&rewrite.uri) {
        return fault("uri and uriRegexRewrite exclude each other", "keep one of them");
    }
    match (&expression.pattern, &expression.rewrite) {
        (Some(pattern), Some(rewrite)) if !pattern.is_empty() && !rewrite.is_empty() => regex::check(pattern),
        _ => fault("uriRegexRewrite needs both match and rewrite", "write both"),
    }
}
