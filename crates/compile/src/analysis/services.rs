//! Ports of Services whose name and `appProtocol` tell no protocol (`service/portname.go`).

use portcullis_api::core::ServicePort;
use portcullis_api::{Kind, Service};

use crate::admission::protocol;
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::objects::Objects;

/// Ports that Istio takes for TCP whatever they are called.
const WELL_KNOWN: [i32; 4] = [25, 53, 3306, 27017];

/// Marks Services that Istio made for a Gateway of the Gateway API, and part of what it says then.
const MANAGED: &str = "gateway.istio.io/managed";

pub(super) fn report(objects: &Objects, diagnostics: &mut Diagnostics) {
    for service in objects.services.values().filter(|service| !is_istios_own(service)) {
        let alias = service.spec.kind.as_deref() == Some("ExternalName");
        for (index, port) in service.spec.ports.iter().enumerate() {
            let name = port.name.as_deref().unwrap_or_default();
            let (code, field, message) = match (alias, tells(port)) {
                (true, told) if !told || name == "tcp" => (
                    Code::ExternalNameServiceTypeInvalidPortName,
                    format!("spec.ports[{index}].name"),
                    "the name tells no protocol above TCP, so sidecars may take everything on this port",
                ),
                (false, false) => (
                    Code::PortNameIsNotUnderNamingConvention,
                    format!("spec.ports[{index}].name"),
                    "the name tells no protocol: this gateway speaks HTTP/1.1 on routes and TCP otherwise, sidecars \
                     guess",
                ),
                _ => continue,
            };
            let remedy =
                "begin the name with http-, http2-, grpc-, tcp-, tls- or the like, or set appProtocol";
            diagnostics.report(code, Subject::new(Kind::Service, &**service), field, message, remedy);
        }
    }
}

fn is_istios_own(service: &Service) -> bool {
    let labels = &service.meta.labels;
    labels.contains_key(MANAGED) || labels.get("istio").is_some_and(|value| value == "pilot")
}

/// Whether the port says what is spoken on it (`kube.ConvertProtocol`).
fn tells(port: &ServicePort) -> bool {
    if port.protocol.as_deref() == Some("UDP") {
        return true;
    }
    let written = match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "kubernetes.io/ws" | "kubernetes.io/wss") => return true,
        Some(written) => written,
        None => port.name.as_deref().unwrap_or_default(),
    };
    let grpc_web = written.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"));
    let word = written.split('-').next().unwrap_or(written);
    grpc_web || protocol(word).is_some() || WELL_KNOWN.contains(&port.port)
}
