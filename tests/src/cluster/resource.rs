//! Where objects stand in an API server's tree of addresses.

/// An object by name.
pub(super) struct Resource {
    kind: String,
    /// Group and version as written; those of the table where nothing is.
    version: Option<String>,
    namespace: String,
    name: String,
}

/// Kind, group with version, plural, and whether it has a namespace.
const KINDS: [(&str, &str, &str, bool); 27] = [
    ("Gateway", "apis/networking.istio.io/v1", "gateways", true),
    ("VirtualService", "apis/networking.istio.io/v1", "virtualservices", true),
    ("DestinationRule", "apis/networking.istio.io/v1", "destinationrules", true),
    ("ServiceEntry", "apis/networking.istio.io/v1", "serviceentries", true),
    ("Service", "api/v1", "services", true),
    ("Secret", "api/v1", "secrets", true),
    ("ConfigMap", "api/v1", "configmaps", true),
    ("Pod", "api/v1", "pods", true),
    ("ServiceAccount", "api/v1", "serviceaccounts", true),
    ("Namespace", "api/v1", "namespaces", false),
    ("Node", "api/v1", "nodes", false),
    ("Deployment", "apis/apps/v1", "deployments", true),
    ("DaemonSet", "apis/apps/v1", "daemonsets", true),
    ("HorizontalPodAutoscaler", "apis/autoscaling/v2", "horizontalpodautoscalers", true),
    ("PodDisruptionBudget", "apis/policy/v1", "poddisruptionbudgets", true),
    ("Ingress", "apis/networking.k8s.io/v1", "ingresses", true),
    ("HTTPRoute", "apis/gateway.networking.k8s.io/v1", "httproutes", true),
    ("PodMonitor", "apis/monitoring.coreos.com/v1", "podmonitors", true),
    ("ServiceMonitor", "apis/monitoring.coreos.com/v1", "servicemonitors", true),
    ("NetworkPolicy", "apis/networking.k8s.io/v1", "networkpolicies", true),
    (
        "ValidatingWebhookConfiguration",
        "apis/admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        false,
    ),
    ("EndpointSlice", "apis/discovery.k8s.io/v1", "endpointslices", true),
    ("CustomResourceDefinition", "apis/apiextensions.k8s.io/v1", "customresourcedefinitions", false),
    ("Role", "apis/rbac.authorization.k8s.io/v1", "roles", true),
    ("RoleBinding", "apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
    ("ClusterRole", "apis/rbac.authorization.k8s.io/v1", "clusterroles", false),
    ("ClusterRoleBinding", "apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", false),
];

impl Resource {
    pub(super) fn named(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), version: None, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The object a YAML document is of, as far as tests write such: what it is called stands in its metadata, in block or
    /// flow style.
    pub(super) fn of(document: &str) -> Self {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).expect("a kind");
        let (_, metadata) = document.split_once("metadata:").expect("metadata");
        let flow = metadata.trim_start_matches(' ').starts_with('{');
        let part = |key: &str| {
            let mut lines = metadata.lines();
            let found = if flow {
                lines.next()?.split([',', '{', '}']).find_map(|part| part.trim().strip_prefix(key))
            } else {
                lines
                    .skip(1)
                    .take_while(|line| line.starts_with(' '))
                    .find_map(|line| line.strip_prefix("  ")?.strip_prefix(key))
            };
            found.map(|text| text.trim().to_owned())
        };
        let version = document.lines().find_map(|line| line.strip_prefix("apiVersion: "));
        let version = version.map(|version| match version.trim() {
            core if !core.contains('/') => format!("api/{core}"),
            grouped => format!("apis/{grouped}"),
        });
        Self {
            kind: kind.trim().to_owned(),
            version,
            namespace: part("namespace:").unwrap_or_default(),
            name: part("name:").expect("a name"),
        }
    }

    /// Its address.
    pub(super) fn path(&self) -> String {
        let Self { kind, version, namespace, name } = self;
        let known = KINDS.iter().find(|(known, ..)| known == kind);
        let (_, group, plural, namespaced) =
            known.unwrap_or_else(|| panic!("{kind} is missing from the table of kinds"));
        let group = version.as_deref().unwrap_or(group);
        match namespaced {
            true => format!("/{group}/namespaces/{namespace}/{plural}/{name}"),
            false => format!("/{group}/{plural}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_either_style() {
        let flow =
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b, labels: {name: c}}\nspec: {}";
        assert_eq!(Resource::of(flow).path(), "/api/v1/namespaces/b/services/a");
        let block = "kind: Secret\nmetadata:\n  annotations:\n    name: c\n  name: a\n  namespace: b\ndata:\n  name: d\n";
        assert_eq!(Resource::of(block).path(), "/api/v1/namespaces/b/secrets/a");
        let older = flow.replace("v1\nkind: Service", "networking.istio.io/v1beta1\nkind: Gateway");
        assert_eq!(Resource::of(&older).path(), "/apis/networking.istio.io/v1beta1/namespaces/b/gateways/a");
        assert_eq!(
            Resource::named("ClusterRole", "", "a").path(),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/a"
        );
    }
}
