//! The members of a cluster: a port's members, cut down to a subset, their names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portcullis_snapshot::cluster::{Address, Endpoint, Endpoints};

use crate::services::{Discovery, Member, Place, Port};

/// Members of `port` that carry every label of `labels`.
pub(super) fn selected<'a>(
    port: &'a Port,
    labels: Option<&'a BTreeMap<String, String>>,
) -> impl Iterator<Item = &'a Member> {
    port.members.iter().filter(move |member| labels.is_none_or(|wanted| member.labels.contain(wanted)))
}

/// Turns members into endpoints, each address once, sorted. Names are answered by `resolved`; those asked for are
/// added to `wanted`.
pub(super) fn endpoints<'a>(
    members: impl Iterator<Item = &'a Member>,
    discovery: &Discovery,
    resolved: &BTreeMap<String, Vec<IpAddr>>,
    wanted: &mut BTreeSet<String>,
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
    Endpoints::alike(all.into_iter().map(|(address, member)| Arc::new(endpoint(address, member))).collect())
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
