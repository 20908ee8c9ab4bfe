//! Configurations nobody would write: the compiler answers all of them, and the same in any order.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use portcullis_api::Object;
use portcullis_compile::{Code, Compiled, Environment, Objects, compile};
use portcullis_snapshot::Headers;
use portcullis_snapshot::listener::ChainService;
use portcullis_snapshot::matcher::RequestView;
use portcullis_snapshot::path::normalize;
use portcullis_snapshot::settings::PathNormalization;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::{Shuffle, printed, with_certificates};

/// What is put in place of a value: wrong types, bounds, wildcards, other values of enums.
const VALUES: &[&str] = &[
    "''",
    "0",
    "1",
    "-1",
    "80",
    "443",
    "70000",
    "4294967296",
    "0.5",
    "true",
    "null",
    "[]",
    "{}",
    "'*'",
    "'*.com'",
    "'*.example.com'",
    "a.com",
    "'ns/*'",
    "./a.com",
    "'*/*'",
    "gw",
    "mesh",
    "default",
    "istio-system",
    "HTTP",
    "HTTPS",
    "TLS",
    "TCP",
    "SIMPLE",
    "MUTUAL",
    "PASSTHROUGH",
    "ISTIO_MUTUAL",
    "'(['",
    "'.*'",
    "'%'",
    "'%REQ(a)%'",
    "'\\9'",
    "1s",
    "-1s",
    "1h",
    "v1",
    "v1.default.svc.cluster.local",
    "/",
    "127.0.0.1",
    "'unix:///a'",
    "DNS",
    "STATIC",
    "2024-01-01T00:00:00Z",
];

/// The cases of this crate and the recorded ones: everything known to mean something.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = (root.join("tests/cases"), "objects.yaml");
    let recorded = (root.join("../../tests/conformance/istio/cases"), "config.yaml");
    let mut texts = Vec::new();
    for (folder, file) in [own, recorded] {
        let entries = fs::read_dir(folder).expect("the folder of cases exists");
        for entry in entries {
            let path = entry.expect("an entry can be read").path().join(file);
            texts.push(with_certificates(&fs::read_to_string(path).expect("a case has objects")));
        }
    }
    texts.sort();
    texts
});

/// Start and end of every scalar, roughly: what stands between the marks of YAML.
fn scalars(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, letter) in text.char_indices().chain([(text.len(), '\n')]) {
        if matches!(letter, ',' | '{' | '}' | '[' | ']' | ':' | '\n' | ' ') {
            if at > start {
                found.push((start, at));
            }
            start = at + letter.len_utf8();
        }
    }
    found
}

fn mutated(text: &str, changes: &[(Index, &str)]) -> String {
    let mut text = text.to_owned();
    for (place, value) in changes {
        let places = scalars(&text);
        if places.is_empty() {
            break;
        }
        let (start, end) = places[place.index(places.len())];
        text.replace_range(start..end, value);
    }
    text
}

/// Several texts in one: objects of cases that never met.
fn configuration() -> impl Strategy<Value = Vec<Object>> {
    let one = (any::<Index>(), proptest::collection::vec((any::<Index>(), select(VALUES)), 0..6));
    proptest::collection::vec(one, 1..3).prop_map(|parts| {
        let texts = parts.iter().enumerate().map(|(number, (which, changes))| {
            let text = mutated(&TEXTS[which.index(TEXTS.len())], changes);
            portcullis_api::load(&format!("{number}.yaml"), &text).objects
        });
        texts.flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn anything_compiles_the_same_in_any_order(mut objects in configuration(), services in any::<bool>()) {
        let mut environment = Environment::for_tests();
        if services {
            environment.ports = None;
        }
        let expected = printed(&compile(&Objects::from_iter(objects.clone()), &environment));
        Shuffle::default().shuffle(&mut objects);
        let found = printed(&compile(&Objects::from_iter(objects), &environment));
        prop_assert_eq!(found, expected);
    }
}

/// The rules and entries that findings call out of reach, as origins print them.
fn out_of_reach(compiled: &Compiled) -> Vec<String> {
    let codes = [Code::UnreachableRule, Code::IneffectiveMatch, Code::ShadowedByOther, Code::NeverApplies];
    let found = compiled.diagnostics.iter().filter(|found| codes.contains(&found.code));
    let places = found.filter_map(|found| {
        let rule = found.field.strip_prefix("spec.")?.split_inclusive(']').take(2).collect::<String>();
        // A finding about a delegate holds for one of its roots.
        let whole =
            found.object.kind.as_ref() == "VirtualService" && !found.message.contains("as delegate of");
        let rule = if rule.contains(".match[") { rule } else { format!("{}]", rule.split(']').next()?) };
        whole.then(|| format!("VirtualService {}/{} {rule}", found.object.namespace, found.object.name))
    });
    places.collect()
}

/// VirtualServices that get into one another's way: few hosts, few paths, several Gateways.
fn crowded() -> impl Strategy<Value = String> {
    let path = select(&["/", "/a", "/a/b", "/A", "/b", "a", "/a?b"][..]);
    let uri = (select(&["exact", "prefix"][..]), path, any::<bool>()).prop_map(|(kind, path, case)| {
        format!("uri: {{{kind}: {path:?}}}{}", if case { ", ignoreUriCase: true" } else { "" })
    });
    let regex =
        select(&["/.*", ".*", "/a.*", "/[ab]"][..]).prop_map(|text| format!("uri: {{regex: {text:?}}}"));
    let other = select(
        &[
            "method: {exact: GET}",
            "headers: {x: {exact: a}}",
            "headers: {x: {}}",
            "withoutHeaders: {x: {}}",
            "withoutHeaders: {x: {exact: a}}",
            "queryParams: {q: {prefix: a}}",
            "port: 80",
            "port: 443",
            "scheme: {exact: https}",
            "gateways: [g2]",
            "sourceLabels: {app: web}",
        ][..],
    );
    let conditions = (
        proptest::option::of(prop_oneof![3 => uri, 1 => regex]),
        proptest::collection::btree_set(other, 0..2),
    );
    let entry = conditions.prop_map(|(uri, others)| {
        let parts: Vec<String> = uri.into_iter().chain(others.into_iter().map(str::to_owned)).collect();
        format!("{{{}}}", parts.join(", "))
    });
    let rule = proptest::collection::vec(entry, 0..4).prop_map(|entries| {
        let matches =
            if entries.is_empty() { String::new() } else { format!("match: [{}], ", entries.join(", ")) };
        format!("  - {{{matches}directResponse: {{status: 200}}}}\n")
    });
    let hosts = select(&["[a.com]", "[b.com]", "[\"*.com\"]", "[a.com, b.com]"][..]);
    let service = (hosts, select(&["[g1]", "[g2]", "[g1, g2]"][..]), proptest::collection::vec(rule, 1..5));
    proptest::collection::vec(service, 1..4).prop_map(|services| {
        let services = services.into_iter().enumerate().map(|(number, (hosts, gateways, rules))| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number}}}\n\
                 spec:\n  hosts: {hosts}\n  gateways: {gateways}\n  http:\n{}",
                rules.concat()
            )
        });
        GATEWAYS.to_owned() + &services.collect::<String>()
    })
}

const GATEWAYS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g1}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*.com']}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g2}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: a, protocol: HTTP}, hosts: [a.com]}
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What a finding calls out of reach is never chosen, in any virtual host, for any request.
    #[test]
    fn what_is_called_unreachable_is_never_chosen(
        text in crowded(),
        requests in proptest::collection::vec(("/?[aAb/]{0,3}", 0..3u8, 0..3u8, any::<bool>()), 30),
    ) {
        let objects = portcullis_api::load("a.yaml", &text).objects;
        let compiled = compile(&Objects::from_iter(objects), &Environment::for_tests());
        let lost = out_of_reach(&compiled);
        let tables = compiled.snapshot.listeners.iter().filter_map(|listener| match &listener.plain.as_ref()?.service {
            ChainService::Http(table) => Some(table),
            _ => None,
        });
        let hosts: Vec<_> = tables.flat_map(|table| table.hosts.values()).collect();
        for (path, header, query, get) in requests {
            let Ok(path) = normalize(&path, PathNormalization::Base) else { continue };
            let mut headers = Headers::default();
            if header > 0 {
                headers.append("x", ["a", "b"][usize::from(header - 1)]);
            }
            let view = RequestView {
                method: if get { "GET" } else { "PUT" },
                scheme: "http",
                authority: "a.com",
                path: &path,
                query: [None, Some("q=ab"), Some("q=b")][usize::from(query)],
                headers: &headers,
            };
            for host in &hosts {
                let Some((_, route)) = host.find(&view) else { continue };
                let place = route.origin.to_string();
                let wrong = lost.iter().find(|lost| place == **lost || place.starts_with(&format!("{lost}.")));
                prop_assert!(wrong.is_none(), "{place} wins {view:?}\n{text}");
            }
        }
    }
}
