//! Each rule, on values that keep it and values that break it.

use super::*;

fn yes_and_no(cel: &Cel, keep: &[Value], break_it: &[Value]) {
    for value in keep {
        assert!((cel.holds)(value), "{value} breaks {}", cel.rule);
    }
    for value in break_it {
        assert!(!(cel.holds)(value), "{value} keeps {}", cel.rule);
    }
}

#[test]
fn expressions_mean_what_their_functions_do() {
    yes_and_no(&AT_LEAST_1MS, &[json!("1ms"), json!("1h")], &[json!("0s"), json!("-1s"), json!("999us")]);
    yes_and_no(&PORT, &[json!(1), json!(65535)], &[json!(0), json!(65536)]);
    yes_and_no(&NOT_EVERY_HOST, &[json!("*.a.com"), json!("a")], &[json!("*")]);
    let ports = |numbers: &[u32]| numbers.iter().map(|number| json!({ "number": number })).collect::<Value>();
    yes_and_no(&NUMBERS_DIFFER, &[ports(&[]), ports(&[1, 2])], &[ports(&[1, 2, 1])]);
    yes_and_no(&ADDRESS_OR_NETWORK, &[json!({"address": "a"}), json!({"network": "n"})], &[json!({})]);
    yes_and_no(
        &SOCKET_WITHOUT_PORTS,
        &[json!({"address": "unix:///a"}), json!({"address": "a", "ports": {}})],
        &[json!({"address": "unix:///a", "ports": {}})],
    );
    let sockets = [json!("unix:///a"), json!("unix://@a"), json!("1.2.3.4")];
    yes_and_no(&SOCKET_IS_ABSOLUTE, &sockets, &[json!("unix://a"), json!("unix://")]);
    yes_and_no(&SOCKET_IS_NO_FOLDER, &[json!("unix:///a"), json!("a/")], &[json!("unix:///a/")]);
    let long = "a".repeat(63);
    yes_and_no(
        &PORT_NAMES,
        &[json!({}), json!({"http-1": 1})],
        &[json!({"": 1}), json!({"-a": 1}), json!({"a.b": 1}), json!({(long): 1})],
    );
    yes_and_no(
        &SELECTOR_OR_ENDPOINTS,
        &[json!({"endpoints": []}), json!({"workloadSelector": {}})],
        &[json!({"endpoints": [], "workloadSelector": {}})],
    );
    yes_and_no(
        &BLOCKS_ARE_NOT_RESOLVED,
        &[
            json!({"addresses": ["10.0.0.0/8"]}),
            json!({"addresses": ["10.0.0.0/8"], "resolution": "STATIC"}),
            json!({"addresses": ["10.0.0.1"], "resolution": "DNS"}),
        ],
        &[json!({"addresses": ["10.0.0.1", "10.0.0.0/8"], "resolution": "DNS"})],
    );
    yes_and_no(
        &NONE_HAS_NO_ENDPOINTS,
        &[json!({}), json!({"endpoints": [], "resolution": "DNS"})],
        &[json!({"endpoints": []}), json!({"endpoints": [], "resolution": "NONE"})],
    );
    yes_and_no(
        &ROUND_ROBIN_HAS_ONE_ENDPOINT,
        &[json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [1]}), json!({"endpoints": [1, 2]})],
        &[json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [1, 2]})],
    );
    yes_and_no(&VALUE_WITHOUT_WILDCARD, &[json!("a"), json!("")], &[json!("a*")]);
    yes_and_no(&KEYS_WITHOUT_WILDCARD, &[json!({"a": "*"})], &[json!({"a*": ""})]);
    yes_and_no(&KEYS_NOT_EMPTY, &[json!({"a": ""})], &[json!({"": "a"})]);
    yes_and_no(
        &ONE_CREDENTIAL_OR_SEVERAL,
        &[json!({"credentialName": "a"}), json!({"credentialNames": ["a"]})],
        &[json!({"credentialName": "a", "credentialNames": ["a"]})],
    );
    yes_and_no(
        &SECRETS_OR_FILES,
        &[json!({"tlsCertificates": [], "credentialName": "a"})],
        &[json!({"tlsCertificates": [], "credentialNames": ["a"]})],
    );
}

#[test]
fn sizes_and_exclusions() {
    let cases = [
        (json!({"maxLength": 3}), json!("äöü"), true),
        (json!({"maxLength": 3}), json!("äöüß"), false),
        (json!({"minItems": 1, "maxItems": 2}), json!([]), false),
        (json!({"minItems": 1, "maxItems": 2}), json!([1, 2]), true),
        (json!({"minItems": 1, "maxItems": 2}), json!([1, 2, 3]), false),
        (json!({"maxProperties": 1}), json!({"a": 1, "b": 1}), false),
        (json!({"type": "number", "minimum": 0, "maximum": 100}), json!(100.0), true),
        (json!({"type": "number", "minimum": 0, "maximum": 100}), json!(100.1), false),
        (json!({"type": "number", "minimum": 0}), json!(-0.1), false),
        (json!({"x-kubernetes-list-map-keys": ["name"]}), json!([{"name": "a"}, {"name": "b"}]), true),
        (json!({"x-kubernetes-list-map-keys": ["name"]}), json!([{"name": "a"}, {"name": "a"}]), false),
        (json!({ONE_OF: [["a", "b"], ["c", "d"]]}), json!({"a": 1, "c": 1}), true),
        (json!({ONE_OF: [["a", "b"], ["c", "d"]]}), json!({"a": 1, "c": 1, "d": 1}), false),
    ];
    for (schema, value, holds) in cases {
        let rules = Rule::of(&schema);
        assert!(!rules.is_empty(), "{schema}");
        assert_eq!(rules.iter().all(|rule| rule.broken(&value).is_none()), holds, "{schema} {value}");
    }
}

#[test]
fn one_field_of_a_group_or_none() {
    let (keyword, value) = exclusion(&json!([["a", "b"]]));
    let none = json!({"not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}});
    assert_eq!((keyword, &value), ("oneOf", &json!([none, {"required": ["a"]}, {"required": ["b"]}])));
    assert_eq!(exclusion(&json!([["a"], ["b"]])).0, "allOf");
}
