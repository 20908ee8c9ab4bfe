//! Match entries: whether they apply at this gateway, and their conditions.

use portcullis_api::networking::HttpMatchRequest;
use portcullis_api::{Map, wire};
use portcullis_snapshot::matcher::{NamedMatch, PathMatch, RouteMatcher, StringMatch, Without};
use portcullis_snapshot::re2;
use portcullis_snapshot::route::WhyLeftOut;

use super::Scope;
use crate::diagnostic::{Code, Reporter};
use crate::environment::GatewayWorkload;
use crate::names::gateway_reference;

/// Prefix of header names that stand for claims of a JSON web token.
const CLAIMS: &str = "@request.auth.claims";

/// Whether an entry, written in `namespace`, can hold for requests through the Gateway and port of `scope`;
/// if not, why.
pub(super) fn applies(
    entry: &HttpMatchRequest,
    namespace: &str,
    scope: &Scope<'_>,
    workload: &GatewayWorkload,
    reporter: &mut Reporter<'_, '_>,
) -> Result<(), WhyLeftOut> {
    if let Some(wanted) = entry.port.filter(|&port| port != 0 && port != u32::from(scope.port)) {
        return Err(WhyLeftOut::Port { wanted, declared: scope.port });
    }
    if !entry.gateways.is_empty() {
        // Named Gateways alone decide; the source conditions are then ignored.
        let mut named = entry.gateways.iter().filter_map(|name| gateway_reference(name, namespace));
        if named.any(|key| key == *scope.gateway) {
            return Ok(());
        }
        let (space, name) = scope.gateway;
        return Err(WhyLeftOut::Gateway { serving: format!("{space}/{name}").into() });
    }
    let labels = entry.source_labels.iter().all(|(key, value)| workload.labels.get(key) == Some(value));
    let space = entry.source_namespace.as_deref().filter(|space| !space.is_empty());
    let space = space.is_none_or(|space| space == workload.namespace);
    for (fits, field) in [(labels, "sourceLabels"), (space, "sourceNamespace")] {
        if !fits {
            reporter.report(
                Code::NeverApplies,
                field,
                "is compared with the gateway itself, which differs, so the entry is left out",
                "remove it: a gateway knows nothing of the workload behind a client",
            );
        }
    }
    if labels && space { Ok(()) } else { Err(WhyLeftOut::Source) }
}

/// The conditions of an entry; `None` when one of them cannot be read.
pub(super) fn matcher(entry: &HttpMatchRequest, reporter: &mut Reporter<'_, '_>) -> Option<RouteMatcher> {
    let mut text = |value: &Option<Box<wire::StringMatch>>, field: &str| match value {
        None => Some(None),
        // Every request has a method, a scheme and an authority, but an entry that asks for one is no
        // catch-all any more.
        Some(value) => Some(Some(Box::new(string_match(value, &mut reporter.at(field))?))),
    };
    let method = text(&entry.method, "method")?;
    let scheme = text(&entry.scheme, "scheme")?;
    let authority = text(&entry.authority, "authority")?;
    Some(RouteMatcher {
        path: path(entry, reporter)?,
        method,
        scheme,
        authority,
        headers: headers(&entry.headers, reporter)?.into(),
        without: without(&entry.without_headers, reporter)?.into(),
        query: named(&entry.query_params, "queryParams", reporter)?.into(),
    })
}

fn path(entry: &HttpMatchRequest, reporter: &mut Reporter<'_, '_>) -> Option<PathMatch> {
    let Some(uri) = &entry.uri else { return Some(PathMatch::Any) };
    let reporter = &mut reporter.at("uri");
    at_most_one(uri, reporter)?;
    let ignore_case = entry.ignore_uri_case == Some(true);
    Some(match (&uri.exact, &uri.prefix, &uri.regex) {
        (Some(text), _, _) if ignore_case => PathMatch::ExactIgnoreCase(text.to_ascii_lowercase().into()),
        (Some(text), _, _) => PathMatch::Exact(text.clone()),
        (_, Some(text), _) if ignore_case => PathMatch::PrefixIgnoreCase(text.to_ascii_lowercase().into()),
        (_, Some(text), _) => PathMatch::Prefix(text.clone()),
        (_, _, Some(pattern)) => PathMatch::Regex(Box::new(regex(pattern, reporter)?)),
        (None, None, None) => PathMatch::Any,
    })
}

fn headers(map: &Map<wire::StringMatch>, reporter: &mut Reporter<'_, '_>) -> Option<Vec<NamedMatch>> {
    if let Some(name) = map.keys().find(|name| name.starts_with(CLAIMS)) {
        reporter.report(
            Code::FieldNotHonoured,
            format_args!("headers[{name:?}]"),
            "conditions on claims are accepted but not honoured yet, so the entry matches no request",
            "",
        );
    }
    // No request can have a header of a claim's name, so such an entry stays and never matches.
    named_lower_case(map, "headers", reporter)
}

fn without(map: &Map<wire::StringMatch>, reporter: &mut Reporter<'_, '_>) -> Option<Vec<Without>> {
    let mut all = Vec::new();
    for (name, value) in map {
        let mut reporter = reporter.at(format_args!("withoutHeaders[{name:?}]"));
        let claim = name.starts_with(CLAIMS);
        let name: Box<str> = name.to_ascii_lowercase().into();
        if claim {
            // No request has a claim yet, nor can it have a header of that name: this always holds. It stays a
            // condition, though, so that the entry is no catch-all.
            all.push(Without::Absent(name));
            continue;
        }
        all.push(match string_match(value, &mut reporter)? {
            StringMatch::Present => Without::Absent(name),
            value => Without::Unlike(NamedMatch { name, value }),
        });
    }
    Some(all)
}

fn named_lower_case(
    map: &Map<wire::StringMatch>,
    field: &str,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Vec<NamedMatch>> {
    let mut all = named(map, field, reporter)?;
    for condition in &mut all {
        condition.name = condition.name.to_ascii_lowercase().into();
    }
    Some(all)
}

fn named(
    map: &Map<wire::StringMatch>,
    field: &str,
    reporter: &mut Reporter<'_, '_>,
) -> Option<Vec<NamedMatch>> {
    let conditions = map.iter().map(|(name, value)| {
        let value = string_match(value, &mut reporter.at(format_args!("{field}[{name:?}]")))?;
        Some(NamedMatch { name: name.as_str().into(), value })
    });
    conditions.collect()
}

/// A condition on a text; `{}` and the regex `*`, which is none, ask for presence alone.
pub(super) fn string_match(
    value: &wire::StringMatch,
    reporter: &mut Reporter<'_, '_>,
) -> Option<StringMatch> {
    at_most_one(value, reporter)?;
    Some(match (&value.exact, &value.prefix, &value.regex) {
        (Some(text), _, _) => StringMatch::Exact(text.clone()),
        (_, Some(text), _) if text.is_empty() => {
            return reporter.refuse("prefix", "is empty", "remove it, or use {}");
        }
        (_, Some(text), _) => StringMatch::Prefix(text.clone()),
        (_, _, Some(pattern)) if &**pattern == "*" => StringMatch::Present,
        (_, _, Some(pattern)) => StringMatch::Regex(regex(pattern, reporter)?),
        (None, None, None) => StringMatch::Present,
    })
}

fn at_most_one(value: &wire::StringMatch, reporter: &mut Reporter<'_, '_>) -> Option<()> {
    let kinds = [&value.exact, &value.prefix, &value.regex];
    if kinds.iter().filter(|kind| kind.is_some()).count() > 1 {
        return reporter.refuse("", "has more than one of exact, prefix and regex", "keep one of them");
    }
    Some(())
}

fn regex(pattern: &str, reporter: &mut Reporter<'_, '_>) -> Option<regex::bytes::Regex> {
    if pattern.is_empty() {
        return reporter.refuse("regex", "is empty", "write an expression");
    }
    match re2::whole(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            reporter.refuse("regex", format!("{pattern:?} cannot be used: {error}"), "mend the expression")
        }
    }
}
