//! The members of a cluster: a port's members, cut down to a subset, their names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portcullis_snapshot::cluster::{Address, Endpoint, Endpoints, Layout};

use crate::services::{Discovery, Member, Place, Port};

/// Label of a workload that is to get no new connections, whatever its value.
const DRAINING: &str = "istio.io/draining";

/// Members of `port` that carry every label of `labels` and are not draining.
pub(super) fn selected<'a>(
    port: &'a Port,
    labels: Option<&'a BTreeMap<String, String>>,
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
                let answers = answers(name, discovery, resolved, wanted);
                all.extend(answers.map(|ip| (Address::Inet(SocketAddr::new(*ip, member.port)), member)));
            }
        }
    }
    // The sort is stable: of two members with one address the first stays.
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.dedup_by(|(one, _), (other, _)| one == other);
    let members: Vec<_> = all.iter().map(|(_, member)| *member).collect();
    let grouped = grouped(&members);
    let built = all.into_iter().map(|(address, member)| Arc::new(endpoint(address, member)));
    match grouped {
        None => Endpoints::alike(built.collect()),
        Some((layout, places)) => {
            let kept = built.zip(places).filter_map(|(endpoint, place)| place.map(|_| endpoint));
            Endpoints { all: kept.collect(), layout: Some(layout) }
        }
    }
}

/// The addresses that `name` stands for.
fn answers<'r>(
    name: &str,
    discovery: &Discovery,
    resolved: &'r BTreeMap<String, Vec<IpAddr>>,
    wanted: &mut BTreeSet<String>,
) -> impl Iterator<Item = &'r IpAddr> {
    let count = match discovery {
        Discovery::Dns => usize::MAX,
        Discovery::FirstOfDns => 1,
        // A name among listed endpoints is refused by Istio's admission.
        _ => 0,
    };
    if count > 0 {
        wanted.insert(name.to_owned());
    }
    resolved.get(name).map(Vec::as_slice).unwrap_or_default().iter().take(count)
}

fn endpoint(address: Address, member: &Member) -> Endpoint {
    Endpoint {
        address,
        weight: member.weight,
        healthy: member.healthy,
        locality: Arc::clone(&member.locality),
        workload: Arc::clone(&member.workload),
    }
}
