//! Questions to the API server, each with an answer that is data: what it is, that it is not there, or why it is not told.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::facts::Seen;
use super::Question;

/// Objects of a page, and most pages: what is beyond is left out, and said to be unread.
const PAGE: usize = 500;
const MAX_PAGES: usize = 40;

/// What the API server says.
pub(super) enum Answer<T> {
    Is(T),
    Missing,
    Refused(String),
}

/// Asks an API server.
pub(super) struct Asker {
    client: Client,
}

impl Asker {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn request(&self, request: http::request::Builder, body: Vec<u8>) -> Answer<Value> {
        let request = match request.body(body) {
            Ok(request) => request,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        match self.client.request(request).await {
            Ok(value) => Answer::Is(value),
            Err(kube::Error::Api(status)) if status.code == 404 => Answer::Missing,
            Err(kube::Error::Api(status)) => Answer::Refused(status.message.clone()),
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    async fn get(&self, path: &str) -> Answer<Value> {
        self.request(Request::get(path), Vec::new()).await
    }

    /// Everything below a path. A kind that is not there has no objects.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Seen<T> {
        let (mut read, mut unread) = (Vec::new(), 0);
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let from = if next.is_empty() { String::new() } else { format!("&continue={next}") };
            let page = match self.get(&format!("{path}?limit={PAGE}{from}")).await {
                Answer::Is(page) => page,
                Answer::Missing => return Seen::All(read, unread),
                Answer::Refused(reason) => return Seen::Refused(reason),
            };
            next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            for item in items(page) {
                match serde_json::from_value(without_nulls(item)) {
                    Ok(item) => read.push(item),
                    Err(_) => unread += 1,
                }
            }
            if next.is_empty() {
                return Seen::All(read, unread);
            }
        }
        Seen::All(read, unread + PAGE)
    }

    /// The versions of a group, with the kinds of each.
    pub(super) async fn served(&self, group: &str) -> BTreeMap<String, BTreeSet<String>> {
        let Answer::Is(known) = self.get(&format!("/apis/{group}")).await else { return BTreeMap::new() };
        let versions = known["versions"].as_array().into_iter().flatten();
        let versions = versions.filter_map(|it| it["version"].as_str().map(str::to_owned));
        let mut served = BTreeMap::new();
        for version in versions {
            if let Answer::Is(list) = self.get(&format!("/apis/{group}/{version}")).await {
                let kinds = list["resources"].as_array().into_iter().flatten();
                let kinds = kinds.filter_map(|it| it["name"].as_str().map(str::to_owned));
                served.insert(version, kinds.collect());
            }
        }
        served
    }

    /// Whether a Service has an endpoint that is ready; `None` where that cannot be seen.
    pub(super) async fn has_endpoints(&self, namespace: &str, service: &str) -> Option<bool> {
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let label = format!("labelSelector=kubernetes.io%2Fservice-name%3D{service}");
        match self.get(&format!("{slices}?{label}")).await {
            Answer::Is(list) => Some(items(list).iter().any(|slice| {
                // Unknown counts as ready, as the API says.
                let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
                endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
            })),
            Answer::Missing => Some(false),
            Answer::Refused(_) => None,
        }
    }

    /// A Secret; not to be kept.
    pub(super) async fn secret(&self, namespace: &str, name: &str) -> Answer<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await
    }

    /// Who asks, as far as the API server says it (Kubernetes 1.28).
    pub(super) async fn own_name(&self) -> Option<String> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
        let request = request.header("content-type", "application/json");
        match self.request(request, body.to_string().into_bytes()).await {
            Answer::Is(review) => review["status"]["userInfo"]["username"].as_str().map(str::to_owned),
            Answer::Missing | Answer::Refused(_) => None,
        }
    }

    /// Whether an account may do something; `None` = whoever asks.
    pub(super) async fn may(&self, account: Option<&str>, question: &Question) -> Answer<bool> {
        let (resource, part) = question.resource.split_once('/').unwrap_or((&question.resource, ""));
        let mut spec = json!({"resourceAttributes": {
            "verb": question.verb, "group": question.group, "resource": resource, "subresource": part,
            "namespace": question.namespace.as_deref().unwrap_or_default(),
            "name": question.name.as_deref().unwrap_or_default(),
        }});
        let kind = match account {
            Some(account) => {
                spec["user"] = json!(account);
                spec["groups"] = groups(account);
                "SubjectAccessReview"
            }
            None => "SelfSubjectAccessReview",
        };
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
        let path = format!("/apis/authorization.k8s.io/v1/{}s", kind.to_lowercase());
        let request = Request::post(path).header("content-type", "application/json");
        match self.request(request, body.to_string().into_bytes()).await {
            Answer::Is(review) => Answer::Is(review["status"]["allowed"] == true),
            Answer::Missing => Answer::Refused("the API server has no access reviews".to_owned()),
            Answer::Refused(reason) => Answer::Refused(reason),
        }
    }
}

/// The groups that every account of a namespace is in.
fn groups(account: &str) -> Value {
    let namespace = account.split(':').nth(2).unwrap_or_default();
    json!(["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"])
}

fn items(mut list: Value) -> Vec<Value> {
    match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// `null` is what was left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
