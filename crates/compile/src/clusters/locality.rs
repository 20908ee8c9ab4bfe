//! How members are grouped by locality (routing reference §3.4; Istio: `loadbalancer.go`).
//!
//! Members of one locality are a group. `distribute` gives groups weights and leaves out those it does not name;
//! the other settings give them priorities by how near they are to the gateway, which takes outlier detection, since
//! otherwise nobody would notice that a priority fails.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_api::mesh::MeshConfig;
use portcullis_api::networking::{
    LoadBalancerSettings, LocalityDistribute, LocalityFailover, LocalityLbSetting, ZoneAwareLbSetting,
};
use portcullis_snapshot::cluster::{Group, Layout};

use crate::environment::GatewayWorkload;
use crate::locality::{self, Locality};
use crate::services::{Distribution, Member};

/// The setting in force for a service.
#[derive(Debug)]
pub(super) enum Setting<'a> {
    /// `localityLbSetting`, or what a service's traffic distribution stands for.
    Locality {
        distribute: &'a [LocalityDistribute],
        failover: &'a [LocalityFailover],
        priority: Vec<Cow<'a, str>>,
        /// Whether it works without outlier detection.
        forced: bool,
    },
    /// `zoneAwareLbSetting`. What it says about zones takes an Envoy that knows its peers, which Istio's gateway is
    /// only told on request; regions are kept apart all the same.
    ZoneAware(&'a ZoneAwareLbSetting),
}

/// Whether outlier detection is on, as the two places in Istio see it that ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detection {
    /// Where priorities are given.
    pub(super) for_priorities: bool,
    /// Where weights are switched on.
    pub(super) for_weights: bool,
}

impl<'a> Setting<'a> {
    /// The rule's setting, else the service's, else the mesh's, which is on unless it says otherwise.
    pub(super) fn effective(
        rule: Option<&'a LoadBalancerSettings>,
        distribution: Distribution,
        mesh: Option<&'a MeshConfig>,
    ) -> Option<Self> {
        if let Some(own) = rule.and_then(|settings| settings.zone_aware_lb_setting.as_ref()) {
            return Self::zone_aware(own);
        }
        if let Some(own) = rule.and_then(|settings| settings.locality_lb_setting.as_ref()) {
            return Self::locality(own);
        }
        let labels: &[&str] = match distribution {
            Distribution::SameZone => &[locality::NETWORK, locality::REGION, locality::ZONE],
            Distribution::SameNode => {
                &[locality::NETWORK, locality::REGION, locality::ZONE, locality::SUBZONE, locality::NODE]
            }
            Distribution::Any => {
                let mesh = mesh.map(|mesh| (&mesh.zone_aware_lb_setting, &mesh.locality_lb_setting));
                return match mesh {
                    Some((Some(zone_aware), _)) => Self::zone_aware(zone_aware),
                    Some((None, Some(setting))) => Self::locality(setting),
                    _ => Some(Self::Locality {
                        distribute: &[],
                        failover: &[],
                        priority: Vec::new(),
                        forced: false,
                    }),
                };
            }
        };
        let priority = labels.iter().map(|label| Cow::Borrowed(*label)).collect();
        Some(Self::Locality { distribute: &[], failover: &[], priority, forced: true })
    }

    fn zone_aware(setting: &'a ZoneAwareLbSetting) -> Option<Self> {
        (setting.enabled != Some(false)).then_some(Self::ZoneAware(setting))
    }

    fn locality(setting: &'a LocalityLbSetting) -> Option<Self> {
        let priority =
            || setting.failover_priority.iter().map(|label| Cow::Borrowed(label.as_str())).collect();
        (setting.enabled != Some(false)).then(|| Self::Locality {
            distribute: &setting.distribute,
            failover: &setting.failover,
            priority: priority(),
            forced: false,
        })
    }
}

/// A group on its way.
#[derive(Debug, Clone)]
struct Draft<'m> {
    locality: &'m str,
    priority: u32,
    weight: u32,
    /// Positions.
    members: Vec<usize>,
}

/// The groups of `members`, by position; a member that is in none gets nothing. `None`: all are alike.
pub(super) fn layout(
    members: &[&Member],
    setting: &Setting<'_>,
    detection: Detection,
    gateway: &GatewayWorkload,
) -> Option<(Layout, Vec<Option<u32>>)> {
    let mut groups = by_locality(members);
    let here = gateway.locality();
    let here = Locality::parse(&here);
    let weighted = match setting {
        Setting::Locality { distribute, failover, priority, forced } => {
            let fails_over = *forced || detection.for_priorities;
            if !distribute.is_empty() {
                distribute_weights(&mut groups, distribute, &here);
            } else if fails_over {
                if !priority.is_empty() {
                    groups = by_labels(groups, members, priority, gateway);
                }
                if priority.is_empty() || !failover.is_empty() {
                    by_distance(&mut groups, &here, failover);
                }
            }
            let named = !failover.is_empty() || !priority.is_empty();
            !distribute.is_empty() || (named && (*forced || detection.for_weights))
        }
        Setting::ZoneAware(setting) => {
            if !setting.failover_priority.is_empty() {
                let labels: Vec<_> =
                    setting.failover_priority.iter().map(|label| Cow::Borrowed(label.as_str())).collect();
                groups = by_labels(groups, members, &labels, gateway);
            }
            by_region(&mut groups, &here, &setting.failover);
            false
        }
    };
    finish(&groups, members.len(), weighted)
}

/// One group for each locality, in order of its name.
fn by_locality<'m>(members: &[&'m Member]) -> Vec<Draft<'m>> {
    let mut groups: BTreeMap<&str, Draft<'m>> = BTreeMap::new();
    for (position, member) in members.iter().enumerate() {
        let empty = Draft { locality: &member.locality, priority: 0, weight: 0, members: Vec::new() };
        let group = groups.entry(&member.locality).or_insert(empty);
        group.weight = group.weight.saturating_add(member.weight);
        group.members.push(position);
    }
    groups.into_values().collect()
}

/// Weights from the first entry for the gateway's locality; what it does not name gets nothing.
fn distribute_weights(groups: &mut Vec<Draft<'_>>, distribute: &[LocalityDistribute], here: &Locality<'_>) {
    let is_meant = |entry: &&LocalityDistribute| here.matches(entry.from.as_deref().unwrap_or_default());
    let Some(entry) = distribute.iter().find(is_meant) else { return };
    let mut named = vec![false; groups.len()];
    for (pattern, share) in &entry.to {
        let fits = |at: &usize| !named[*at] && Locality::parse(groups[*at].locality).matches(pattern);
        let places: Vec<usize> = (0..groups.len()).filter(fits).collect();
        let total: u64 = places.iter().map(|at| u64::from(groups[*at].weight)).sum();
        for at in places {
            named[at] = true;
            // A share of nothing leaves the weight as it is, as in Istio.
            let weight = (u64::from(groups[at].weight) * u64::from(*share)).div_ceil(total.max(1));
            if weight > 0 {
                groups[at].weight = u32::try_from(weight).unwrap_or(u32::MAX);
            }
        }
    }
    let mut named = named.into_iter();
    groups.retain(|_| named.next().unwrap_or(false));
}

/// Splits groups by how many of `labels` their members share with the gateway, counted from the first one.
/// `label=value` stands for the gateway having that value.
fn by_labels<'m>(
    groups: Vec<Draft<'m>>,
    members: &[&'m Member],
    labels: &[Cow<'_, str>],
    gateway: &GatewayWorkload,
) -> Vec<Draft<'m>> {
    let wanted: Vec<(&str, Cow<'_, str>)> = labels
        .iter()
        .map(|label| match label.split('=').collect::<Vec<_>>().as_slice() {
            [name, value] => (*name, Cow::Borrowed(*value)),
            [name, ..] => (*name, gateway.label(name).unwrap_or_default()),
            [] => ("", Cow::Borrowed("")),
        })
        .collect();
    let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
    let rank = |member: &Member| {
        let mut behind = 0;
        for (at, (name, value)) in (0..).zip(&wanted) {
            if member.label(name).unwrap_or_default() != value {
                if at == 0 && *name == locality::NETWORK {
                    // Another network comes behind all of this one, in the same order.
                    behind = count;
                    continue;
                }
                return behind + count - at;
            }
        }
        behind
    };
    let mut split = Vec::new();
    for group in groups {
        let mut ranks: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        group.members.iter().for_each(|at| ranks.entry(rank(members[*at])).or_default().push(*at));
        split.extend(ranks.into_iter().map(|(priority, own)| Draft {
            locality: group.locality,
            priority,
            weight: own.iter().fold(0, |sum: u32, at| sum.saturating_add(members[*at].weight)),
            members: own,
        }));
    }
    close_gaps(&mut split);
    split
}

/// Priorities by distance, below those there are; `failover` says which region comes before the rest.
fn by_distance(groups: &mut [Draft<'_>], here: &Locality<'_>, failover: &[LocalityFailover]) {
    let next = failover_region(here, failover);
    for group in groups.iter_mut() {
        let there = Locality::parse(group.locality);
        let distance = match (here.distance(&there), next) {
            (3, Some(region)) if region != there.region => 4,
            (distance, _) => distance,
        };
        group.priority = group.priority * 5 + distance;
    }
    close_gaps(groups);
}

/// Priorities by region alone, below those there are.
fn by_region(groups: &mut [Draft<'_>], here: &Locality<'_>, failover: &[LocalityFailover]) {
    let next = failover_region(here, failover);
    for group in groups.iter_mut() {
        let region = Locality::parse(group.locality).region;
        let place = match region == here.region {
            true => 0,
            false if next == Some(region) => 1,
            false => 2,
        };
        group.priority = group.priority * 3 + place;
    }
    close_gaps(groups);
}

/// The region that takes over from the gateway's own.
fn failover_region<'f>(here: &Locality<'_>, failover: &'f [LocalityFailover]) -> Option<&'f str> {
    let entry = failover.iter().find(|entry| entry.from.as_deref().unwrap_or_default() == here.region)?;
    Some(entry.to.as_deref().unwrap_or_default())
}

/// Renumbers priorities from 0 without gaps.
fn close_gaps(groups: &mut [Draft<'_>]) {
    let mut used: Vec<u32> = groups.iter().map(|group| group.priority).collect();
    used.sort_unstable();
    used.dedup();
    for group in groups {
        let place = used.partition_point(|priority| *priority < group.priority);
        group.priority = u32::try_from(place).unwrap_or(u32::MAX);
    }
}

/// The layout, and the group of each of `count` members.
fn finish(groups: &[Draft<'_>], count: usize, weighted: bool) -> Option<(Layout, Vec<Option<u32>>)> {
    let mut places = vec![None; count];
    for (number, group) in (0..).zip(groups) {
        group.members.iter().for_each(|member| places[*member] = Some(number));
    }
    let is_whole = places.iter().all(Option::is_some);
    let is_flat = groups.iter().all(|group| group.priority == 0) && (!weighted || groups.len() < 2);
    if is_whole && is_flat {
        return None;
    }
    let groups =
        groups.iter().map(|group| Group { priority: group.priority, weight: group.weight }).collect();
    let members = places.iter().copied().flatten().collect();
    Some((Layout { members, groups, weighted }, places))
}

#[cfg(test)]
mod tests;
