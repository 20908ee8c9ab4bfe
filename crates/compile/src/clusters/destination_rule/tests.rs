//! Look-up and merging of DestinationRules, shown by the subsets a service ends up with.

use super::*;
use crate::testing::{environment, objects};

/// A rule with the subset `name`; `more` is put into its spec.
fn rule(namespace: &str, name: &str, host: &str, created: u8, more: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2024-01-{created:02}T00:00:00Z'}}
spec: {{host: '{host}', subsets: [{{name: {name}}}]{more}}}
"
    )
}

/// The subsets of `web.app.svc.cluster.local` at a gateway in `namespace`.
fn subsets(rules: &[String], namespace: &str) -> Vec<String> {
    let objects = objects(&rules.concat());
    let mut environment = environment();
    environment.workload.namespace = namespace.to_owned();
    let rules = DestinationRules::new(&objects, &environment, Hosts::All);
    let found = rules.find("web.app.svc.cluster.local", "app");
    found.iter().flat_map(|rule| &rule.subsets).map(|(_, subset)| subset.value.name.clone()).collect()
}

#[test]
fn the_first_step_with_a_hit_wins() {
    let host = "web.app.svc.cluster.local";
    let private = ", exportTo: [.]";
    let root = || rule("istio-system", "root", host, 1, "");
    let service = || rule("app", "service", "web", 1, "");
    let gateway = || rule("gw", "gateway", host, 1, "");
    let cases: &[(&[String], &str, &[&str])] = &[
        (&[root(), service(), gateway()], "gw", &["gateway"]),
        (&[root(), service()], "gw", &["service"]),
        (&[root()], "gw", &["root"]),
        (&[rule("other", "other", host, 1, "")], "gw", &[]),
        // What is private to another namespace is as good as not there.
        (&[root(), rule("app", "service", "web", 1, private)], "gw", &["root"]),
        (&[root(), rule("app", "service", "web", 1, ", exportTo: [elsewhere]")], "gw", &["root"]),
        (&[root(), rule("app", "service", "web", 1, ", exportTo: [gw]")], "gw", &["service"]),
        (&[service(), rule("gw", "gateway", host, 1, private)], "gw", &["gateway"]),
        // One that is only for others is not for its own namespace.
        (&[service(), rule("gw", "gateway", host, 1, ", exportTo: [x]")], "gw", &["service"]),
        (&[service(), rule("gw", "gateway", host, 1, ", exportTo: [gw]")], "gw", &["gateway"]),
        // In the root namespace only a private rule comes first.
        (&[root(), service()], "istio-system", &["service"]),
        (&[rule("istio-system", "root", host, 1, private), service()], "istio-system", &["root"]),
        (&[root()], "istio-system", &["root"]),
    ];
    for (at, (rules, namespace, expected)) in cases.iter().enumerate() {
        assert_eq!(subsets(rules, namespace), *expected, "case {at}");
    }
}

#[test]
fn the_most_specific_host_wins() {
    let exact = || rule("app", "exact", "web", 9, "");
    let near = || rule("app", "near", "*.app.svc.cluster.local", 8, "");
    let far = || rule("app", "far", "*.cluster.local", 7, "");
    let any = || rule("app", "any", "*", 6, "");
    let unlike = || rule("app", "unlike", "*.web.app.svc.cluster.local", 5, "");
    let cases: &[(&[String], &[&str])] = &[
        (&[any(), far(), near(), exact(), unlike()], &["exact"]),
        (&[any(), far(), near(), unlike()], &["near"]),
        (&[any(), far()], &["far"]),
        (&[any()], &["any"]),
        (&[unlike()], &[]),
    ];
    for (at, (rules, expected)) in cases.iter().enumerate() {
        assert_eq!(subsets(rules, "gw"), *expected, "case {at}");
    }
}

#[test]
fn rules_of_one_host_merge() {
    let selects = ", workloadSelector: {matchLabels: {istio: ingressgateway}}";
    let selects_other = ", workloadSelector: {matchLabels: {istio: other}}";
    let host = "web.app.svc.cluster.local";
    let cases: &[(&[String], &str, &[&str])] = &[
        (&[rule("app", "b", "web", 1, ""), rule("app", "a", host, 2, "")], "gw", &["b", "a"]),
        // Those that other namespaces see are kept apart; of several that are seen the last one counts.
        (&[rule("app", "a", "web", 1, ""), rule("app", "b", "web", 2, ", exportTo: [gw]")], "gw", &["b"]),
        (&[rule("app", "a", "web", 1, ""), rule("app", "b", "web", 2, ", exportTo: ['*']")], "gw", &["b"]),
        (&[rule("app", "a", "web", 1, ", exportTo: [x]"), rule("app", "b", "web", 2, "")], "gw", &["b"]),
        (&[rule("app", "a", "web", 1, ""), rule("app", "b", "web", 2, ", exportTo: [x]")], "gw", &["a"]),
        (
            &[
                rule("app", "a", "web", 1, ", exportTo: [gw]"),
                rule("app", "b", "web", 2, ", exportTo: [gw, x]"),
            ],
            "gw",
            &["a", "b"],
        ),
        // One that selects this workload comes first; it gains those that are private as it is.
        (&[rule("gw", "a", host, 1, ""), rule("gw", "b", host, 2, selects)], "gw", &["b"]),
        (
            &[rule("gw", "a", host, 1, ", exportTo: [.]"), rule("gw", "b", host, 2, selects)],
            "gw",
            &["b", "a"],
        ),
        (
            &[rule("gw", "a", host, 1, ", exportTo: [., x]"), rule("gw", "b", host, 2, selects)],
            "gw",
            &["b", "a"],
        ),
        // Such a private one is nothing of its own any more, even where the selector is for others.
        (&[rule("gw", "a", host, 1, ", exportTo: [.]"), rule("gw", "b", host, 2, selects_other)], "gw", &[]),
        (
            &[rule("gw", "a", host, 1, ", exportTo: [., x]"), rule("gw", "b", host, 2, selects_other)],
            "gw",
            &["a"],
        ),
        (&[rule("gw", "a", host, 1, ""), rule("gw", "b", host, 2, selects_other)], "gw", &["a"]),
        (&[rule("gw", "b", host, 2, selects_other)], "gw", &[]),
        // A selector elsewhere reaches nobody here.
        (&[rule("app", "b", host, 2, selects)], "gw", &[]),
    ];
    for (at, (rules, namespace, expected)) in cases.iter().enumerate() {
        assert_eq!(subsets(rules, namespace), *expected, "case {at}");
    }
}

#[test]
fn the_first_policy_and_the_first_subset_of_a_name_stay() {
    let text = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: app, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {host: web, subsets: [{name: s, labels: {from: a}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: app, creationTimestamp: '2024-01-02T00:00:00Z'}
spec: {host: web, subsets: [{name: s, labels: {from: b}}], trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: c, namespace: app, creationTimestamp: '2024-01-03T00:00:00Z'}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
";
    let objects = objects(text);
    let environment = environment();
    let rules = DestinationRules::new(&objects, &environment, Hosts::All);
    let found = rules.find("web.app.svc.cluster.local", "app").expect("a rule");
    assert_eq!(found.policy.map(|policy| policy.rule.meta.name.as_str()), Some("b"));
    let [(_, subset)] = found.subsets.as_slice() else { panic!("one subset") };
    assert_eq!(subset.rule.meta.name, "a");
}
