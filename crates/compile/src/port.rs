//! Which port is bound for the one a Gateway declares (routing reference §1.3).

use std::collections::{BTreeMap, HashSet};

use portcullis_api::Service;
use portcullis_api::wire::IntOrString;

use crate::environment::Environment;
use crate::objects::{Objects, in_namespace};

/// Label that switches the translation off for a Service.
const DISABLE_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";
/// Label that ties an EndpointSlice to its Service.
const SLICE_SERVICE: &str = "kubernetes.io/service-name";

/// Declared ports to bound ones.
#[derive(Debug)]
pub(crate) enum Ports<'a> {
    /// As the environment says.
    Mapped(&'a crate::environment::PortMap),
    /// As the Services in front of the workload say; others are bound as declared.
    Services(BTreeMap<u16, u16>),
}

impl<'a> Ports<'a> {
    /// Gathers the mapping.
    pub(crate) fn new(objects: &Objects, environment: &'a Environment) -> Self {
        match &environment.ports {
            Some(map) => Self::Mapped(map),
            None => Self::Services(of_services(objects, environment)),
        }
    }

    /// The mapping as far as it comes from Services.
    pub(crate) fn of_workload(objects: &Objects, environment: &Environment) -> Option<BTreeMap<u16, u16>> {
        environment.ports.is_none().then(|| of_services(objects, environment))
    }

    /// The port to bind; `None` when there is none such.
    pub(crate) fn bound(&self, declared: u16) -> Option<u16> {
        match self {
            Self::Mapped(map) => map.bound(declared),
            Self::Services(map) => Some(map.get(&declared).copied().unwrap_or(declared)),
        }
    }

    /// Whether a Service in front of the workload has `declared`; true where Services do not matter.
    pub(crate) fn is_published(&self, declared: u16) -> bool {
        match self {
            Self::Mapped(_) => true,
            // Without any Service nothing can be said: the workload may be exposed in another way.
            Self::Services(map) => map.is_empty() || map.contains_key(&declared),
        }
    }
}

fn of_services(objects: &Objects, environment: &Environment) -> BTreeMap<u16, u16> {
    let workload = &environment.workload;
    let mut services: Vec<&Service> = in_namespace(&objects.services, &workload.namespace)
        .map(|service| &**service)
        .filter(|service| !service.spec.selector.is_empty())
        .filter(|service| {
            service.spec.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
        })
        .filter(|service| !service.meta.labels.contains_key(DISABLE_TRANSLATION))
        .collect();
    services.sort_by(|left, right| left.meta.by_age(&right.meta));
    let mut bound = BTreeMap::new();
    for service in services {
        // Of two ports with one target and protocol only the first can be mapped.
        let mut targets = HashSet::new();
        for port in &service.spec.ports {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let Some(target) = target_of(service, port, number, objects) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            if targets.insert((target, protocol)) && protocol == "TCP" {
                bound.entry(number).or_insert(target);
            }
        }
    }
    bound
}

fn target_of(
    service: &Service,
    port: &portcullis_api::core::ServicePort,
    number: u16,
    objects: &Objects,
) -> Option<u16> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(number),
        Some(IntOrString::Int(target)) => u16::try_from(*target).ok(),
        // The number behind a name stands resolved in the Service's EndpointSlices.
        Some(IntOrString::String(_)) => named_target(service, port.name.as_deref(), objects),
    }
}

fn named_target(service: &Service, port: Option<&str>, objects: &Objects) -> Option<u16> {
    let meta = &service.meta;
    let slices = in_namespace(&objects.endpoint_slices, &meta.namespace)
        .filter(|slice| slice.meta.labels.get(SLICE_SERVICE) == Some(&meta.name));
    let mut ports = slices.flat_map(|slice| &slice.spec.ports);
    let found =
        ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == port.unwrap_or_default())?;
    u16::try_from(found.port?).ok()
}
