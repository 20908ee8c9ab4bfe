//! What covers what, and that nothing reachable is called unreachable.

use portcullis_snapshot::Headers;
use portcullis_snapshot::matcher::RequestView;
use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("pattern")
}

fn path(text: &str) -> PathMatch {
    let (kind, text) = text.split_once(' ').unwrap_or((text, ""));
    match kind {
        "any" => PathMatch::Any,
        "exact" => PathMatch::Exact(text.into()),
        "EXACT" => PathMatch::ExactIgnoreCase(text.into()),
        "prefix" => PathMatch::Prefix(text.into()),
        "PREFIX" => PathMatch::PrefixIgnoreCase(text.into()),
        _ => PathMatch::Regex(Box::new(regex(text))),
    }
}

#[test]
fn paths() {
    for (wide, narrow, expected) in [
        ("any", "exact /a", true),
        ("prefix /", "any", true),
        ("prefix ", "regex /a.c", true),
        ("regex .*", "any", true),
        ("regex /.*", "any", true),
        ("prefix /a", "exact /ab", true),
        ("prefix /a", "EXACT /ab", false),
        ("prefix /1", "EXACT /1b", true),
        ("PREFIX /a", "exact /AB", true),
        ("PREFIX /a", "EXACT /ab", true),
        ("prefix /a", "any", false),
        ("prefix /api/", "regex /api/v[0-9]+", true),
        ("prefix /api/v", "regex /api/v?", false),
        ("prefix /a", "regex /a|/b", false),
        ("prefix /a", "regex (?i)/a", false),
        ("regex /api/.*", "prefix /api/v1", true),
        ("regex /api/.*", "prefix /api", false),
        ("regex /[ab]", "exact /a", true),
        ("regex /[ab]", "exact /c", false),
        ("regex /[ab]", "regex /[ab]", true),
        ("exact /a", "prefix /a", false),
        ("EXACT /a", "exact /A", true),
    ] {
        assert_eq!(covers_path(&path(wide), &path(narrow)), expected, "{wide} over {narrow}");
    }
}

fn text_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        "[ab]{0,2}".prop_map(|text| StringMatch::Exact(text.into())),
        "[ab]{1,2}".prop_map(|text| StringMatch::Prefix(text.into())),
        prop_oneof![Just("a.*"), Just("[ab]"), Just(".*")].prop_map(|text| StringMatch::Regex(regex(text))),
        Just(StringMatch::Present),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    let text = "/[aA1/]{0,3}";
    let patterns = prop_oneof![
        Just("/a.*"),
        Just("/a?"),
        Just("/a|/A"),
        Just("/a+/.*"),
        Just("/[aA]"),
        Just(".*"),
        Just("/a{1,2}"),
        Just("(?i)/a.*")
    ];
    prop_oneof![
        Just(PathMatch::Any),
        text.prop_map(|text| PathMatch::Exact(text.into())),
        text.prop_map(|text| PathMatch::ExactIgnoreCase(text.to_ascii_lowercase().into())),
        text.prop_map(|text| PathMatch::Prefix(text.into())),
        text.prop_map(|text| PathMatch::PrefixIgnoreCase(text.to_ascii_lowercase().into())),
        patterns.prop_map(|text| PathMatch::Regex(Box::new(regex(text)))),
    ]
}

fn named() -> impl Strategy<Value = NamedMatch> {
    ("[xy]", text_match()).prop_map(|(name, value)| NamedMatch { name: name.into(), value })
}

fn matcher() -> impl Strategy<Value = RouteMatcher> {
    let without =
        prop_oneof!["[xy]".prop_map(|name| Without::Absent(name.into())), named().prop_map(Without::Unlike),];
    let few = 0..2usize;
    (
        path_match(),
        proptest::option::of(prop_oneof![Just("GET"), Just("PUT")]),
        proptest::collection::vec(named(), few.clone()),
        proptest::collection::vec(without, few.clone()),
        proptest::collection::vec(named(), few),
    )
        .prop_map(|(path, method, headers, without, query)| RouteMatcher {
            path,
            method: method.map(|method| Box::new(StringMatch::Exact(method.into()))),
            headers: headers.into(),
            without: without.into(),
            query: query.into(),
            ..RouteMatcher::default()
        })
}

/// A request: method, path, query, headers.
type Asked = (&'static str, String, Option<String>, Vec<(String, String)>);

fn request() -> impl Strategy<Value = Asked> {
    let headers = proptest::collection::vec(("[xy]", "[ab]{0,2}"), 0..3);
    let query = proptest::option::of("([xy]=[ab]{0,2}(&[xy]=[ab]{0,2})?)?");
    (prop_oneof![Just("GET"), Just("PUT"), Just("PATCH")], "/[aA1/]{0,4}", query, headers)
}

fn first(matchers: &[RouteMatcher], (method, path, query, fields): &Asked) -> Option<usize> {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.append(name.clone(), value.clone());
    }
    let view = RequestView {
        method,
        scheme: "http",
        authority: "a",
        path,
        query: query.as_deref(),
        headers: &headers,
    };
    matchers.iter().position(|matcher| matcher.matches(&view))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is called unreachable is never chosen, in hosts small and large.
    #[test]
    fn the_unreachable_is_never_chosen(
        matchers in proptest::collection::vec(matcher(), 0..40),
        requests in proptest::collection::vec(request(), 40),
    ) {
        let all: Vec<&RouteMatcher> = matchers.iter().collect();
        let found = shadowed_matchers(&all);
        for asked in &requests {
            let winner = first(&matchers, asked);
            let wrong = found.iter().find(|shadowed| Some(shadowed.ordinal) == winner);
            prop_assert!(wrong.is_none(), "{:?} wins {asked:?}: {matchers:?}", wrong);
        }
    }

    /// The index finds what comparing every pair finds, where its bound is not reached.
    #[test]
    fn the_index_agrees_with_pairs(matchers in proptest::collection::vec(matcher(), 17..40)) {
        let all: Vec<&RouteMatcher> = matchers.iter().collect();
        let by_index: Vec<usize> = shadowed_matchers(&all).iter().map(|found| found.ordinal).collect();
        let by_pairs: Vec<usize> = (1..all.len())
            .filter(|&ordinal| all[..ordinal].iter().any(|wide| covers(wide, all[ordinal])))
            .collect();
        prop_assert_eq!(by_index, by_pairs);
    }
}
