//! Which kind an object is, by `apiVersion` and `kind`.

use super::suggest::nearest;
use crate::object::Kind;

/// What `apiVersion` and `kind` say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A kind that is read.
    Known(Kind),
    /// A kind that is read, in a version that is not.
    WrongVersion(Kind),
    /// A kind that is not read; perhaps another group, or another spelling of the kind, was meant.
    Unsupported { meant: Option<&'static str> },
}

/// Names the kind.
pub(super) fn identify(api_version: &str, kind: &str) -> Identity {
    if kind == Kind::MeshConfig.name() {
        return Identity::Known(Kind::MeshConfig);
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
        let of_group =
            Kind::ALL.into_iter().filter(|known| known.group() == group && *known != Kind::MeshConfig);
        return Identity::Unsupported { meant: nearest(kind, of_group.map(Kind::name)) };
    };
    if known.group() == group {
        let served = known.versions().contains(&version);
        return if served { Identity::Known(known) } else { Identity::WrongVersion(known) };
    }
    Identity::Unsupported { meant: nearest(group, [known.group()].into_iter()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_version_and_kind_decide() {
        for (api_version, kind, identity) in [
            ("networking.istio.io/v1", "Gateway", Identity::Known(Kind::Gateway)),
            ("networking.istio.io/v1beta1", "VirtualService", Identity::Known(Kind::VirtualService)),
            ("networking.istio.io/v1alpha3", "ServiceEntry", Identity::Known(Kind::ServiceEntry)),
            ("networking.istio.io/v2", "Gateway", Identity::WrongVersion(Kind::Gateway)),
            ("gateway.networking.k8s.io/v1", "Gateway", Identity::Unsupported { meant: None }),
            (
                "networking.istio.oi/v1",
                "Gateway",
                Identity::Unsupported { meant: Some("networking.istio.io") },
            ),
            ("v1", "Secret", Identity::Known(Kind::Secret)),
            ("v2", "Secret", Identity::WrongVersion(Kind::Secret)),
            ("discovery.k8s.io/v1", "EndpointSlice", Identity::Known(Kind::EndpointSlice)),
            ("discovery.k8s.io/v1beta1", "EndpointSlice", Identity::WrongVersion(Kind::EndpointSlice)),
            ("serving.knative.dev/v1", "Service", Identity::Unsupported { meant: None }),
            ("security.istio.io/v1", "AuthorizationPolicy", Identity::Unsupported { meant: None }),
            ("networking.istio.io/v1", "Sidecar", Identity::Unsupported { meant: None }),
            ("networking.istio.io/v1", "WorkloadGroup", Identity::Unsupported { meant: None }),
            (
                "networking.istio.io/v1",
                "virtualservice",
                Identity::Unsupported { meant: Some("VirtualService") },
            ),
            ("", "MeshConfig", Identity::Known(Kind::MeshConfig)),
        ] {
            assert_eq!(identify(api_version, kind), identity, "{api_version} {kind}");
        }
    }
}
