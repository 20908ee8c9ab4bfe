//! Configurations nobody would write: the compiler answers all of them, and the same in any order.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use portcullis_api::Object;
use portcullis_compile::{Environment, Objects, compile};
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
