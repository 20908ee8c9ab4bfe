//! Asks the cluster. Nothing is written but the questions themselves (access reviews keep nothing).

mod ask;
mod credential;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use anyhow::Context as _;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use super::facts::{Credential, Facts, Gateway, Right, Seen, Service, Webhooks};
use super::rules::{self, Rule};
use crate::args::DoctorArgs;
use ask::{Answer, Asker};

/// No answer takes longer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Most Secrets that are looked at.
const MAX_CREDENTIALS: usize = 500;
/// Most rights that are asked for.
const MAX_REVIEWS: usize = 1000;

const ROUTING: &str = "networking.istio.io";

/// Sees what there is to see.
///
/// # Errors
/// When there are no credentials for the cluster, or it cannot be reached.
pub(super) async fn gather(args: &DoctorArgs) -> anyhow::Result<Facts> {
    let client = connect(args.kube_context.as_deref()).await?;
    client.apiserver_version().await.context("the cluster cannot be asked")?;
    let ask = Asker::new(client);
    let served = ask.served(ROUTING).await;
    let services: Seen<Service> = ask.list("/api/v1/services").await;
    let pods = ask.list("/api/v1/pods").await;
    let gateways = gateways(&ask, &served).await;
    let validating = ask.list(&admission("validatingwebhookconfigurations")).await;
    let mutating = ask.list(&admission("mutatingwebhookconfigurations")).await;
    let mut facts = Facts {
        now: SystemTime::now(),
        namespace: args.namespace.clone(),
        name: args.name.clone(),
        nodes: ask.list("/api/v1/nodes").await,
        credentials: Seen::default(),
        answering: answering(&ask, [&validating, &mutating]).await,
        missing_rights: Seen::default(),
        classes: ask.list("/apis/networking.k8s.io/v1/ingressclasses").await,
        ingresses: ask.list("/apis/networking.k8s.io/v1/ingresses").await,
        services,
        pods,
        gateways,
        validating,
        mutating,
        served,
    };
    facts.credentials = credentials(&ask, &facts).await;
    facts.missing_rights = missing_rights(&ask, &facts, args).await;
    Ok(facts)
}

/// As the kubeconfig says, else as the account of the pod this runs in.
async fn connect(context: Option<&str>) -> anyhow::Result<Client> {
    let why = "there are no credentials for a cluster";
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match Config::from_kubeconfig(&options).await {
        Ok(config) => config,
        Err(error) if context.is_some() => return Err(error).context(why),
        Err(_) => Config::infer().await.context(why)?,
    };
    config.connect_timeout = Some(PATIENCE);
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).context(why)
}

fn admission(plural: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{plural}")
}

/// Gateways in the best version that is served.
async fn gateways(ask: &Asker, served: &BTreeMap<String, BTreeSet<String>>) -> Seen<Gateway> {
    let mut versions = ["v1", "v1beta1", "v1alpha3"].into_iter();
    let best = versions.find(|version| served.get(*version).is_some_and(|kinds| kinds.contains("gateways")));
    match best {
        Some(version) => ask.list(&format!("/apis/{ROUTING}/{version}/gateways")).await,
        None => Seen::default(),
    }
}

/// Whether anyone answers at the Services that webhooks call.
async fn answering(ask: &Asker, hooks: [&Seen<Webhooks>; 2]) -> BTreeMap<(String, String), bool> {
    let hooks = hooks.into_iter().flat_map(Seen::list).flat_map(|hooks| &hooks.webhooks);
    let services = hooks.filter_map(|hook| hook.client_config.service.as_ref());
    let services: BTreeSet<(String, String)> =
        services.map(|service| (service.namespace.clone(), service.name.clone())).collect();
    let mut answering = BTreeMap::new();
    for (namespace, name) in services {
        if let Some(answers) = ask.has_endpoints(&namespace, &name).await {
            answering.insert((namespace, name), answers);
        }
    }
    answering
}

/// The Secrets that the Gateways of this gateway name.
async fn credentials(ask: &Asker, facts: &Facts) -> Seen<Credential> {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for gateway in super::judge::own_gateways(facts) {
        for name in gateway.spec.servers.iter().flat_map(|server| server.credentials()) {
            wanted.entry(name).or_default().insert(&gateway.metadata.namespace);
        }
    }
    let mut seen = Vec::new();
    for (name, askers) in wanted.into_iter().take(MAX_CREDENTIALS) {
        let state = match ask.secret(&facts.namespace, name).await {
            Answer::Is(secret) => credential::state(&secret),
            Answer::Missing => credential::missing(ask, name, askers, &facts.namespace).await,
            Answer::Refused(reason) => return Seen::Refused(reason),
        };
        seen.push(Credential { name: name.to_owned(), state });
    }
    Seen::All(seen, 0)
}

/// What the gateway's account lacks. Each account may ask for its own rights, and an administrator for those of others.
async fn missing_rights(ask: &Asker, facts: &Facts, args: &DoctorArgs) -> Seen<Right> {
    let account = account(facts);
    let other = (ask.own_name().await.as_deref() != Some(&account)).then_some(account.as_str());
    let mut wanted = Vec::new();
    let own = Some(facts.namespace.clone());
    wanted.extend(rules::own(&facts.name).into_iter().map(|rule| (rule, own.clone())));
    let places: Vec<Option<String>> = match args.watch_namespace.is_empty() {
        true => vec![None],
        false => args.watch_namespace.iter().cloned().map(Some).chain([own]).collect(),
    };
    for place in places {
        wanted.extend(rules::everywhere().into_iter().map(|rule| (rule, place.clone())));
    }
    let questions =
        wanted.into_iter().flat_map(|(rule, place)| spread(&rule, place.as_deref())).take(MAX_REVIEWS);
    let mut missing = Vec::new();
    for question in questions {
        match ask.may(other, &question).await {
            Answer::Is(true) | Answer::Missing => {}
            Answer::Is(false) => missing.push(Right {
                account: account.clone(),
                verb: question.verb,
                group: question.group,
                resource: question.resource,
                namespace: question.namespace,
            }),
            Answer::Refused(reason) => return Seen::Refused(reason),
        }
    }
    Seen::All(missing, 0)
}

/// One question of an access review.
pub(super) struct Question {
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
    namespace: Option<String>,
}

/// Every combination that a rule grants.
fn spread(rule: &Rule, namespace: Option<&str>) -> Vec<Question> {
    let names: Vec<Option<&String>> =
        if rule.names.is_empty() { vec![None] } else { rule.names.iter().map(Some).collect() };
    let mut questions = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                questions.extend(names.iter().map(|name| Question {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.cloned(),
                    namespace: namespace.map(str::to_owned),
                }));
            }
        }
    }
    questions
}

/// The account of the gateway's pods, else the one that the chart would make.
fn account(facts: &Facts) -> String {
    let pod = super::judge::own_pods(facts).next();
    let name = pod.map_or(facts.name.as_str(), |pod| pod.spec.service_account_name.as_str());
    format!("system:serviceaccount:{}:{name}", facts.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_every_combination() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut rule = Rule {
            groups: words(&["", "a"]),
            resources: words(&["b", "c"]),
            names: Vec::new(),
            verbs: words(&["get", "list", "watch"]),
        };
        assert_eq!(spread(&rule, None).len(), 12);
        rule.names = words(&["x"]);
        let questions = spread(&rule, Some("n"));
        assert_eq!(questions.len(), 12);
        assert!(
            questions
                .iter()
                .all(|it| it.name.as_deref() == Some("x") && it.namespace.as_deref() == Some("n"))
        );
    }
}
