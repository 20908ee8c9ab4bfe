//! What the cluster itself must have, and must not: definitions, rights, webhooks, classes of Ingress.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_api::{ObjectRef, Severity, schema};
use portcullis_control::Notice;

use super::super::facts::{Facts, Labels, Right, Webhook, Webhooks};
use super::finding;

/// Marks the class of an Ingress that names none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn judge(facts: &Facts, found: &mut Vec<Notice>) {
    definitions(facts, found);
    rights(facts.missing_rights.list(), found);
    for hooks in facts.validating.list() {
        webhook("ValidatingWebhookConfiguration", hooks, facts, found);
    }
    for hooks in facts.mutating.list() {
        webhook("MutatingWebhookConfiguration", hooks, facts, found);
    }
    classes(facts, found);
    ingresses(facts, found);
}

/// The kinds that the gateway reads, in every version that Istio's users write.
fn definitions(facts: &Facts, found: &mut Vec<Notice>) {
    for definition in schema::crds() {
        let text = |pointer: &str| {
            definition.pointer(pointer).and_then(|it| it.as_str()).unwrap_or_default().to_owned()
        };
        let (name, plural) = (text("/metadata/name"), text("/spec/names/plural"));
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        let versions: BTreeSet<&str> = versions.filter_map(|version| version["name"].as_str()).collect();
        let served = |version: &&str| facts.served.get(*version).is_some_and(|kinds| kinds.contains(&plural));
        let missing: Vec<&str> = versions.iter().copied().filter(|version| !served(version)).collect();
        let object = ObjectRef { kind: "CustomResourceDefinition".into(), namespace: String::new(), name };
        if missing.len() == versions.len() {
            let message = "the kind is not installed: objects of it cannot be made";
            found.push(finding(Severity::Error, "DefinitionMissing", object, message, INSTALL));
        } else if !missing.is_empty() {
            let message =
                format!("{} of it is not served: who asks for that version fails", missing.join(", "));
            found.push(finding(Severity::Warning, "VersionMissing", object, message, INSTALL));
        }
    }
}

const INSTALL: &str = "portcullis crds | kubectl apply --server-side -f -";

/// One finding for each set of verbs and place, so that a role that is missing is one finding.
fn rights(missing: &[Right], found: &mut Vec<Notice>) {
    let mut verbs: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for right in missing {
        let Right { account, verb, group, resource, namespace } = right;
        let kind = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
        verbs.entry((account.as_str(), namespace.as_deref(), kind)).or_default().insert(verb);
    }
    let mut kinds: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for ((account, namespace, kind), verbs) in verbs {
        kinds.entry((account, namespace, verbs)).or_default().push(kind);
    }
    for ((account, namespace, verbs), kinds) in kinds {
        let place = namespace.map_or("in all namespaces".to_owned(), |name| format!("in {name}"));
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("it may not {verbs} {place}: {}", kinds.join(", "));
        let remedy = "apply the chart's roles (rbac.enabled), or deploy/kubernetes/rbac.yaml";
        found.push(finding(Severity::Error, "RightMissing", account_reference(account), message, remedy));
    }
}

/// `system:serviceaccount:ns:name` as an object.
fn account_reference(account: &str) -> ObjectRef {
    let name = account.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let (kind, namespace, name) = match name {
        Some((namespace, name)) => ("ServiceAccount", namespace, name),
        None => ("User", "", account),
    };
    ObjectRef { kind: kind.into(), namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Webhooks of an istiod that is gone: writes that they must allow fail then.
fn webhook(kind: &str, hooks: &Webhooks, facts: &Facts, found: &mut Vec<Notice>) {
    let deaf = |hook: &&Webhook| {
        let service = hook.client_config.service.as_ref();
        service
            .is_some_and(|it| facts.answering.get(&(it.namespace.clone(), it.name.clone())) == Some(&false))
    };
    let about = |hook: &&Webhook| {
        let mut rules = hook.rules.iter();
        rules.any(|rule| {
            let istio = rule.api_groups.iter().any(|group| group.ends_with("istio.io"));
            istio || rule.resources.iter().any(|resource| resource == "pods")
        })
    };
    let mut deaf: Vec<&Webhook> = hooks.webhooks.iter().filter(about).filter(deaf).collect();
    // The worst first: it makes the finding.
    deaf.sort_by_key(|hook| hook.failure_policy == "Ignore");
    let Some(hook) = deaf.first() else { return };
    let ignored = hook.failure_policy == "Ignore";
    let severity = if ignored { Severity::Info } else { Severity::Error };
    let service = hook.client_config.service.as_ref().map(|it| format!("{}/{}", it.namespace, it.name));
    let what = match (kind.starts_with("Mutating"), ignored) {
        (_, true) => "every write waits for it in vain before it goes on",
        (true, false) => "pods that it shall change cannot be made",
        (false, false) => "no Istio resource can be written",
    };
    let message = format!("it asks Service {}, where nobody answers: {what}", service.unwrap_or_default());
    let object = ObjectRef { kind: kind.into(), namespace: String::new(), name: hooks.metadata.name.clone() };
    let remedy = format!("kubectl delete {} {}", kind.to_lowercase(), hooks.metadata.name);
    found.push(finding(severity, "WebhookLeftBehind", object, message, remedy));
}

fn classes(facts: &Facts, found: &mut Vec<Notice>) {
    let classes = facts.classes.list();
    let is_default = |labels: &Labels| labels.get(DEFAULT_CLASS).is_some_and(|value| value == "true");
    let defaults = classes.iter().filter(|class| is_default(&class.metadata.annotations));
    let defaults: Vec<&str> = defaults.map(|class| class.metadata.name.as_str()).collect();
    if defaults.len() > 1 {
        let object =
            ObjectRef { kind: "IngressClass".into(), namespace: String::new(), name: defaults[0].to_owned() };
        let message = format!("several classes are the default: {}", defaults.join(", "));
        let remedy = "an Ingress without a class is refused then: take the mark from all but one";
        found.push(finding(Severity::Warning, "IngressClassClash", object, message, remedy));
    }
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for class in classes.iter().filter(|class| !class.spec.controller.is_empty()) {
        named.entry(&class.spec.controller).or_default().push(&class.metadata.name);
    }
    for (controller, names) in named.into_iter().filter(|(_, names)| names.len() > 1) {
        let object =
            ObjectRef { kind: "IngressClass".into(), namespace: String::new(), name: names[0].to_owned() };
        let message = format!("{} are all of the controller {controller}", names.join(", "));
        let remedy = "where two installations of it run, each may take the other's Ingresses: give them parameters or remove one";
        found.push(finding(Severity::Info, "IngressClassClash", object, message, remedy));
    }
}

/// Ingresses are another controller's: whoever switches that off must know.
fn ingresses(facts: &Facts, found: &mut Vec<Notice>) {
    let mut by_class: BTreeMap<&str, usize> = BTreeMap::new();
    for ingress in facts.ingresses.list() {
        let annotated = ingress.metadata.annotations.get("kubernetes.io/ingress.class");
        let class = annotated.or(ingress.spec.ingress_class_name.as_ref()).map_or("", String::as_str);
        *by_class.entry(class).or_default() += 1;
    }
    for (class, count) in by_class {
        let known = facts.classes.list().iter().any(|it| it.metadata.name == class);
        let name = if class.is_empty() { "(none)" } else { class };
        let object =
            ObjectRef { kind: "IngressClass".into(), namespace: String::new(), name: name.to_owned() };
        let message = format!("Ingresses of this class: {count}; Portcullis does not read them");
        let remedy = match known {
            true => "keep their controller, or write VirtualServices in their place: docs/from-traefik.md",
            false => "nobody serves them: write VirtualServices in their place, docs/from-traefik.md",
        };
        let severity = if known || class.is_empty() { Severity::Info } else { Severity::Warning };
        found.push(finding(severity, "IngressNotServed", object, message, remedy));
    }
}
