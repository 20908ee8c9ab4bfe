//! Rules and match entries that earlier ones make useless, as far as Istio's webhook sees it
//! (`analyzeUnreachableHTTPRules` and its sisters): warnings.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};

use portcullis_api::Map;
use portcullis_api::networking::{
    HttpMatchRequest, L4MatchAttributes, TlsMatchAttributes, VirtualServiceSpec,
};
use portcullis_api::wire::StringMatch;

use super::Review;
use crate::diagnostic::Code;

/// Most prefix entries of one VirtualService that are compared with one another; the cost is quadratic.
const MAX_ENTRIES: usize = 1024;

pub(super) fn review(spec: &VirtualServiceSpec, review: &mut Review<'_, '_>) {
    let http: Vec<Vec<HttpMatchRequest>> =
        spec.http.iter().map(|rule| rule.matches.iter().map(comparable).collect()).collect();
    let kept = rules("spec.http", &http, review);
    overlapping(&http, &kept, review);
    let tcp: Vec<Vec<L4MatchAttributes>> =
        spec.tcp.iter().map(|rule| rule.matches.iter().map(comparable_tcp).collect()).collect();
    rules("spec.tcp", &tcp, review);
    let tls: Vec<Vec<TlsMatchAttributes>> =
        spec.tls.iter().map(|rule| rule.matches.iter().map(comparable_tls).collect()).collect();
    rules("spec.tls", &tls, review);
}

/// An entry without its name and with what means the same written in one way.
fn comparable(entry: &HttpMatchRequest) -> HttpMatchRequest {
    HttpMatchRequest {
        name: None,
        port: entry.port.filter(|port| *port != 0),
        ignore_uri_case: entry.ignore_uri_case.filter(|ignored| *ignored),
        source_namespace: entry.source_namespace.clone().filter(|space| !space.is_empty()),
        stat_prefix: entry.stat_prefix.clone().filter(|prefix| !prefix.is_empty()),
        ..entry.clone()
    }
}

fn comparable_tcp(entry: &L4MatchAttributes) -> L4MatchAttributes {
    L4MatchAttributes {
        port: entry.port.filter(|port| *port != 0),
        source_subnet: entry.source_subnet.clone().filter(|subnet| !subnet.is_empty()),
        source_namespace: entry.source_namespace.clone().filter(|space| !space.is_empty()),
        ..entry.clone()
    }
}

fn comparable_tls(entry: &TlsMatchAttributes) -> TlsMatchAttributes {
    TlsMatchAttributes {
        port: entry.port.filter(|port| *port != 0),
        source_namespace: entry.source_namespace.clone().filter(|space| !space.is_empty()),
        ..entry.clone()
    }
}

fn unreachable(rule: impl Display, why: &str, review: &mut Review<'_, '_>) {
    let message = format!("the rule is never reached: {why}");
    review.warn_as(Code::UnreachableRule, rule, message, "move it up, or remove it");
}

fn ineffective(entry: impl Display, why: &str, review: &mut Review<'_, '_>) {
    let message = format!("the entry is never reached: {why}");
    review.warn_as(Code::IneffectiveMatch, entry, message, "remove it");
}

/// Entries that stand there twice, and rules after one without entries. What comes out are the entries that count, as
/// rule and entry.
fn rules<M: Debug>(list: &str, rules: &[Vec<M>], review: &mut Review<'_, '_>) -> Vec<(usize, usize)> {
    let mut open: Option<usize> = None;
    let mut kept: Vec<(usize, usize)> = Vec::new();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (index, entries) in rules.iter().enumerate() {
        if entries.is_empty() {
            if let Some(earlier) = open {
                unreachable(
                    format!("{list}[{index}]"),
                    &format!("{list}[{earlier}] matches everything"),
                    review,
                );
            }
            open = Some(index);
            continue;
        }
        if let Some(earlier) = open {
            unreachable(format!("{list}[{index}]"), &format!("{list}[{earlier}] matches everything"), review);
            continue;
        }
        let mut twice = 0;
        for (at, entry) in entries.iter().enumerate() {
            match seen.entry(format!("{entry:?}")) {
                Entry::Occupied(seen) => {
                    twice += 1;
                    let (rule, earlier) = seen.get();
                    let message = format!("{list}[{rule}].match[{earlier}] is the same");
                    ineffective(format!("{list}[{index}].match[{at}]"), &message, review);
                }
                Entry::Vacant(unseen) => {
                    unseen.insert((index, at));
                    kept.push((index, at));
                }
            }
        }
        if twice == entries.len() {
            unreachable(format!("{list}[{index}]"), "earlier rules have all its entries", review);
        }
    }
    kept
}

/// What is compared of an entry that matches by prefix.
struct Prefix<'a> {
    place: (usize, usize),
    prefix: &'a str,
    port: Option<u32>,
    method: String,
    authority: String,
    headers: Texts<'a>,
    query: Texts<'a>,
    without: Texts<'a>,
}

type Texts<'a> = BTreeMap<&'a str, String>;

/// A longer prefix after a shorter one that asks for the same besides.
fn overlapping(rules: &[Vec<HttpMatchRequest>], kept: &[(usize, usize)], review: &mut Review<'_, '_>) {
    let prefixes = kept.iter().filter_map(|(rule, at)| {
        let entry = &rules[*rule][*at];
        let prefix = entry.uri.as_ref()?.prefix.as_deref().filter(|prefix| !prefix.is_empty())?;
        // A rule without a method is compared as if it were for GET, in both places alike.
        let method = Some(text(entry.method.as_deref())).filter(|method| !method.is_empty());
        Some(Prefix {
            place: (*rule, *at),
            prefix,
            port: entry.port,
            method: method.unwrap_or_else(|| "exact:GET".to_owned()),
            authority: text(entry.authority.as_deref()),
            headers: texts(&entry.headers),
            query: texts(&entry.query_params),
            without: texts(&entry.without_headers),
        })
    });
    let prefixes: Vec<Prefix<'_>> = prefixes.take(MAX_ENTRIES).collect();
    for (index, later) in prefixes.iter().enumerate() {
        for earlier in prefixes[..index].iter().filter(|earlier| covers(earlier, later)) {
            let ((rule, at), (other, entry)) = (later.place, earlier.place);
            let message =
                format!("the shorter prefix of spec.http[{other}].match[{entry}] takes its requests");
            ineffective(format!("spec.http[{rule}].match[{at}]"), &message, review);
        }
    }
}

fn text(matcher: Option<&StringMatch>) -> String {
    let Some(matcher) = matcher else { return String::new() };
    let set = |text: &Option<Box<str>>| text.clone().filter(|text| !text.is_empty());
    let exact = set(&matcher.exact).map(|text| format!("exact:{text}"));
    exact.or_else(|| set(&matcher.prefix).map(|text| format!("prefix:{text}"))).unwrap_or_default()
}

fn texts(map: &Map<StringMatch>) -> Texts<'_> {
    map.iter().map(|(name, matcher)| (name.as_str(), text(Some(matcher)))).collect()
}

/// `coveredValidation`: more is found than is true (a longer method counts as a wider one), and less.
fn covers(earlier: &Prefix<'_>, later: &Prefix<'_>) -> bool {
    let maps = [
        (&earlier.headers, &later.headers),
        (&earlier.query, &later.query),
        (&earlier.without, &later.without),
    ];
    later.prefix != earlier.prefix
        && later.prefix.starts_with(earlier.prefix)
        && later.port == earlier.port
        && earlier.method.starts_with(&later.method)
        && earlier.authority.starts_with(&later.authority)
        && maps.into_iter().all(|(earlier, later)| same_or_longer(earlier, later))
}

fn same_or_longer(earlier: &Texts<'_>, later: &Texts<'_>) -> bool {
    earlier.len() == later.len()
        && earlier
            .iter()
            .all(|(name, text)| later.get(name).is_some_and(|other| text.starts_with(other.as_str())))
}
