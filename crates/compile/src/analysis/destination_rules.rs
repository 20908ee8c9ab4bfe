//! DestinationRules whose host, subsets or authorities are not there (`destinationrule/*.go`).

use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings};
use portcullis_api::{DestinationRule, Kind};

use crate::conflicts::Scene;
use crate::diagnostic::{Code, Diagnostics, Reporter, Subject};
use crate::names::qualified;
use crate::services::{Discovery, Service};

pub(super) fn report(scene: &Scene<'_, '_>, diagnostics: &mut Diagnostics) {
    for rule in scene.objects.destination_rules.values() {
        let mut reporter = Reporter::new(diagnostics, Subject::new(Kind::DestinationRule, &**rule), "");
        verification(rule, &mut reporter);
        let (host, namespace) = (&rule.spec.host, &rule.meta.namespace);
        // A rule with a wildcard may be there for services to come.
        if host.starts_with('*') {
            continue;
        }
        let host = qualified(host, namespace, &scene.environment.cluster_domain);
        match scene.services.find(&host, namespace) {
            Some(service) => subsets(rule, service, &mut reporter),
            None => reporter.report(
                Code::UnknownDestinationRuleHost,
                "spec.host",
                format!("there is no service {host} that this gateway can see"),
                "name a service that exists, or remove the rule",
            ),
        }
    }
}

fn verification(rule: &DestinationRule, reporter: &mut Reporter<'_, '_>) {
    let Some(policy) = &rule.spec.traffic_policy else { return };
    let selects = rule.spec.workload_selector.is_some();
    if let Some(message) = policy.tls.as_ref().and_then(|tls| unverified(tls, selects)) {
        reporter.report(
            Code::NoServerCertificateVerificationDestinationLevel,
            "spec.trafficPolicy.tls",
            message,
            CA_REMEDY,
        );
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        if let Some(message) = port.tls.as_ref().and_then(|tls| unverified(tls, selects)) {
            let field = format!("spec.trafficPolicy.portLevelSettings[{index}].tls");
            reporter.report(Code::NoServerCertificateVerificationPortLevel, field, message, CA_REMEDY);
        }
    }
}

const CA_REMEDY: &str =
    "set caCertificates, or credentialName together with a workloadSelector, where sidecars connect";

/// What Istio says of TLS without an authority of its own, and what it comes to at this gateway.
fn unverified(tls: &ClientTlsSettings, selects: bool) -> Option<&'static str> {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let verifies = matches!(tls.mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual));
    if !verifies || set(&tls.ca_certificates) {
        return None;
    }
    match (set(&tls.credential_name), selects) {
        (true, true) => None,
        (true, false) => Some(
            "names no caCertificates, and sidecars use a credentialName only with a workloadSelector (this gateway \
             uses it)",
        ),
        (false, _) => Some(
            "names no caCertificates: what verifies the server's certificate is the system's list of authorities",
        ),
    }
}

/// Subsets that none of the service's endpoints is in. Of endpoints that are not listed nothing is known.
fn subsets(rule: &DestinationRule, service: &Service, reporter: &mut Reporter<'_, '_>) {
    let members = || service.ports.iter().flat_map(|port| &port.members);
    if service.discovery != Discovery::Listed || members().next().is_none() {
        return;
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        if !subset.labels.is_empty() && !members().any(|member| member.has(&subset.labels)) {
            reporter.report(
                Code::DestinationRuleSubsetNotSelectPods,
                format_args!("spec.subsets[{index}].labels"),
                format!("no endpoint of {} has these labels: requests get 503", service.facts.host),
                "use labels that Pods or WorkloadEntries of the service carry",
            );
        }
    }
}
