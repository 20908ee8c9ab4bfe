//! Layouts out of rules and endpoints, printed: `priority*weight: members`, groups apart by ` | `.

use crate::clusters::Clusters;
use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::services::{Hosts, Services};
use crate::testing::{environment, objects};

/// A service with an endpoint `10.0.0.<n>` for each of `members` (inline YAML), a rule with `policy`, a mesh setting.
fn text(members: &[&str], more: &str, policy: &str, mesh: &str) -> String {
    let endpoints: String =
        (1..).zip(members).map(|(n, member)| format!("  - {{address: 10.0.0.{n}, {member}}}\n")).collect();
    let policy = if policy.is_empty() { "loadBalancer: {simple: RANDOM}" } else { policy };
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: app{more}}}
spec:
  hosts: [web.example]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
{endpoints}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: app}}
spec: {{host: web.example, trafficPolicy: {{{policy}}}}}
---
kind: MeshConfig
{mesh}
"
    )
}

fn printed(text: &str, environment: &Environment) -> String {
    let objects = objects(text);
    let mut diagnostics = Diagnostics::default();
    let services = Services::build(&objects, environment, Hosts::All, &mut diagnostics);
    let clusters = Clusters::build(&objects, environment, &services, None, &mut diagnostics);
    let cluster = clusters.served().iter().next().expect("a cluster").clone();
    let number =
        |at: usize| cluster.endpoints.all[at].address.to_string().replace("10.0.0.", "").replace(":80", "");
    let all = 0..cluster.endpoints.all.len();
    let Some(layout) = &cluster.endpoints.layout else {
        return format!("alike: {}", all.map(number).collect::<Vec<_>>().join(" "));
    };
    assert_eq!(layout.members.len(), cluster.endpoints.all.len());
    let groups = (0..).zip(&layout.groups).map(|(place, group)| {
        let members = all.clone().filter(|at| layout.members[*at] == place).map(number).collect::<Vec<_>>();
        let weight = if layout.weighted { format!("*{}", group.weight) } else { String::new() };
        format!("{}{weight}: {}", group.priority, members.join(" "))
    });
    groups.collect::<Vec<_>>().join(" | ")
}

fn at(locality: &str) -> Environment {
    let mut environment = environment();
    environment.workload.locality = locality.to_owned();
    environment
}

const OUTLIER: &str = "outlierDetection: {}";

/// One member in the gateway's subzone, one in its zone, one in its region, one in each of two others.
const NEAR_TO_FAR: [&str; 5] =
    ["locality: r/z/s", "locality: r/z/t", "locality: r/y", "locality: q/z", "locality: p"];

#[test]
fn members_fail_over_by_distance_where_failure_is_noticed() {
    let with = |policy: &str| printed(&text(&NEAR_TO_FAR, "", policy, ""), &at("r/z/s"));
    assert_eq!(with(""), "alike: 1 2 3 4 5");
    assert_eq!(with(OUTLIER), "3: 5 | 3: 4 | 2: 3 | 0: 1 | 1: 2");
    let off = "outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}";
    assert_eq!(with(off), "alike: 1 2 3 4 5");
    let named = "outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: r, to: p}]}}";
    assert_eq!(with(named), "3*1: 5 | 4*1: 4 | 2*1: 3 | 0*1: 1 | 1*1: 2");
    let other = "outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: q, to: p}]}}";
    assert_eq!(with(other), "3*1: 5 | 3*1: 4 | 2*1: 3 | 0*1: 1 | 1*1: 2");
    // Without detection failover means nothing, not even weights.
    assert_eq!(with("loadBalancer: {localityLbSetting: {failover: [{from: r, to: p}]}}"), "alike: 1 2 3 4 5");
}

#[test]
fn priorities_have_no_gaps_and_no_locality_is_one_too() {
    let with = |members: &[&str], here: &str| printed(&text(members, "", OUTLIER, ""), &at(here));
    assert_eq!(with(&["locality: q", "locality: p"], "r"), "alike: 1 2");
    assert_eq!(with(&["locality: q", "locality: r/z"], "r/z/s"), "1: 1 | 0: 2");
    // A gateway that does not know where it is is nearest to what does not either.
    assert_eq!(with(&["weight: 1", "locality: r/z"], ""), "0: 1 | 1: 2");
    assert_eq!(with(&["weight: 1", "weight: 2"], ""), "alike: 1 2");
    assert_eq!(with(&["locality: r/z", "locality: r/z"], ""), "alike: 1 2");
}

#[test]
fn the_label_of_a_workload_stands_for_its_locality() {
    let members =
        ["labels: {istio-locality: r.z}", "labels: {istio-locality: q}, locality: r/z", "weight: 1"];
    let mut gateway = at("elsewhere");
    assert_eq!(printed(&text(&members, "", OUTLIER, ""), &gateway), "alike: 1 2 3");
    gateway.workload.labels.insert("istio-locality".to_owned(), "r.z".to_owned());
    assert_eq!(printed(&text(&members, "", OUTLIER, ""), &gateway), "1: 3 | 0: 1 2");
}

#[test]
fn shares_are_those_of_the_first_entry_for_the_gateway() {
    let with = |distribute: &str, here: &str| {
        let policy = format!("loadBalancer: {{localityLbSetting: {{distribute: {distribute}}}}}");
        let members =
            ["locality: r/z/s, weight: 3", "locality: r/z/t", "locality: r/y", "locality: q/z", "weight: 2"];
        printed(&text(&members, "", &policy, ""), &at(here))
    };
    let split = "[{from: r/z/*, to: {'r/z/*': 80, 'q/*': 20}}, {from: '*', to: {'r/y': 100}}]";
    assert_eq!(with(split, "r/z/s"), "0*20: 4 | 0*60: 1 | 0*20: 2");
    // One group alone needs no weight, yet the others are left out.
    assert_eq!(with(split, ""), "0*100: 3");
    assert_eq!(with(split, "r/x"), "0*100: 3");
    // No entry: by the weights of the members, each locality being one.
    assert_eq!(with("[{from: q/*, to: {'*': 100}}]", "r"), "0*2: 5 | 0*1: 4 | 0*1: 3 | 0*3: 1 | 0*1: 2");
    // Shares are rounded up within a wildcard: 10 over weights 1, 1, 1 and so on.
    assert_eq!(with("[{from: '*', to: {'*': 10}}]", "r"), "0*3: 5 | 0*2: 4 | 0*2: 3 | 0*4: 1 | 0*2: 2");
}

#[test]
fn labels_rank_members_as_far_as_they_agree_from_the_left() {
    let members = [
        "labels: {version: v1, track: a}",
        "labels: {version: v1, track: b}",
        "labels: {version: v2, track: a}",
        "labels: {track: a}",
    ];
    let with = |priority: &str| {
        let policy = format!(
            "outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {{failoverPriority: {priority}}}}}"
        );
        let mut gateway = at("");
        gateway.workload.labels.insert("version".to_owned(), "v1".to_owned());
        gateway.workload.labels.insert("track".to_owned(), "a".to_owned());
        printed(&text(&members, "", &policy, ""), &gateway)
    };
    assert_eq!(with("[version, track]"), "0*1: 1 | 1*1: 2 | 2*2: 3 4");
    assert_eq!(with("[track, version]"), "0*1: 1 | 1*2: 3 4 | 2*1: 2");
    assert_eq!(with("[version=v2]"), "0*1: 3 | 1*3: 1 2 4");
    // The gateway has none either.
    assert_eq!(with("[zone]"), "alike: 1 2 3 4");
    // Another network is behind all of one's own, whatever else agrees.
    assert_eq!(with("[topology.istio.io/network, version]"), "0*2: 1 2 | 1*2: 3 4");
}

#[test]
fn labels_come_before_the_region_that_takes_over() {
    let members = [
        "labels: {v: a}, locality: q",
        "labels: {v: b}, locality: q",
        "labels: {v: a}, locality: p",
        "locality: r",
    ];
    let policy = "outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [v=a], failover: \
                  [{from: r, to: p}]}}";
    assert_eq!(printed(&text(&members, "", policy, ""), &at("r")), "0*1: 3 | 1*1: 1 | 3*1: 2 | 2*1: 4");
}

#[test]
fn a_service_may_prefer_its_zone_or_node() {
    let members = ["locality: r/z", "locality: r/y", "locality: q/z", "locality: r/z/s"];
    let with = |value: &str, policy: &str| {
        let annotation = format!(", annotations: {{networking.istio.io/traffic-distribution: {value}}}");
        printed(&text(&members, &annotation, policy, ""), &at("r/z/s"))
    };
    assert_eq!(with("PreferClose", ""), "2*1: 3 | 1*1: 2 | 0*1: 1 | 0*1: 4");
    assert_eq!(with("prefersamezone", ""), with("PreferClose", ""));
    assert_eq!(with("PreferSameNode", ""), "3*1: 3 | 2*1: 2 | 1*1: 1 | 0*1: 4");
    assert_eq!(with("Any", ""), "alike: 1 2 3 4");
    // A rule that says something about localities comes first.
    let off = "loadBalancer: {localityLbSetting: {enabled: false}}";
    assert_eq!(with("PreferClose", off), "alike: 1 2 3 4");
}

#[test]
fn the_mesh_says_what_no_rule_says() {
    let with = |policy: &str, mesh: &str| printed(&text(&NEAR_TO_FAR, "", policy, mesh), &at("r/z/s"));
    let all = "localityLbSetting: {distribute: [{from: '*', to: {'r/*': 100}}]}";
    assert_eq!(with("", all), "0*34: 3 | 0*34: 1 | 0*34: 2");
    assert_eq!(with("loadBalancer: {localityLbSetting: {enabled: false}}", all), "alike: 1 2 3 4 5");
    assert_eq!(with(OUTLIER, "localityLbSetting: {enabled: false}"), "alike: 1 2 3 4 5");
    // The mesh's own detection does not give listed endpoints priorities.
    assert_eq!(with("", "defaultTrafficPolicy: {outlierDetection: {}}"), "alike: 1 2 3 4 5");
}

#[test]
fn regions_are_kept_apart_by_the_zone_aware_setting() {
    let with = |setting: &str| {
        let policy = format!("loadBalancer: {{zoneAwareLbSetting: {{{setting}}}}}");
        printed(&text(&NEAR_TO_FAR, "", &policy, ""), &at("r/z/s"))
    };
    assert_eq!(with(""), "1: 5 | 1: 4 | 0: 3 | 0: 1 | 0: 2");
    assert_eq!(with("failover: [{from: r, to: q}]"), "2: 5 | 1: 4 | 0: 3 | 0: 1 | 0: 2");
    assert_eq!(with("enabled: false"), "alike: 1 2 3 4 5");
}
