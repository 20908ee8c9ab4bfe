//! Which DestinationRule a service gets, and how several of one host become one (routing reference §3.1–3.2).

use std::collections::{BTreeSet, HashMap};

use portcullis_api::health_check::HEALTH_CHECK;
use portcullis_api::networking::{Subset, TrafficPolicy, WorkloadSelector};
use portcullis_api::{DestinationRule, Map};

use crate::environment::Environment;
use crate::names::qualified;
use crate::objects::Objects;
use crate::services::{Hosts, contains};
use crate::settings::{mesh, root_namespace};

/// Everyone, in `exportTo`.
const EVERYONE: &str = "*";
/// The rule's own namespace, in `exportTo`.
const OWN: &str = ".";

/// The DestinationRules that can reach the gateway.
pub(crate) struct DestinationRules<'a> {
    gateway: &'a Environment,
    root: String,
    /// Rules of the gateway's own namespace; of the root namespace only those private to it.
    own: Index<'a>,
    /// Rules that are not private, by namespace.
    exported: HashMap<&'a str, Index<'a>>,
}

/// Rules of one namespace by host. Wildcards are held with their `*`.
#[derive(Default)]
struct Index<'a>(HashMap<String, Vec<MergedRule<'a>>>);

/// All rules of one namespace, host and visibility, taken together.
#[derive(Clone)]
pub(crate) struct MergedRule<'a> {
    /// The first of the rules: what is noted of all of them names it.
    pub(crate) first: &'a DestinationRule,
    /// The policy of the first rule that has one.
    pub(crate) policy: Option<Written<'a, TrafficPolicy>>,
    /// Subsets of all of them by name; of two with one name the first.
    pub(crate) subsets: Vec<(usize, Written<'a, Subset>)>,
    /// The annotation of the first rule that has it.
    pub(crate) health_check: Option<Written<'a, str>>,
    selector: Option<&'a WorkloadSelector>,
    /// As written: nothing is for everyone, and yet not the same as `*`.
    export_to: BTreeSet<String>,
}

/// A part of a rule, with the rule.
#[derive(Debug)]
pub(crate) struct Written<'a, T: ?Sized> {
    pub(crate) value: &'a T,
    pub(crate) rule: &'a DestinationRule,
}

// Derives would ask for `T: Clone`, which a reference does not need.
impl<T: ?Sized> Clone for Written<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Written<'_, T> {}

impl<'a> DestinationRules<'a> {
    /// The rules for the services of `hosts`. A rule has no say about a host that its own does not stand for.
    pub(crate) fn new(objects: &'a Objects, gateway: &'a Environment, hosts: Hosts<'_>) -> Self {
        let default = mesh(objects)
            .map(|mesh| mesh.spec.default_destination_rule_export_to.as_slice())
            .unwrap_or_default();
        let root = root_namespace(objects, gateway).to_owned();
        let mut all = Self { gateway, root, own: Index::default(), exported: HashMap::new() };
        for rule in in_order(objects) {
            let host = qualified(&rule.spec.host, &rule.meta.namespace, &gateway.cluster_domain);
            if host.starts_with('*') || hosts.contain(&host) {
                all.add(rule, &host, default);
            }
        }
        all
    }

    fn add(&mut self, rule: &'a DestinationRule, host: &str, default: &[String]) {
        let own_namespace = self.gateway.workload.namespace.as_str();
        let namespace = rule.meta.namespace.as_str();
        let export_to = export_to(rule);
        let for_all = export_to.is_empty() || export_to.contains(EVERYONE);
        let for_own = for_all || export_to.contains(OWN) || export_to.contains(namespace);
        let is_private = match export_to.len() {
            // Of the mesh's default only this much counts.
            0 => default.iter().any(|name| name == OWN),
            1 => export_to.contains(OWN) || export_to.contains(namespace),
            _ => false,
        };
        let merged = MergedRule::new(rule, export_to);
        if namespace == own_namespace && for_own && (is_private || self.root != own_namespace) {
            self.own.add(host, merged.clone());
        }
        if !is_private {
            self.exported.entry(namespace).or_default().add(host, merged);
        }
    }

    /// The rule for the service of `host` in `namespace`.
    pub(crate) fn find(&self, host: &str, namespace: &str) -> Option<&MergedRule<'a>> {
        if let Some(rules) = self.own.most_specific(host) {
            return choose(rules, &self.gateway.workload.labels);
        }
        let visible = |namespace: &str| {
            let rules = self.exported.get(namespace)?.most_specific(host)?;
            rules.iter().rfind(|rule| {
                let viewer = &self.gateway.workload.namespace;
                let export_to = &rule.export_to;
                export_to.is_empty() || export_to.contains(EVERYONE) || export_to.contains(viewer)
            })
        };
        visible(namespace).or_else(|| visible(&self.root))
    }
}

/// Of the rules in the gateway's namespace that have one host: one that selects this workload, else the last without
/// a selector, as Istio walks them.
fn choose<'r, 'a>(rules: &'r [MergedRule<'a>], labels: &Map<String>) -> Option<&'r MergedRule<'a>> {
    let selects = |rule: &&MergedRule<'_>| {
        rule.selector.is_some_and(|selector| contains(labels, &selector.match_labels))
    };
    rules.iter().find(selects).or_else(|| rules.iter().rev().find(|rule| rule.selector.is_none()))
}

/// Every rule in the order they are merged in: those with a workload selector, then by age.
fn in_order(objects: &Objects) -> Vec<&DestinationRule> {
    let mut rules: Vec<_> = objects.destination_rules.values().map(|rule| &**rule).collect();
    rules.sort_by(|one, other| {
        let selects = |rule: &DestinationRule| rule.spec.workload_selector.is_some();
        selects(other).cmp(&selects(one)).then_with(|| one.meta.by_age(&other.meta))
    });
    rules
}

/// Who sees a rule, as written. One with a workload selector is for its own namespace alone.
fn export_to(rule: &DestinationRule) -> BTreeSet<String> {
    match rule.spec.workload_selector {
        Some(_) => BTreeSet::from([OWN.to_owned()]),
        None => rule.spec.export_to.iter().cloned().collect(),
    }
}

impl<'a> Index<'a> {
    /// Merges `new` into the rules of its host that it goes with, step by step as Istio does
    /// (`mergeDestinationRule`): the last rule that is there decides whether `new` stands beside them, too.
    fn add(&mut self, host: &str, new: MergedRule<'a>) {
        let rules = self.0.entry(host.to_owned()).or_default();
        let mut stands_alone = true;
        for held in rules.iter_mut() {
            stands_alone = new.export_to != held.export_to;
            let wider = !held.export_to.is_empty() && new.export_to.is_superset(&held.export_to);
            if stands_alone && !wider {
                continue;
            }
            match (held.selector, new.selector) {
                (Some(held), Some(new)) if held != new => {
                    stands_alone = true;
                    continue;
                }
                (None, None) | (Some(_), Some(_)) => stands_alone = false,
                _ => {}
            }
            held.merge(&new);
        }
        if stands_alone {
            rules.push(new);
        }
    }

    /// The rules of the most specific host that stands for `host`.
    fn most_specific(&self, host: &str) -> Option<&Vec<MergedRule<'a>>> {
        if let Some(rules) = self.0.get(host) {
            return Some(rules);
        }
        let suffix = host.strip_prefix('*').unwrap_or(host);
        let narrower = suffix.match_indices('.').map(|(dot, _)| &suffix[dot..]);
        narrower
            .filter(|suffix| suffix.len() < host.len())
            .find_map(|suffix| self.0.get(&format!("*{suffix}")))
            .or_else(|| self.0.get("*"))
    }
}

impl<'a> MergedRule<'a> {
    fn new(rule: &'a DestinationRule, export_to: BTreeSet<String>) -> Self {
        let policy = rule.spec.traffic_policy.as_ref().map(|value| Written { value, rule });
        let health_check = rule.meta.annotations.get(HEALTH_CHECK);
        let mut merged = Self {
            first: rule,
            policy,
            subsets: Vec::new(),
            health_check: health_check.map(|text| Written { value: text.as_str(), rule }),
            selector: rule.spec.workload_selector.as_ref(),
            export_to,
        };
        let subsets = rule.spec.subsets.iter().enumerate();
        let subsets: Vec<_> = subsets.map(|(at, value)| (at, Written { value, rule })).collect();
        merged.add_subsets(&subsets);
        merged
    }

    fn merge(&mut self, younger: &Self) {
        self.policy = self.policy.or(younger.policy);
        self.health_check = self.health_check.or(younger.health_check);
        self.add_subsets(&younger.subsets);
    }

    fn add_subsets(&mut self, subsets: &[(usize, Written<'a, Subset>)]) {
        for (at, subset) in subsets {
            if self.subsets.iter().all(|(_, held)| held.value.name != subset.value.name) {
                self.subsets.push((*at, *subset));
            }
        }
    }
}

#[cfg(test)]
mod tests;
