//! Single requests to the API server. Each has a limit of time, so that no answer that does not come holds up the others.

use std::time::Duration;

use http::{Method, Request};
use kube::{Client, Error};
use serde_json::{Value, json};

use super::watch::causes;

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(4);
/// By this name the API server knows who wrote which field.
const MANAGER: &str = "fieldManager=portcullis";
/// The same for what is applied as a whole.
const APPLIER: &str = "fieldManager=portcullis-certificates";
const APPLY_PATCH: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status of the answer; 0 where there was none.
    pub(crate) code: u16,
    /// What was said.
    pub(crate) message: String,
}

impl Failure {
    /// Somebody else was faster.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code == 409
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.code == 404
    }
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
}

impl Caller {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, "", Vec::new()).await
    }

    pub(crate) async fn create(&self, collection: &str, object: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, &format!("{collection}?{MANAGER}"), JSON, body(object)).await
    }

    /// Changes the members that the patch names, and no others (RFC 7386). One that names a version is refused with 409 when
    /// the object has another one.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        self.send(Method::PATCH, &format!("{path}?{MANAGER}"), MERGE_PATCH, body(patch)).await
    }

    /// Makes the object, or brings it up to what `object` says; what was said before and is said no more goes away (Kubernetes,
    /// "Server-Side Apply").
    pub(crate) async fn apply(&self, path: &str, object: &Value) -> Result<Value, Failure> {
        let path = format!("{path}?{APPLIER}&force=true");
        self.send(Method::PATCH, &path, APPLY_PATCH, body(object)).await
    }

    /// Deletes the object of this identity; another one of its name is refused with 409.
    pub(crate) async fn delete(&self, path: &str, uid: &str) -> Result<(), Failure> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        self.send(Method::DELETE, path, JSON, body(&options)).await.map(drop)
    }

    /// Dropping it leaves open whether the request had an effect.
    async fn send(&self, method: Method, path: &str, content: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if !content.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, content);
        }
        let request = match request.body(body) {
            Ok(request) => request,
            Err(error) => return Err(Failure { code: 0, message: error.to_string() }),
        };
        match tokio::time::timeout(LIMIT, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::Api(status))) => {
                Err(Failure { code: status.code, message: status.message.clone() })
            }
            Ok(Err(error)) => Err(Failure { code: 0, message: causes(&error) }),
            Err(_) => Err(Failure { code: 0, message: format!("no answer within {LIMIT:?}") }),
        }
    }
}

fn body(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
