//! Where clients find the gateway, and whether it sees who they are: traffic policy, and the targets of external-dns.

use std::collections::BTreeSet;

use portcullis_api::Severity;
use portcullis_control::Notice;

use super::super::facts::{Facts, Gateway, Service, selects};
use super::{finding, own_gateways, own_service};

/// Where external-dns is told what names point to; the second since its version 0.22.
const TARGETS: [&str; 2] = ["external-dns.alpha.kubernetes.io/target", "external-dns.kubernetes.io/target"];

pub(super) fn judge(facts: &Facts, found: &mut Vec<Notice>) {
    let Some(service) = own_service(facts) else { return };
    clients(facts, service, found);
    for gateway in own_gateways(facts) {
        names(service, gateway, found);
    }
}

/// Whether the gateway sees the addresses of clients.
fn clients(facts: &Facts, service: &Service, found: &mut Vec<Notice>) {
    let spec = &service.spec;
    if !matches!(spec.kind.as_str(), "LoadBalancer" | "NodePort") {
        return;
    }
    let object = service.metadata.reference("Service");
    if spec.external_traffic_policy != "Local" {
        let message = "externalTrafficPolicy is not Local: every client looks like a node of the cluster";
        let remedy = "set externalTrafficPolicy to Local; or, behind a load balancer that speaks the PROXY protocol, \
                      have the gateway expect it";
        found.push(finding(Severity::Warning, "ClientAddressHidden", object, message, remedy));
        return;
    }
    let of_kind = |kind: &'static str| {
        let addresses = facts.nodes.list().iter().flat_map(|node| &node.status.addresses);
        addresses.filter(move |address| address.kind == kind).map(|address| address.address.as_str())
    };
    let (outer, inner): (BTreeSet<&str>, BTreeSet<&str>) =
        (of_kind("ExternalIP").collect(), of_kind("InternalIP").collect());
    if service.addresses().any(|address| outer.contains(address) && !inner.contains(address)) {
        let message = "it is found at the nodes' external addresses: where the network translates those to internal \
                       ones, clients look like ServiceLB in spite of externalTrafficPolicy Local";
        let remedy = "then leave node-external-ip away, and give external-dns the public address with its target annotation";
        found.push(finding(Severity::Info, "ClientAddressTranslated", object, message, remedy));
    }
}

/// Whether names will point to the gateway.
fn names(service: &Service, gateway: &Gateway, found: &mut Vec<Notice>) {
    let object = gateway.metadata.reference("Gateway");
    let annotations = &gateway.metadata.annotations;
    let targets = TARGETS.iter().filter_map(|key| annotations.get(*key)).flat_map(|list| list.split(','));
    let targets: BTreeSet<&str> = targets.map(str::trim).filter(|target| !target.is_empty()).collect();
    if targets.is_empty() {
        unfound(service, gateway, found);
        return;
    }
    let addresses: BTreeSet<&str> = service.addresses().collect();
    let stray: Vec<&str> = targets.difference(&addresses).copied().collect();
    if stray.is_empty() || addresses.is_empty() {
        return;
    }
    // A private address behind a translating network is found under another one.
    let severity = if addresses.iter().all(|it| is_private(it)) { Severity::Info } else { Severity::Warning };
    let shown = |list: &[&str]| list.join(", ");
    let at: Vec<&str> = addresses.into_iter().collect();
    let message = format!("names point to {}, the Service is at {}", shown(&stray), shown(&at));
    let remedy = "correct the target annotation, or remove it: external-dns then reads the Service";
    found.push(finding(severity, "DnsTargetDiffers", object, message, remedy));
}

/// external-dns looks for Services whose selector contains the Gateway's.
fn unfound(service: &Service, gateway: &Gateway, found: &mut Vec<Notice>) {
    let selector = &gateway.spec.selector;
    if selector.is_empty() || selects(selector, &service.spec.selector) {
        return;
    }
    let object = gateway.metadata.reference("Gateway");
    let message = "it selects the gateway's pods by labels that the Service's selector has not: external-dns finds no address";
    let remedy = "add the labels to the Service's selector, or a target annotation to the Gateway";
    found.push(finding(Severity::Warning, "DnsFindsNoService", object, message, remedy));
}

fn is_private(address: &str) -> bool {
    match address.parse() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_loopback(),
        Err(_) => false,
    }
}
