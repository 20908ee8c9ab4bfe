//! ServiceEntries (`ValidateServiceEntry`).

use std::collections::BTreeSet;

use portcullis_api::ServiceEntry;
use portcullis_api::networking::{Resolution, ServiceEntrySpec};

use super::names::{self, Exporter};
use super::{Review, is_http, is_tls, member, port, protocol, workload_entry};
use crate::diagnostic::Code;

/// The label that leads a service's traffic through a waypoint.
const WAYPOINT: &str = "istio.io/use-waypoint";

/// The label that switches the allocation of virtual addresses off.
const AUTO_ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";

pub(super) fn review(entry: &ServiceEntry, review: &mut Review<'_, '_>) {
    let spec = &entry.spec;
    if !of_selector(spec, review) {
        return;
    }
    of_hosts(spec, review);
    for (at, address) in spec.addresses.iter().enumerate() {
        review.judge(format_args!("spec.addresses[{at}]"), names::subnet(address));
    }
    let resolution = spec.resolution.unwrap_or(Resolution::None);
    let blocks = spec.addresses.iter().any(|address| address.contains('/'));
    if blocks && !matches!(resolution, Resolution::None | Resolution::Static) {
        let message = "address blocks need the resolution NONE or STATIC";
        review.refuse("spec.addresses", message, "write single addresses, or change the resolution");
    }
    let ports = of_ports(entry, resolution, review);
    match resolution {
        Resolution::None => of_none(spec, review),
        Resolution::Static => {
            for (at, endpoint) in spec.endpoints.iter().enumerate() {
                let mut review = review.at(format_args!("spec.endpoints[{at}]"));
                workload_entry::review(endpoint, Some(&ports), false, &mut review);
            }
        }
        Resolution::Dns | Resolution::DnsRoundRobin => of_dns(spec, resolution, &ports, review),
        Resolution::DynamicDns => of_dynamic(entry, review),
    }
    let told_apart = |at: usize| {
        let protocol = protocol_of(spec, at);
        is_http(protocol) || is_tls(protocol)
    };
    if resolution != Resolution::None
        && spec.hosts.len() > 1
        && let Some(at) = (0..spec.ports.len()).find(|at| !told_apart(*at))
    {
        let message = "several hosts cannot be told apart on a port that is neither HTTP nor TLS";
        review.refuse(
            format_args!("spec.ports[{at}].protocol"),
            message,
            "write one ServiceEntry for each host",
        );
    }
    names::export_to(&entry.meta.namespace, &spec.export_to, Exporter::ServiceEntry, review);
}

fn protocol_of(spec: &ServiceEntrySpec, port: usize) -> Option<&'static str> {
    protocol(spec.ports[port].protocol.as_deref().unwrap_or_default())
}

/// The workload selector; whether Istio would go on after it.
fn of_selector(spec: &ServiceEntrySpec, review: &mut Review<'_, '_>) -> bool {
    let Some(selector) = &spec.workload_selector else { return true };
    let mut fine = true;
    for (key, value) in &selector.labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let message = "a selector's labels have a key and no wildcards";
            review.refuse(member("spec.workloadSelector.labels", key), message, "write the whole label");
            fine = false;
        }
    }
    if fine && selector.labels.is_empty() {
        let message = "selects by no label, and so every workload of the namespace";
        review.warn("spec.workloadSelector", message, "add labels, or remove it");
    }
    if fine && !spec.endpoints.is_empty() {
        review.refuse("spec", "workloadSelector and endpoints exclude each other", "keep one of them");
    }
    fine
}

fn of_hosts(spec: &ServiceEntrySpec, review: &mut Review<'_, '_>) {
    if spec.hosts.is_empty() {
        review.refuse("spec.hosts", "is empty", "add a host");
    }
    for (at, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{at}]");
        if host == "*" {
            let remedy = "name the host, or use a wildcard such as *.example.com";
            review.refuse(field, "may not stand for every host", remedy);
            continue;
        }
        review.judge(&field, names::wildcard_host(host));
        if spec.resolution != Some(Resolution::DynamicDns)
            && let Err(fault) = names::partial_wildcard(host)
        {
            review.warn(&field, fault.message, fault.remedy);
        }
    }
}

/// The ports; their names come out.
fn of_ports<'a>(
    entry: &'a ServiceEntry,
    resolution: Resolution,
    review: &mut Review<'_, '_>,
) -> BTreeSet<&'a str> {
    let spec = &entry.spec;
    let switched_off =
        entry.meta.labels.get(AUTO_ALLOCATE).is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let allocated = resolution != Resolution::None && !switched_off;
    let (mut port_names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (at, declared) in spec.ports.iter().enumerate() {
        let mut review = review.at(format_args!("spec.ports[{at}]"));
        if !port_names.insert(declared.name.as_str()) {
            review.refuse(
                "name",
                format!("{:?} is an earlier port's name", declared.name),
                "rename one of them",
            );
        }
        if !numbers.insert(declared.number) {
            review.refuse(
                "number",
                format!("{} is an earlier port's number", declared.number),
                "remove one of them",
            );
        }
        if let Some(target) = declared.target_port.filter(|target| *target != 0) {
            review.judge("targetPort", port(target));
        }
        let written = declared.protocol.as_deref().unwrap_or_default();
        if spec.addresses.is_empty() && !allocated && matches!(written, "" | "TCP") {
            let message = "plain TCP is told apart by address, and the service has none";
            review.warn_as(
                Code::ServiceEntryAddressesRequired,
                "",
                message,
                "add addresses, or name the protocol",
            );
        }
        review.judge("name", workload_entry::port_name(&declared.name));
        if !written.is_empty() && protocol(written).is_none() {
            review.refuse(
                "protocol",
                format!("{written:?} is no protocol"),
                "use HTTP, HTTP2, GRPC, TLS or TCP",
            );
        }
        review.judge("number", port(declared.number));
    }
    port_names
}

fn of_none(spec: &ServiceEntrySpec, review: &mut Review<'_, '_>) {
    if !spec.endpoints.is_empty() {
        let message = "the resolution NONE goes without endpoints";
        review.refuse("spec.endpoints", message, "set resolution to STATIC or DNS");
    }
    if spec.workload_selector.is_some() {
        review.warn(
            "spec.workloadSelector",
            "is not used with the resolution NONE",
            "set resolution to STATIC",
        );
    }
}

fn of_dns(
    spec: &ServiceEntrySpec,
    resolution: Resolution,
    ports: &BTreeSet<&str>,
    review: &mut Review<'_, '_>,
) {
    if spec.endpoints.is_empty()
        && let Some(at) = spec.hosts.iter().position(|host| names::fqdn(host).is_err())
    {
        let message = "cannot be resolved, and there are no endpoints to resolve in its place";
        review.refuse(format_args!("spec.hosts[{at}]"), message, "write a DNS name, or add endpoints");
    }
    if resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
        let message = "the resolution DNS_ROUND_ROBIN takes one endpoint at most";
        review.refuse("spec.endpoints", message, "use DNS for several");
    }
    for (at, endpoint) in spec.endpoints.iter().enumerate() {
        let mut review = review.at(format_args!("spec.endpoints[{at}]"));
        workload_entry::of_address(endpoint.address.as_deref().unwrap_or_default(), true, &mut review);
        names::label_map("labels", &endpoint.labels, &mut review);
        workload_entry::of_ports(endpoint, Some(ports), &mut review);
    }
    let tcp =
        |at: usize| matches!(protocol_of(spec, at), Some(name) if !is_http(Some(name)) && name != "udp");
    if !spec.addresses.is_empty() && spec.hosts.len() > 1 && (0..spec.ports.len()).any(tcp) {
        let message = "several hosts share the addresses of a port that is told apart by address";
        review.warn("spec.hosts", message, "write one ServiceEntry for each host");
    }
}

fn of_dynamic(entry: &ServiceEntry, review: &mut Review<'_, '_>) {
    let spec = &entry.spec;
    for (at, host) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        let message = format!("{host:?} is no wildcard, which DYNAMIC_DNS is for");
        review.refuse(format_args!("spec.hosts[{at}]"), message, "write *.example.com, or use DNS");
    }
    let forbidden =
        [("spec.addresses", !spec.addresses.is_empty()), ("spec.endpoints", !spec.endpoints.is_empty())];
    for (field, _) in forbidden.into_iter().filter(|(_, present)| *present) {
        review.refuse(field, "does not go with DYNAMIC_DNS: the request's host is resolved", "remove it");
    }
    for at in 0..spec.ports.len() {
        if !matches!(protocol_of(spec, at), Some("http" | "tls" | "grpc" | "http2")) {
            let message = "DYNAMIC_DNS is for HTTP, HTTP2, GRPC and TLS";
            review.refuse(format_args!("spec.ports[{at}].protocol"), message, "use one of them");
        }
    }
    let waypoint = entry.meta.labels.get(WAYPOINT);
    let through = waypoint.is_some_and(|name| !name.is_empty() && !name.eq_ignore_ascii_case("none"));
    if spec.location == Some(portcullis_api::networking::Location::MeshInternal) && through {
        let message = "MESH_INTERNAL does not go with DYNAMIC_DNS behind a waypoint";
        review.refuse("spec.location", message, "set it to MESH_EXTERNAL");
    }
}
