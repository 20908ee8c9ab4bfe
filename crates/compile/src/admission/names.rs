//! Names as Istio judges them: labels, hosts, addresses, namespaces (`pkg/config/labels`, `agent/validation.go`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use portcullis_api::Map;

use super::{Review, Verdict, fault, member};

/// The longest label, in bytes.
const MAX_LABEL: usize = 63;

/// The longest host, in bytes.
const MAX_HOST: usize = 255;

/// The longest prefix of a label's key, in bytes.
const MAX_KEY_PREFIX: usize = 253;

/// A DNS label in either case (`IsDNS1123Label`).
pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= MAX_LABEL
        && text.bytes().all(inner)
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `*`, or a label that may begin with `*` or `*-` (`IsWildcardDNS1123Label`).
fn is_wildcard_label(text: &str) -> bool {
    let rest = text.strip_prefix("*-").or_else(|| text.strip_prefix('*')).unwrap_or(text);
    text.len() <= MAX_LABEL && (text == "*" || is_label(rest))
}

/// Something that is no host, for the reason given.
fn bad_host(host: &str, why: &str) -> Verdict {
    fault(format!("{host:?} is no host: {why}"), "write a DNS name")
}

fn host_length(host: &str) -> Verdict {
    match host.len() {
        0 => fault("the host is empty", "write a DNS name"),
        length if length > MAX_HOST => bad_host("", &format!("it is longer than {MAX_HOST}")),
        _ => Ok(()),
    }
}

/// Labels between dots; the last may be empty, and is no number (`ValidateDNS1123Labels`).
fn labels(whole: &str, host: &str) -> Verdict {
    let mut parts = host.split('.').peekable();
    if host.rsplit('.').next().is_some_and(|top| top.parse::<i64>().is_ok()) {
        return bad_host(whole, "its top-level domain is a number");
    }
    while let Some(label) = parts.next() {
        let last_and_empty = label.is_empty() && parts.peek().is_none();
        if !last_and_empty && !is_label(label) {
            return bad_host(whole, &format!("{label:?} is no label"));
        }
    }
    Ok(())
}

/// A name without wildcards (`ValidateFQDN`).
pub(super) fn fqdn(host: &str) -> Verdict {
    host_length(host)?;
    labels(host, host)
}

/// A name whose first label may be a wildcard (`ValidateWildcardDomain`).
pub(super) fn wildcard_host(host: &str) -> Verdict {
    host_length(host)?;
    let (first, rest) = host.split_once('.').map_or((host, None), |(first, rest)| (first, Some(rest)));
    if !is_wildcard_label(first) {
        return bad_host(host, &format!("{first:?} is no label"));
    }
    rest.map_or(Ok(()), |rest| labels(host, rest))
}

/// As [`wildcard_host`], but with `sni` also `outbound_.<port>_._.<host>`, the name of a cluster that AUTO_PASSTHROUGH
/// routes by (`ValidateWildcardDomainForVirtualServiceBoundToGateway`).
pub(super) fn gateway_host(sni: bool, host: &str) -> Verdict {
    host_length(host)?;
    if !sni || !host.starts_with("outbound_") {
        return wildcard_host(host);
    }
    let parts: Vec<&str> = host.split('_').collect();
    let [_, port, _, name, ..] = parts.as_slice() else {
        return bad_host(host, "it should be outbound_.<port>_._.<host>");
    };
    let fine =
        port.bytes().any(|byte| byte.is_ascii_digit()) && name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if fine { Ok(()) } else { bad_host(host, "it should be outbound_.<port>_._.<host>") }
}

/// A `*` elsewhere than before the first dot, or with something beside it (`ValidatePartialWildCard`).
pub(super) fn partial_wildcard(host: &str) -> Verdict {
    if host.contains('*') && host != "*" && !host.starts_with("*.") {
        return fault(format!("{host:?} has a wildcard that is no whole label"), "write *.example.com");
    }
    Ok(())
}

/// An address, with a zone or without (`netip.ParseAddr`).
pub(super) fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// An address or a block of addresses (`ValidateIPSubnet`).
pub(super) fn subnet(text: &str) -> Verdict {
    let fine = match text.split_once('/') {
        Some((address, bits)) if !bits.contains('/') => is_prefix(address, bits),
        _ => is_ip(text),
    };
    if fine {
        Ok(())
    } else {
        fault(format!("{text:?} is neither an address nor a block"), "write 10.0.0.0/8")
    }
}

fn is_prefix(address: &str, bits: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    digits && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

/// The path of a unix socket, without `unix://` (`ValidateUnixAddress`).
pub(super) fn socket(path: &str) -> Verdict {
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        return Ok(());
    }
    fault("a unix socket needs an absolute path to a file", "write unix:///path or unix://@name")
}

/// Whether one of the two hosts stands for the other (`host.Name.Matches`).
pub(super) fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(one), None) => other.ends_with(one),
        (None, Some(other)) => one.ends_with(other),
        (None, None) => one == other,
    }
}

/// Labels as Kubernetes has them (`labels.Instance.Validate`).
pub(super) fn label_map(field: &str, map: &Map<String>, review: &mut Review<'_, '_>) {
    for (key, value) in map {
        if !is_label_key(key) {
            review.refuse(
                member(field, key),
                format!("{key:?} is no key of a label"),
                "use letters, digits, -, _ and .",
            );
        }
        if !(value.is_empty() || is_qualified(value)) {
            let message = format!("{value:?} is no value of a label");
            review.refuse(member(field, key), message, "use letters, digits, -, _ and .");
        }
    }
}

fn is_label_key(key: &str) -> bool {
    match key.rsplit_once('/') {
        Some((prefix, name)) => {
            let labels = prefix.split('.').all(is_label_of_any_length);
            labels && prefix.len() <= MAX_KEY_PREFIX && is_qualified(name) && name.len() <= MAX_LABEL
        }
        None => is_qualified(key) && key.len() <= MAX_LABEL,
    }
}

fn is_label_of_any_length(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_qualified(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last())
}

/// Who `exportTo` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exporter {
    /// May also be exported to nobody (`~`).
    ServiceEntry,
    /// Has a workload selector: stays in its namespace.
    SelectingRule,
    /// Anything else.
    Other,
}

/// `exportTo` of an object in `namespace` (`validateExportTo`).
pub(super) fn export_to(namespace: &str, names: &[String], exporter: Exporter, review: &mut Review<'_, '_>) {
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        let key = if name == "." { namespace } else { name };
        let field = format!("spec.exportTo[{at}]");
        if kept.contains(key) {
            review.refuse(field, format!("{name:?} stands here twice"), "remove it");
            continue;
        }
        match key {
            "*" => {}
            "~" if exporter == Exporter::ServiceEntry => {}
            "~" => {
                review.refuse(
                    field,
                    "only a ServiceEntry may be exported to nobody",
                    "write . or a namespace",
                );
                continue;
            }
            name if is_label(name) => {}
            _ => {
                review.refuse(field, format!("{name:?} is no namespace"), "write ., * or a namespace");
                continue;
            }
        }
        kept.insert(key);
    }
    if exporter == Exporter::SelectingRule
        && !kept.is_empty()
        && (kept.len() > 1 || !kept.contains(namespace))
    {
        let message = "a rule with a workloadSelector stays in its own namespace";
        review.refuse("spec.exportTo", message, "write . alone, or remove it");
    }
    for (all_or_none, message) in [("*", "* is for everyone already"), ("~", "~ is for nobody")] {
        if kept.contains(all_or_none) && names.len() > 1 {
            review.refuse(
                "spec.exportTo",
                format!("{message}, so nothing may stand beside it"),
                "remove the others",
            );
        }
    }
}
