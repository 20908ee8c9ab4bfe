//! One certificate in several Gateways (`gateway/certificate.go`): a browser that holds an HTTP/2 connection uses it
//! for every name of its certificate, whichever Gateway has the name.

use std::collections::BTreeMap;

use portcullis_api::{Gateway, Kind, Map};

use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::objects::Objects;

pub(super) fn report(objects: &Objects, diagnostics: &mut Diagnostics) {
    let mut holders: BTreeMap<String, Vec<(&Gateway, usize)>> = BTreeMap::new();
    for gateway in objects.gateways.values() {
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            let Some(tls) = &server.tls else { continue };
            let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let pair = || Some(format!("{} {}", text(&tls.server_certificate)?, text(&tls.private_key)?));
            if let Some(certificate) = text(&tls.credential_name).or_else(pair) {
                holders.entry(certificate).or_default().push((gateway, index));
            }
        }
    }
    for servers in holders.values() {
        for (gateway, index) in servers {
            let wider = |other: &&(&Gateway, usize)| {
                !std::ptr::eq(other.0, *gateway) && within(&gateway.spec.selector, &other.0.spec.selector)
            };
            let Some((other, at)) = servers.iter().find(wider) else { continue };
            let message = format!(
                "Gateway {}/{} spec.servers[{at}] has the same certificate: clients that reuse an HTTP/2 \
                 connection for its hosts get 421 here, 404 from Istio's gateway",
                other.meta.namespace, other.meta.name
            );
            let subject = Subject::new(Kind::Gateway, *gateway);
            let field = format!("spec.servers[{index}].tls");
            let remedy = "serve the hosts of one certificate with one Gateway";
            diagnostics.report(Code::GatewayDuplicateCertificate, subject, field, message, remedy);
        }
    }
}

/// Whether a workload that the second selects may be selected by the first, too.
fn within(one: &Map<String>, other: &Map<String>) -> bool {
    one.iter().all(|(key, value)| other.get(key) == Some(value))
}
