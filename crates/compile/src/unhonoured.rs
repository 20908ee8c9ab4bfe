//! Fields that are there and have no effect yet: each is named, so that nobody relies on it.

use std::sync::Arc;

use portcullis_api::mesh::MeshConfig;
use portcullis_api::networking::TrafficPolicy;
use portcullis_api::{DestinationRule, Kind, ObjectRef};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Reporter, Subject};
use crate::objects::Objects;

/// A field of `T`, by its path, and whether it is there.
type Check<T> = (&'static str, fn(&T) -> bool);

/// Reports every field of `objects` that is accepted but not honoured yet.
pub(crate) fn report(objects: &Objects, diagnostics: &mut Diagnostics) {
    for rule in objects.destination_rules.values() {
        of_destination_rule(rule, diagnostics);
    }
    if let Some(mesh) = crate::settings::mesh(objects) {
        let subject = Subject::new(Kind::MeshConfig, mesh);
        run(MESH, &mesh.spec, &mut Reporter::new(diagnostics, subject, ""));
    }
}

fn run<T>(checks: &[Check<T>], value: &T, reporter: &mut Reporter<'_, '_>) {
    for (field, _) in checks.iter().filter(|(_, present)| present(value)) {
        reporter.report(Code::FieldNotHonoured, field, "is accepted but not honoured yet", "");
    }
}

fn of_destination_rule(rule: &DestinationRule, diagnostics: &mut Diagnostics) {
    let subject = Subject::new(Kind::DestinationRule, rule);
    let base = rule.spec.traffic_policy.iter().map(|policy| ("spec".to_owned(), policy));
    let subsets = rule.spec.subsets.iter().enumerate().filter_map(|(index, subset)| {
        let policy = subset.traffic_policy.as_ref()?;
        Some((format!("spec.subsets[{index}]"), policy))
    });
    for (path, policy) in base.chain(subsets) {
        of_policy(policy, &mut Reporter::new(diagnostics, subject, path + ".trafficPolicy"));
    }
}

fn of_policy(policy: &TrafficPolicy, reporter: &mut Reporter<'_, '_>) {
    // Istio reads the budget along with the block, wherever that comes from.
    let ports = policy.port_level_settings.iter();
    if policy.retry_budget.is_some()
        && policy.connection_pool.is_none()
        && ports.filter(|port| port.connection_pool.is_some()).count() == 0
    {
        let message = "has an effect only along with a connectionPool, as in Istio; there is none beside it";
        reporter.report(Code::FieldNotHonoured, "retryBudget", message, "add connectionPool: {http: {}}");
    }
}

/// At the top of a mesh configuration.
const MESH: &[Check<MeshConfig>] = &[("defaultConfig.proxyHeaders.preserveHttp1HeaderCase", |mesh| {
    let headers = mesh.default_config.as_ref().and_then(|config| config.proxy_headers.as_ref());
    headers.is_some_and(|headers| headers.preserve_http1_header_case == Some(true))
})];

/// Reports objects of kinds that Istio's gateway obeys and this one does not yet. Policies are errors: what
/// they refuse is served.
pub(crate) fn report_kinds(objects: &Objects, diagnostics: &mut Diagnostics) {
    for object in objects.unread.values().flat_map(|table| table.values()) {
        let (code, message, remedy) = match (object.api_group(), &*object.kind) {
            ("security.istio.io", "AuthorizationPolicy" | "RequestAuthentication") => (
                Code::PolicyNotEnforced,
                "is not enforced yet: requests it would refuse are served",
                "do not rely on this gateway for it; enforce it behind the gateway until it is honoured",
            ),
            ("telemetry.istio.io", "Telemetry")
            | ("networking.istio.io", "EnvoyFilter" | "ProxyConfig")
            | ("extensions.istio.io", "WasmPlugin")
            | ("networking.k8s.io", "Ingress")
            | ("gateway.networking.k8s.io", _) => (
                Code::KindNotHonoured,
                "has no effect: this kind is not honoured yet",
                "remove it, or expect nothing of it",
            ),
            _ => continue,
        };
        diagnostics.push(Diagnostic {
            severity: code.severity(),
            code,
            object: ObjectRef {
                kind: Arc::clone(&object.kind),
                namespace: object.meta.namespace.clone(),
                name: object.meta.name.clone(),
            },
            field: String::new(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            origin: Some(object.origin.clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::honoured::{Honoured, honoured_fields};

    #[test]
    fn every_field_without_effect_is_looked_for() {
        let mut looked_for: Vec<String> = Vec::new();
        looked_for.extend(MESH.iter().map(|(name, _)| format!("MeshConfig {name}")));
        for (kind, path, state) in honoured_fields() {
            if *state != Honoured::No {
                continue;
            }
            let name = format!("{} {path}", kind.name());
            let found = looked_for.iter().any(|known| {
                name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
            assert!(found, "nothing looks for {name}");
        }
    }
}
