//! Mesh-wide settings.

mod connections;
mod own_headers;

use std::time::Duration;

use portcullis_api::mesh::{ForwardClientCertDetails, MeshConfig, NormalizationType};
use portcullis_api::{Kind, Mesh};
use portcullis_snapshot::Settings;
use portcullis_snapshot::settings::{ForwardClientCert, PathNormalization};

use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::objects::Objects;

/// The mesh configuration in force: the first by namespace and name, if there is any.
pub(crate) fn mesh(objects: &Objects) -> Option<&Mesh> {
    objects.meshes.values().next().map(|mesh| &**mesh)
}

/// The namespace whose DestinationRules apply to the whole mesh.
pub(crate) fn root_namespace<'a>(objects: &'a Objects, environment: &'a Environment) -> &'a str {
    let configured = mesh(objects).and_then(|mesh| mesh.spec.root_namespace.as_deref());
    configured.filter(|name| !name.is_empty()).unwrap_or(&environment.root_namespace)
}

/// The trust domain of the mesh's identities.
pub(crate) fn trust_domain(objects: &Objects) -> &str {
    let configured = mesh(objects).and_then(|mesh| mesh.spec.trust_domain.as_deref());
    configured.filter(|name| !name.is_empty()).unwrap_or("cluster.local")
}

/// Further names of the trust domain.
pub(crate) fn trust_domain_aliases(objects: &Objects) -> &[String] {
    mesh(objects).map(|mesh| mesh.spec.trust_domain_aliases.as_slice()).unwrap_or_default()
}

/// Whether listeners expect the PROXY protocol (`gatewayTopology.proxyProtocol`).
pub(crate) fn proxy_protocol(objects: &Objects) -> bool {
    let topology =
        mesh(objects).and_then(|mesh| mesh.spec.default_config.as_ref()?.gateway_topology.as_ref());
    topology.is_some_and(|topology| topology.proxy_protocol.is_some())
}

/// How often names are asked for whose answers have no time to live. Default 60 s, as in Istio.
pub(crate) fn dns_refresh_rate(objects: &Objects) -> Duration {
    let written = mesh(objects).and_then(|mesh| mesh.spec.dns_refresh_rate.as_ref()?.to_std());
    written.filter(|rate| !rate.is_zero()).unwrap_or(Duration::from_secs(60))
}

/// What requests depend on of the mesh configuration.
pub(crate) fn settings(objects: &Objects, diagnostics: &mut Diagnostics) -> Settings {
    for mesh in objects.meshes.values().skip(1) {
        diagnostics.report(
            Code::SeveralMeshConfigs,
            Subject::new(Kind::MeshConfig, mesh),
            "",
            "another mesh configuration comes before this one, which is ignored",
            "keep one of them",
        );
    }
    mesh(objects).map_or_else(Settings::default, |mesh| of_mesh(&mesh.spec))
}

fn of_mesh(mesh: &MeshConfig) -> Settings {
    let defaults = Settings::default();
    let config = mesh.default_config.as_ref();
    let topology = config.and_then(|config| config.gateway_topology.as_ref());
    let headers = config.and_then(|config| config.proxy_headers.as_ref());
    let client_cert = topology.and_then(|topology| topology.forward_client_cert_details);
    let bounds = config.and_then(|config| config.connection_settings.as_ref()).map(connections::effective);
    let level = mesh.path_normalization.as_ref().and_then(|normalization| normalization.normalization);
    let level = level.map_or(defaults.path_normalization, path_normalization);
    let paths = connections::paths(level, bounds.as_deref());
    Settings {
        path_normalization: paths.level,
        trusted_proxies: topology
            .and_then(|topology| topology.num_trusted_proxies)
            .unwrap_or(defaults.trusted_proxies),
        forward_client_cert: client_cert.map_or(defaults.forward_client_cert, forward_client_cert),
        http10: defaults.http10,
        own_headers: headers.map_or(defaults.own_headers, own_headers::own_headers),
        header_case: headers.is_some_and(|headers| headers.preserve_http1_header_case == Some(true)),
        connections: bounds.as_deref().map_or(defaults.connections, connections::limits),
        escaped_slashes: paths.escaped_slashes,
        merge_slashes_alone: paths.merge_slashes_alone,
    }
}

fn path_normalization(level: NormalizationType) -> PathNormalization {
    match level {
        NormalizationType::None => PathNormalization::None,
        NormalizationType::Default | NormalizationType::Base => PathNormalization::Base,
        NormalizationType::MergeSlashes => PathNormalization::MergeSlashes,
        NormalizationType::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
    }
}

fn forward_client_cert(details: ForwardClientCertDetails) -> ForwardClientCert {
    match details {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::Undefined | ForwardClientCertDetails::SanitizeSet => {
            ForwardClientCert::SanitizeSet
        }
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    }
}
