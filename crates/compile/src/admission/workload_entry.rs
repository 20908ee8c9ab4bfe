//! WorkloadEntries, and endpoints of a ServiceEntry (`validateWorkloadEntry`).

use std::collections::BTreeSet;

use portcullis_api::networking::WorkloadEntrySpec;

use super::{Review, fault, member, names, port};

/// `ports`: the names of the service's ports, where the service is known. `by_name`: the address may be a name.
pub(super) fn review(
    entry: &WorkloadEntrySpec,
    ports: Option<&BTreeSet<&str>>,
    by_name: bool,
    review: &mut Review<'_, '_>,
) {
    let address = entry.address.as_deref().unwrap_or_default();
    let network = entry.network.as_deref().unwrap_or_default();
    if address.is_empty() {
        if network.is_empty() {
            return review.refuse("address", "is missing", "write an address");
        }
        review.warn("address", "is missing, so only the network's gateway is known", "write an address");
    }
    let socket = address.strip_prefix("unix://");
    if let Some(path) = socket {
        review.judge("address", names::socket(path));
        if !entry.ports.is_empty() {
            review.refuse("ports", "a unix socket has no ports", "remove them");
        }
    } else if !address.is_empty() {
        of_address(address, by_name, review);
    }
    of_ports(entry, ports, review);
    names::label_map("labels", &entry.labels, review);
    if socket.is_some() && ports.is_some_and(|ports| ports.len() != 1) {
        review.refuse("address", "a unix socket serves one port only", "leave one port in the service");
    }
}

/// An address, or a name where one may stand.
pub(super) fn of_address(address: &str, by_name: bool, review: &mut Review<'_, '_>) {
    if names::is_ip(address) {
        return;
    }
    if !by_name {
        review.refuse(
            "address",
            format!("{address:?} is no IP address"),
            "write one, or set resolution to DNS",
        );
    } else if names::fqdn(address).is_err() {
        review.refuse("address", format!("{address:?} is neither an address nor a host"), "write a DNS name");
    }
}

/// The ports of an endpoint.
pub(super) fn of_ports(
    entry: &WorkloadEntrySpec,
    known: Option<&BTreeSet<&str>>,
    review: &mut Review<'_, '_>,
) {
    for (name, number) in &entry.ports {
        let field = member("ports", name);
        if known.is_some_and(|known| !known.contains(name.as_str())) {
            review.refuse(&field, "is no port of the service", "use the name of one of its ports");
        }
        review.judge(&field, port_name(name));
        review.judge(&field, port(*number));
    }
}

/// `ValidatePortName`.
pub(super) fn port_name(name: &str) -> super::Verdict {
    if names::is_label(name) {
        return Ok(());
    }
    fault(format!("{name:?} is no name for a port"), "use letters, digits and -")
}
