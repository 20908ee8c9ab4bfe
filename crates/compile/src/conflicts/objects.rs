//! Objects, or parts of them, that have no effect: DestinationRules and subsets that no service or route uses,
//! ServiceEntries behind another object; and weights that surprise.

use std::collections::{BTreeSet, HashMap, HashSet};

use portcullis_api::networking::{Destination, HttpRoute};
use portcullis_api::{DestinationRule, Kind, ServiceEntry, VirtualService};

use super::Scene;
use crate::clusters::destination_rule::DestinationRules;
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::names::{qualified, visibility};
use crate::objects::Key;
use crate::services::{Discovery, Hosts, Services};
use crate::settings::mesh;

/// Reports them.
pub(super) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    for bound in scene.bindings.all() {
        weights(bound.resource, diagnostics);
    }
    service_entries(scene, diagnostics);
    if !scene.objects.destination_rules.is_empty() {
        destination_rules(scene, diagnostics);
    }
}

fn weights(resource: &VirtualService, diagnostics: &mut Diagnostics) {
    let subject = Subject::new(Kind::VirtualService, resource);
    for (index, rule) in resource.spec.http.iter().enumerate() {
        let weights: Vec<Option<i32>> = rule.route.iter().map(|route| route.weight).collect();
        note_weights(&weights, &format!("spec.http[{index}].route"), subject, diagnostics);
    }
    let tls = resource.spec.tls.iter().map(|rule| ("tls", &rule.route)).enumerate();
    let tcp = resource.spec.tcp.iter().map(|rule| ("tcp", &rule.route)).enumerate();
    for (index, (kind, route)) in tls.chain(tcp) {
        let weights: Vec<Option<i32>> = route.iter().map(|route| route.weight).collect();
        note_weights(&weights, &format!("spec.{kind}[{index}].route"), subject, diagnostics);
    }
}

/// Says what weights come to where they do not add up to 100, or a weight of 0 does something.
fn note_weights(weights: &[Option<i32>], field: &str, subject: Subject<'_>, diagnostics: &mut Diagnostics) {
    let mut note = |field: String, message: String, remedy: &str| {
        diagnostics.report(Code::UnusualWeights, subject, field, message, remedy);
    };
    if let [only] = weights {
        if *only == Some(0) {
            let message = "is 0, and the only destination gets every request all the same".to_owned();
            note(format!("{field}[0].weight"), message, "remove the weight, or the rule");
        }
        return;
    }
    // Without any weight, and with a negative one, the rule is refused.
    let sum: i64 = weights.iter().map(|weight| i64::from(weight.unwrap_or(0))).sum();
    if sum <= 0 || weights.iter().flatten().any(|weight| *weight < 0) {
        return;
    }
    if sum != 100 {
        let message = format!("the weights add up to {sum}: each destination gets its weight of {sum} parts");
        note(field.to_owned(), message, "use weights that add up to 100, if they are meant as percentages");
    }
    for (index, weight) in weights.iter().enumerate() {
        if weight.unwrap_or(0) == 0 {
            let message = match weight {
                Some(_) => "is 0, so this destination gets nothing".to_owned(),
                None => "is missing beside destinations with a weight, so this one gets nothing".to_owned(),
            };
            note(format!("{field}[{index}].weight"), message, "give it a weight, or remove it");
        }
    }
}

fn service_entries(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let (objects, environment) = (scene.objects, scene.environment);
    if objects.service_entries.is_empty() {
        return;
    }
    let default =
        mesh(objects).map(|mesh| mesh.spec.default_service_export_to.as_slice()).unwrap_or_default();
    let viewer = &environment.workload.namespace;
    let mut visible: Vec<&ServiceEntry> = objects.service_entries.values().map(|entry| &**entry).collect();
    visible
        .retain(|entry| visibility(&entry.spec.export_to, default, &entry.meta.namespace, viewer).is_some());
    visible.sort_by(|one, other| one.meta.by_age(&other.meta));
    let suffix = format!(".svc.{}", environment.cluster_domain);
    let mut oldest: HashMap<&str, &ServiceEntry> = HashMap::new();
    for entry in visible {
        for (index, host) in entry.spec.hosts.iter().enumerate() {
            let hider = kubernetes_service(host, &suffix)
                .filter(|key| objects.services.contains_key(key))
                .map(|(namespace, name)| format!("Service {namespace}/{name} has this host and is preferred"))
                .or_else(|| {
                    let older = oldest.get(host.as_str()).filter(|older| hides(older, entry))?;
                    Some(format!(
                        "ServiceEntry {}/{} has this host and is older: on ports that both have, its endpoints \
                         are used",
                        older.meta.namespace, older.meta.name
                    ))
                });
            if let Some(message) = hider {
                diagnostics.report(
                    Code::ServiceEntryHidden,
                    Subject::new(Kind::ServiceEntry, entry),
                    format!("spec.hosts[{index}]"),
                    message,
                    "keep one of the two, or give this one another host",
                );
            }
            oldest.entry(host).or_insert(entry);
        }
    }
}

/// Namespace and name of the Kubernetes Service that would have this host.
fn kubernetes_service(host: &str, suffix: &str) -> Option<Key> {
    let (name, namespace) = host.strip_suffix(suffix)?.split_once('.')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Whether the older entry keeps the younger one's endpoints out on a port that both have.
fn hides(older: &ServiceEntry, younger: &ServiceEntry) -> bool {
    let (one, other) = (&older.spec, &younger.spec);
    // Within a namespace two entries that agree are merged.
    let merged = older.meta.namespace == younger.meta.namespace
        && one.resolution == other.resolution
        && older.meta.labels == younger.meta.labels
        && one.export_to == other.export_to;
    !merged && one.ports.iter().any(|port| other.ports.iter().any(|own| own.number == port.number))
}

/// What services take from DestinationRules.
#[derive(Default)]
struct Used {
    policies: HashSet<*const DestinationRule>,
    subsets: HashSet<(*const DestinationRule, usize)>,
}

fn destination_rules(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let (objects, environment) = (scene.objects, scene.environment);
    let rules = DestinationRules::new(objects, environment, Hosts::All);
    let mut used = Used::default();
    for service in scene.services.iter() {
        if let Some(merged) = rules.find(&service.facts.host, &service.facts.namespace) {
            used.policies.extend(merged.policy.map(|written| std::ptr::from_ref(written.rule)));
            let subsets = merged.subsets.iter();
            used.subsets.extend(subsets.map(|(at, subset)| (std::ptr::from_ref(subset.rule), *at)));
        }
    }
    let named = named_subsets(scene);
    for rule in objects.destination_rules.values() {
        let host = qualified(&rule.spec.host, &rule.meta.namespace, &environment.cluster_domain);
        // A rule for a host that is no service has a finding of its own.
        let Some((service, namespace)) = matching_service(&host, scene.services) else { continue };
        let pointer = std::ptr::from_ref(&**rule);
        let has_policy = used.policies.contains(&pointer);
        let subsets = (0..rule.spec.subsets.len()).filter(|at| used.subsets.contains(&(pointer, *at)));
        let subsets: BTreeSet<usize> = subsets.collect();
        let winner = rules.find(service, namespace);
        let reason = Reason { rule, winner_policy: winner.and_then(|found| found.policy.map(|w| w.rule)) };
        if !has_policy && subsets.is_empty() {
            // A rule without any content is nothing to be used.
            if rule.spec.traffic_policy.is_some() || !rule.spec.subsets.is_empty() {
                let winner = winner.and_then(|found| {
                    found.policy.map(|w| w.rule).or(found.subsets.first().map(|(_, w)| w.rule))
                });
                reason.not_used(winner, diagnostics);
            }
            continue;
        }
        if rule.spec.traffic_policy.is_some() && !has_policy {
            reason.policy_ignored(diagnostics);
        }
        for (at, subset) in rule.spec.subsets.iter().enumerate() {
            if !subsets.contains(&at) {
                reason.subset_ignored(at, diagnostics);
            } else if !named.contains(&subset_key(&host, &subset.name)) && !host.starts_with('*') {
                let message = format!("no route names subset {:?} of {host}", subset.name);
                let field = format!("spec.subsets[{at}]");
                let subject = Subject::new(Kind::DestinationRule, &**rule);
                diagnostics.report(Code::SubsetNotUsed, subject, field, message, "");
            }
        }
    }
}

/// Says why a rule, or a part of it, has no effect.
struct Reason<'a> {
    rule: &'a DestinationRule,
    winner_policy: Option<&'a DestinationRule>,
}

impl Reason<'_> {
    fn report(&self, code: Code, field: &str, message: String, remedy: &str, diagnostics: &mut Diagnostics) {
        diagnostics.report(code, Subject::new(Kind::DestinationRule, self.rule), field, message, remedy);
    }

    fn not_used(&self, winner: Option<&DestinationRule>, diagnostics: &mut Diagnostics) {
        let message = match winner {
            Some(winner) => format!("has no effect: {} is used for this host", name(winner)),
            None => "has no effect: it is not exported to the gateway's namespace, or is private to a \
                     namespace that neither the service nor the gateway has"
                .to_owned(),
        };
        let remedy = "rules of the gateway's namespace come first, then those of the service's, then those of \
                      the root namespace; and exportTo must let the gateway see them";
        self.report(Code::DestinationRuleNotUsed, "spec.host", message, remedy, diagnostics);
    }

    fn policy_ignored(&self, diagnostics: &mut Diagnostics) {
        let by = self.winner_policy.map_or_else(|| "another rule".to_owned(), name);
        let message = format!("is ignored: {by} has the same host and its trafficPolicy is the one used");
        let remedy = "write one trafficPolicy for a host, in one DestinationRule";
        self.report(Code::DestinationRulesOverlap, "spec.trafficPolicy", message, remedy, diagnostics);
    }

    fn subset_ignored(&self, at: usize, diagnostics: &mut Diagnostics) {
        let subset = &self.rule.spec.subsets[at].name;
        let message = format!("is ignored: there is another subset {subset:?} for the same host");
        let field = format!("spec.subsets[{at}]");
        self.report(Code::DestinationRulesOverlap, &field, message, "rename one of the two", diagnostics);
    }
}

fn name(rule: &DestinationRule) -> String {
    format!("DestinationRule {}/{}", rule.meta.namespace, rule.meta.name)
}

/// Host and namespace of a service that a rule for `host` is for.
fn matching_service<'s>(host: &str, services: &'s Services) -> Option<(&'s str, &'s str)> {
    let fits = |own: &str| match host.strip_prefix('*') {
        Some(suffix) => own.ends_with(suffix),
        None => own == host,
    };
    let exact = match host.starts_with('*') {
        true => services.iter().find(|service| fits(&service.facts.host)),
        false => services.find(host, ""),
    };
    exact.map(|service| (&*service.facts.host, &*service.facts.namespace))
}

/// The subsets that any VirtualService names, by completed host.
fn named_subsets(scene: &Scene<'_, '_>) -> HashSet<String> {
    let mut named = HashSet::new();
    for resource in scene.objects.virtual_services.values() {
        let namespace = &resource.meta.namespace;
        for destination in destinations(resource) {
            let Some(subset) = destination.subset.as_deref() else { continue };
            let host = qualified(&destination.host, namespace, &scene.environment.cluster_domain);
            if let Some(service) = scene.services.find(&host, namespace)
                && let Discovery::Alias(target) = &service.discovery
            {
                named.insert(subset_key(target, subset));
            }
            named.insert(subset_key(&host, subset));
        }
    }
    named
}

fn subset_key(host: &str, subset: &str) -> String {
    format!("{subset}|{host}")
}

/// Every destination of a VirtualService, mirrors included.
fn destinations(resource: &VirtualService) -> impl Iterator<Item = &Destination> {
    let spec = &resource.spec;
    let http = spec.http.iter().flat_map(|rule: &HttpRoute| {
        let routes = rule.route.iter().map(|route| &route.destination);
        routes.chain(rule.mirror.as_deref()).chain(rule.mirrors.iter().map(|mirror| &mirror.destination))
    });
    let tls = spec.tls.iter().flat_map(|rule| &rule.route).map(|route| &route.destination);
    let tcp = spec.tcp.iter().flat_map(|rule| &rule.route).map(|route| &route.destination);
    http.chain(tls).chain(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_kubernetes() {
        let key = |namespace: &str, name: &str| Some((namespace.to_owned(), name.to_owned()));
        for (host, expected) in
            [("a.b.svc.cluster.local", key("b", "a")), ("a.com", None), ("a.svc.cluster.local", None)]
        {
            assert_eq!(kubernetes_service(host, ".svc.cluster.local"), expected, "{host}");
        }
    }
}
