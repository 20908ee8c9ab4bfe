//! One host in several VirtualServices for sidecars, which do not merge them
//! (`virtualservice/conflictingmeshgatewayhosts.go`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_api::{Kind, VirtualService};

use super::{exported_to, meet};
use crate::conflicts::Scene;
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::names::qualified;

pub(super) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    let mut holders: BTreeMap<Cow<'_, str>, Vec<(&VirtualService, usize)>> = BTreeMap::new();
    for resource in scene.objects.virtual_services.values().filter(|resource| is_for_sidecars(resource)) {
        for (index, host) in resource.spec.hosts.iter().enumerate() {
            let host = qualified(host, &resource.meta.namespace, &scene.environment.cluster_domain);
            holders.entry(host).or_default().push((resource, index));
        }
    }
    for (host, resources) in holders.iter().filter(|(_, resources)| resources.len() > 1) {
        for (resource, index) in resources {
            let seen_by = |resource: &VirtualService| {
                exported_to(&resource.spec.export_to, &resource.meta.namespace)
                    .into_iter()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let own = seen_by(resource);
            let both = |other: &&(&VirtualService, usize)| {
                let theirs = seen_by(other.0);
                let (own, theirs): (Vec<&str>, Vec<&str>) =
                    (own.iter().map(String::as_str).collect(), theirs.iter().map(String::as_str).collect());
                !std::ptr::eq(other.0, *resource) && meet(&own, &theirs)
            };
            let Some((other, _)) = resources.iter().find(both) else { continue };
            let message = format!(
                "VirtualService {}/{} has {host} for the mesh, too: sidecars use one of the two (gateways merge them)",
                other.meta.namespace, other.meta.name
            );
            diagnostics.report(
                Code::ConflictingMeshGatewayVirtualServiceHosts,
                Subject::new(Kind::VirtualService, *resource),
                format!("spec.hosts[{index}]"),
                message,
                "write the rules for the mesh into one VirtualService",
            );
        }
    }
}

fn is_for_sidecars(resource: &VirtualService) -> bool {
    let gateways = &resource.spec.gateways;
    !resource.spec.hosts.is_empty() && (gateways.is_empty() || gateways.iter().any(|name| name == "mesh"))
}
