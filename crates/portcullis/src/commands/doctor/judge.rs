//! What the facts come to. Every finding has a code, what it is about, what was found, and the way out; docs/doctor.md
//! lists them.

mod addresses;
mod cluster;
mod credentials;
mod service;

#[cfg(test)]
mod tests;

use portcullis_api::{ObjectRef, Severity};
use portcullis_control::Notice;

use super::facts::{Facts, Gateway, Labels, Pod, Seen, Service, selects};

/// Everything there is to say.
pub(super) fn judge(facts: &Facts) -> Vec<Notice> {
    let mut found = Vec::new();
    unseen(facts, &mut found);
    service::judge(facts, &mut found);
    addresses::judge(facts, &mut found);
    credentials::judge(facts, &mut found);
    cluster::judge(facts, &mut found);
    found
}

/// Every code. They are stable: programs look for them.
const CODES: [&str; 23] = [
    "CertificateEndsSoon",
    "CertificateExpired",
    "CertificateUnreadable",
    "ClientAddressHidden",
    "ClientAddressTranslated",
    "DefinitionMissing",
    "DnsFindsNoService",
    "DnsTargetDiffers",
    "IngressClassClash",
    "IngressNotServed",
    "NodePortsMissing",
    "NotSeen",
    "PodNotReady",
    "PodsMissing",
    "PortTaken",
    "RightMissing",
    "SecretElsewhere",
    "SecretIncomplete",
    "SecretMissing",
    "ServiceMissing",
    "ServicePending",
    "VersionMissing",
    "WebhookLeftBehind",
];

/// A finding.
fn finding(
    severity: Severity,
    code: &'static str,
    object: ObjectRef,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Notice {
    debug_assert!(CODES.contains(&code), "{code} is not listed");
    Notice {
        severity,
        code,
        title: code,
        source: None,
        line: 0,
        column: 0,
        object: Some(object),
        field: String::new(),
        message: message.into(),
        remedy: remedy.into(),
    }
}

/// What could not be looked at says nothing, and that is said.
fn unseen(facts: &Facts, found: &mut Vec<Notice>) {
    let mut say = |what: &str, why: String| {
        let object = ObjectRef { kind: what.into(), namespace: String::new(), name: "*".to_owned() };
        let remedy = "ask as someone who may list them; nothing is known about them so";
        found.push(finding(Severity::Warning, "NotSeen", object, why, remedy));
    };
    fn why<T>(seen: &Seen<T>) -> Option<String> {
        match seen {
            Seen::Refused(reason) => Some(format!("they cannot be listed: {reason}")),
            Seen::All(_, 0) => None,
            Seen::All(_, unread) => Some(format!("{unread} of them cannot be read")),
        }
    }
    let all = [
        ("Service", why(&facts.services)),
        ("Pod", why(&facts.pods)),
        ("Node", why(&facts.nodes)),
        ("Gateway", why(&facts.gateways)),
        ("Secret", why(&facts.credentials)),
        ("ValidatingWebhookConfiguration", why(&facts.validating)),
        ("MutatingWebhookConfiguration", why(&facts.mutating)),
        ("SubjectAccessReview", why(&facts.missing_rights)),
        ("IngressClass", why(&facts.classes)),
        ("Ingress", why(&facts.ingresses)),
    ];
    for (what, why) in all {
        if let Some(why) = why {
            say(what, why);
        }
    }
}

/// The gateway's Service.
fn own_service(facts: &Facts) -> Option<&Service> {
    let mut services = facts.services.list().iter();
    services.find(|it| it.metadata.namespace == facts.namespace && it.metadata.name == facts.name)
}

/// What selects the gateway's pods: as the Service says, else as the chart labels them.
fn own_labels(facts: &Facts) -> Labels {
    match own_service(facts) {
        Some(service) if !service.spec.selector.is_empty() => service.spec.selector.clone(),
        _ => {
            let istio = facts.name.strip_prefix("istio-").unwrap_or(&facts.name);
            [("app", facts.name.as_str()), ("istio", istio)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        }
    }
}

/// The gateway's pods.
pub(super) fn own_pods(facts: &Facts) -> impl Iterator<Item = &Pod> {
    let labels = own_labels(facts);
    let pods =
        facts.pods.list().iter().filter(|pod| pod.metadata.namespace == facts.namespace && !pod.is_over());
    pods.filter(move |pod| selects(&labels, &pod.metadata.labels))
}

/// The Gateways that this gateway serves: those that select its pods, or would.
pub(super) fn own_gateways(facts: &Facts) -> impl Iterator<Item = &Gateway> {
    let mut labels: Vec<Labels> = own_pods(facts).map(|pod| pod.metadata.labels.clone()).collect();
    labels.push(own_labels(facts));
    facts.gateways.list().iter().filter(move |gateway| {
        let selector = &gateway.spec.selector;
        selector.is_empty() || labels.iter().any(|labels| selects(selector, labels))
    })
}
