//! What is there and has no effect yet, kinds above all: each is named, so that nobody relies on it.

use std::sync::Arc;

use portcullis_api::cert_manager::SOLVER;
use portcullis_api::networking::TrafficPolicy;
use portcullis_api::{DestinationRule, Kind, ObjectRef, Unsupported};

use crate::challenges::is_solver;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Reporter, Subject};
use crate::environment::Environment;
use crate::objects::Objects;

/// Reports every field of `objects` that is accepted but not honoured yet.
pub(crate) fn report(objects: &Objects, diagnostics: &mut Diagnostics) {
    for rule in objects.destination_rules.values() {
        of_destination_rule(rule, diagnostics);
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

/// Reports objects of kinds that Istio's gateway obeys and this one does not yet.
pub(crate) fn report_kinds(objects: &Objects, environment: &Environment, diagnostics: &mut Diagnostics) {
    let ingresses = objects.ingresses.values().map(|ingress| Subject::new(Kind::Ingress, &**ingress));
    let routes = objects.http_routes.values().map(|route| Subject::new(Kind::HttpRoute, &**route));
    for subject in ingresses.chain(routes).filter(|subject| !is_solver(subject.meta(), environment)) {
        let message = "has no effect: of this kind only cert-manager's solvers beside the gateway are served";
        let remedy = "write a VirtualService, or expect nothing of it";
        diagnostics.report(Code::KindNotHonoured, subject, "", message, remedy);
    }
    for object in objects.unread.values().flat_map(|table| table.values()) {
        if let Some(diagnostic) = not_honoured(object) {
            diagnostics.push(diagnostic);
        }
    }
}

/// The kinds that cert-manager's solvers are made of.
const SOLVED: [Kind; 2] = [Kind::Ingress, Kind::HttpRoute];

/// What there is to say about an object of a kind that is not read: something where Istio's gateway obeys it and this one
/// does not yet. Policies are errors: what they refuse is served.
#[must_use]
pub fn not_honoured(object: &Unsupported) -> Option<Diagnostic> {
    if SOLVED.iter().any(|kind| *object.kind == *kind.name()) && object.meta.labels.contains_key(SOLVER) {
        // For a moment, and not written by anybody who could be told.
        return None;
    }
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
        _ => return None,
    };
    Some(Diagnostic {
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
    })
}

#[cfg(test)]
mod tests {
    use crate::honoured::{Honoured, honoured_fields};

    /// A field that has no effect yet needs a look for it, above, that names it to whoever sets it.
    #[test]
    fn no_field_is_accepted_without_effect() {
        let silent: Vec<_> = honoured_fields().iter().filter(|(.., state)| *state == Honoured::No).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}
