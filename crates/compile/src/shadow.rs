//! Rules that can never be reached, since an earlier rule of the same VirtualService takes all their requests.

use std::collections::BTreeMap;

use portcullis_api::VirtualService;
use portcullis_api::networking::HttpMatchRequest;
use portcullis_api::wire::StringMatch;

use crate::diagnostic::{Code, Diagnostics, Subject};

/// Most match entries of one VirtualService that are compared with one another; the cost is quadratic.
const MAX_ENTRIES: usize = 256;

/// Reports the unreachable rules and match entries of a VirtualService.
pub(crate) fn report(resource: &VirtualService, subject: Subject<'_>, diagnostics: &mut Diagnostics) {
    let everything = HttpMatchRequest::default();
    let mut earlier: Vec<(String, &HttpMatchRequest)> = Vec::new();
    for (index, rule) in resource.spec.http.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        let entries: Vec<(String, &HttpMatchRequest)> = match rule.matches.as_slice() {
            [] => vec![(path.clone(), &everything)],
            matches => {
                let entries = matches.iter().enumerate();
                entries.map(|(at, entry)| (format!("{path}.match[{at}]"), entry)).collect()
            }
        };
        let mut shadowed: Vec<(&str, &str)> = Vec::new();
        let before = earlier.len();
        for (own, entry) in &entries {
            if let Some((other, _)) = earlier.iter().find(|(_, wide)| covers(wide, entry)) {
                shadowed.push((own, other));
            }
        }
        report_rule(&path, entries.len(), &shadowed, subject, diagnostics);
        // A rule without a usable action is left out and shadows nothing; a delegate may hold less than its match.
        if rule.delegate.is_none() && before + entries.len() <= MAX_ENTRIES {
            earlier.extend(entries);
        }
    }
}

fn report_rule(
    rule: &str,
    entries: usize,
    shadowed: &[(&str, &str)],
    subject: Subject<'_>,
    diagnostics: &mut Diagnostics,
) {
    if shadowed.len() == entries {
        let by = shadowed.first().map(|(_, by)| *by).unwrap_or_default();
        let message = format!("the rule is never reached: {by} takes its requests first");
        diagnostics.report(Code::UnreachableRule, subject, rule, message, "move it up, or remove it");
        return;
    }
    for (own, by) in shadowed {
        let message = format!("the entry is never reached: {by} takes its requests first");
        diagnostics.report(Code::IneffectiveMatch, subject, *own, message, "remove it");
    }
}

/// Whether every request that meets `narrow` surely meets `wide`. It may say no where the answer is yes.
fn covers(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    let texts = [
        (&wide.scheme, &narrow.scheme),
        (&wide.method, &narrow.method),
        (&wide.authority, &narrow.authority),
    ];
    covers_path(wide, narrow)
        && texts.iter().all(|(wide, narrow)| wide.is_none() || wide == narrow)
        && covers_map(&wide.headers, &narrow.headers)
        && covers_map(&wide.without_headers, &narrow.without_headers)
        && covers_map(&wide.query_params, &narrow.query_params)
        && (wide.port.is_none_or(|port| port == 0) || wide.port == narrow.port)
        && (wide.gateways.is_empty() || wide.gateways == narrow.gateways)
        && (wide.source_labels.is_empty() || wide.source_labels == narrow.source_labels)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
}

fn covers_map(wide: &BTreeMap<String, StringMatch>, narrow: &BTreeMap<String, StringMatch>) -> bool {
    wide.iter().all(|(name, condition)| narrow.get(name) == Some(condition))
}

fn covers_path(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    let Some(wide_uri) = wide.uri.as_ref().filter(|uri| !uri.is_empty()) else { return true };
    if wide_uri.prefix.as_deref() == Some("/") {
        return true;
    }
    let Some(uri) = &narrow.uri else { return false };
    if wide.ignore_uri_case.unwrap_or(false) != narrow.ignore_uri_case.unwrap_or(false) {
        return false;
    }
    let text = uri.exact.as_ref().or(uri.prefix.as_ref());
    let within = |prefix: &String| text.is_some_and(|text| text.starts_with(prefix.as_str()));
    wide_uri == uri || wide_uri.prefix.as_ref().is_some_and(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(yaml: &str) -> HttpMatchRequest {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [a.com], http: [{{match: [{yaml}]}}]}}"
        );
        let loaded = portcullis_api::load("test", &text);
        let Some(portcullis_api::Object::VirtualService(object)) = loaded.objects.first() else {
            panic!("{:?}", loaded.findings)
        };
        object.spec.http[0].matches[0].clone()
    }

    #[test]
    fn wide_takes_narrow() {
        for (wide, narrow, expected) in [
            ("{}", "{uri: {exact: /a}}", true),
            ("{uri: {prefix: /}}", "{uri: {regex: /a}}", true),
            ("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}", true),
            ("{uri: {prefix: /a}}", "{uri: {prefix: /ab}, method: {exact: PUT}}", true),
            ("{uri: {prefix: /a}}", "{uri: {prefix: /}}", false),
            ("{uri: {prefix: /a}}", "{}", false),
            ("{uri: {prefix: /a}}", "{uri: {exact: /A}, ignoreUriCase: true}", false),
            ("{uri: {exact: /a}}", "{uri: {exact: /a}}", true),
            ("{uri: {regex: /a}}", "{uri: {exact: /a}}", false),
            ("{headers: {x: {}}}", "{headers: {x: {}, z: {}}}", true),
            ("{headers: {x: {}}}", "{headers: {z: {}}}", false),
            ("{port: 80}", "{}", false),
            ("{method: {exact: GET}}", "{method: {exact: PUT}}", false),
        ] {
            assert_eq!(covers(&entry(wide), &entry(narrow)), expected, "{wide} {narrow}");
        }
    }
}
