//! The members of a cluster: a port's members, cut down to a subset, their names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portcullis_api::Map;
use portcullis_snapshot::cluster::{Address, Endpoint, Endpoints, Layout};

use crate::services::{Discovery, Member, Place, Port};

/// Label of a workload that is to get no new connections, whatever its value.
const DRAINING: &str = "istio.io/draining";

/// Members of `port` that carry every label of `labels` and are not draining.
pub(super) fn selected<'a>(
    port: &'a Port,
    labels: Option<&'a Map<String>>,
) -> impl Iterator<Item = &'a Member> {
    let drains = |member: &&Member| member.label(DRAINING).is_some_and(|value| !value.is_empty());
    let members = port.members.iter().filter(move |member| !drains(member));
    members.filter(move |member| labels.is_none_or(|wanted| member.has(wanted)))
}

/// Turns members into endpoints, each address once, sorted. Names are answered by `resolved`; those asked for are
/// added to `wanted`. `grouped` says which are grouped how, or that all are alike.
pub(super) fn endpoints<'a>(
    members: impl Iterator<Item = &'a Member>,
    discovery: &Discovery,
    resolved: &BTreeMap<String, Vec<IpAddr>>,
    wanted: &mut BTreeSet<String>,
    grouped: impl FnOnce(&[&'a Member]) -> Option<(Layout, Vec<Option<u32>>)>,
) -> Endpoints {
    let mut all = Vec::with_capacity(members.size_hint().0);
    for member in members {
        match &member.place {
            Place::Ip(ip) => all.push((Address::Inet(SocketAddr::new(*ip, member.port)), member)),
            Place::Unix(path) => all.push((Address::Unix(path.clone()), member)),
            Place::Name(name) => {
                let hosts = hosts(answers(name, discovery, resolved, wanted), discovery);
                all.extend(hosts.into_iter().map(|host| (address(&host, member.port), member)));
            }
        }
    }
    // The sort is stable: of two members with one address the first stays.
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.dedup_by(|(one, _), (other, _)| one == other);
    let members: Vec<_> = all.iter().map(|(_, member)| *member).collect();
    let grouped = grouped(&members);
    let built = all.into_iter().map(|(address, member)| Arc::new(endpoint(address, member)));
    let mut endpoints = match grouped {
        None => Endpoints::alike(built.collect()),
        Some((layout, places)) => {
            let kept = built.zip(places).filter_map(|(endpoint, place)| place.map(|_| endpoint));
            Endpoints { all: kept.collect(), layout: Some(layout) }
        }
    };
    // Collected where the members were, which are larger.
    endpoints.all.shrink_to_fit();
    endpoints
}

/// The addresses that `name` stands for, sorted.
fn answers<'r>(
    name: &str,
    discovery: &Discovery,
    resolved: &'r BTreeMap<String, Vec<IpAddr>>,
    wanted: &mut BTreeSet<String>,
) -> &'r [IpAddr] {
    if !matches!(discovery, Discovery::Dns | Discovery::FirstOfDns) {
        // A name among listed endpoints is refused by Istio's admission.
        return &[];
    }
    wanted.insert(name.to_owned());
    resolved.get(name).map(Vec::as_slice).unwrap_or_default()
}

/// Which addresses belong to one host. Each address is one; where a name has addresses of both families, those in the
/// same place are taken for the same host, so that a family which leads nowhere costs no request. IPv4, which is what
/// Istio's gateway uses, is tried first. With `DNS_ROUND_ROBIN` all of them are one host.
fn hosts(addresses: &[IpAddr], discovery: &Discovery) -> Vec<Vec<IpAddr>> {
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
    let count = first.len().max(second.len());
    let pair = |at: usize| first.get(at).into_iter().chain(second.get(at)).copied().collect::<Vec<_>>();
    let pairs = (0..count).map(pair);
    match discovery {
        Discovery::FirstOfDns if count > 0 => vec![pairs.flatten().collect()],
        _ => pairs.collect(),
    }
}

/// The address of a host that has at least one.
fn address(host: &[IpAddr], port: u16) -> Address {
    match host {
        [only] => Address::Inet(SocketAddr::new(*only, port)),
        several => Address::Several(several.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
    }
}

fn endpoint(address: Address, member: &Member) -> Endpoint {
    Endpoint {
        address,
        name: match &member.place {
            Place::Name(name) => Some(name.as_str().into()),
            Place::Ip(_) | Place::Unix(_) => None,
        },
        weight: member.weight,
        healthy: member.healthy,
        locality: Arc::clone(&member.locality),
        workload: Arc::clone(&member.workload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: &[&str], discovery: &Discovery) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        hosts(&addresses, discovery).iter().map(|host| address(host, 80).to_string()).collect()
    }

    #[test]
    fn families_are_paired() {
        for (addresses, expected) in [
            (&[][..], &[][..]),
            (&["10.0.0.1", "10.0.0.2"], &["10.0.0.1:80", "10.0.0.2:80"]),
            (&["::1"], &["[::1]:80"]),
            (&["10.0.0.1", "10.0.0.2", "::1"], &["10.0.0.1:80 or [::1]:80", "10.0.0.2:80"]),
            (&["10.0.0.1", "::1", "::2"], &["10.0.0.1:80 or [::1]:80", "[::2]:80"]),
        ] {
            assert_eq!(shown(addresses, &Discovery::Dns), expected, "{addresses:?}");
        }
    }

    #[test]
    fn one_host_has_all_addresses_its_preferred_one_first() {
        let addresses = ["10.0.0.1", "10.0.0.2", "::1"];
        assert_eq!(shown(&addresses, &Discovery::FirstOfDns), ["10.0.0.1:80 or [::1]:80 or 10.0.0.2:80"]);
        assert_eq!(shown(&["10.0.0.1"], &Discovery::FirstOfDns), ["10.0.0.1:80"]);
        assert_eq!(shown(&[], &Discovery::FirstOfDns), Vec::<String>::new());
    }
}
