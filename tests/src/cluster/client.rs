//! A connection to an API server.

use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::names::Names;
use super::resource::Resource;
use crate::raw::Raw;

/// A connection to an API server, as its administrator. What it is given names namespaces as tests do.
pub struct Client {
    pub(super) raw: Raw<StreamOwned<ClientConnection, TcpStream>>,
    /// The header that says who asks; empty where a certificate does.
    pub(super) authorization: String,
    pub(super) host: String,
    pub(super) names: Names,
}

impl Client {
    /// Creates or replaces each document of a text.
    ///
    /// # Panics
    /// When one is refused.
    pub fn apply(&mut self, yaml: &str) {
        for document in documents(yaml) {
            let (status, answer) = self.patch(document, "");
            assert!(matches!(status, 200 | 201), "{status} {answer}\n{document}");
        }
    }

    /// What would come of each document of a text: `kubectl apply --server-side --dry-run=server --validate=strict`.
    ///
    /// # Panics
    /// When one would be refused, or has a field that its kind has not.
    pub fn try_out(&mut self, yaml: &str) -> Vec<Value> {
        let answers = documents(yaml).map(|document| {
            let (status, answer) = self.patch(document, "&dryRun=All&fieldValidation=Strict");
            assert!(matches!(status, 200 | 201), "{status} {answer}\n{document}");
            answer
        });
        answers.collect()
    }

    /// Sets the status of an object, as a controller of the cluster would.
    ///
    /// # Panics
    /// When it is refused.
    pub fn set_status(&mut self, kind: &str, namespace: &str, name: &str, status: &Value) {
        let path = format!("{}/status", Resource::named(kind, namespace, name).path());
        let body = json!({ "status": status }).to_string();
        let (code, answer) = self.request("PATCH", &path, "application/merge-patch+json", &body);
        assert_eq!(code, 200, "{answer}");
    }

    fn patch(&mut self, document: &str, options: &str) -> (u16, Value) {
        let document = self.names.localize(document).into_owned();
        let path = format!("{}?fieldManager=test&force=true{options}", Resource::of(&document).path());
        self.request("PATCH", &path, "application/apply-patch+yaml", &document)
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let path = Resource::named(kind, namespace, name).path();
        let (status, answer) = self.request("DELETE", &path, "", "");
        assert_eq!(status, 200, "{answer}");
    }

    /// Asks for anything; gives status and answer.
    pub fn request(&mut self, method: &str, path: &str, content: &str, body: &str) -> (u16, Value) {
        let kind = if content.is_empty() { String::new() } else { format!("content-type: {content}\r\n") };
        let (path, body) = (self.names.localize(path), self.names.localize(body));
        let Self { host, authorization, .. } = self;
        self.raw.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}accept: application/json\r\n{kind}content-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = self.raw.answer();
        (answer.status, serde_json::from_slice(&answer.message.body).unwrap_or_default())
    }
}

/// The documents of a text that say what they are.
fn documents(yaml: &str) -> impl Iterator<Item = &str> {
    let all = yaml.split("\n---").map(|text| text.trim_start_matches("---"));
    all.filter(|document| document.lines().any(|line| line.starts_with("kind:")))
}
