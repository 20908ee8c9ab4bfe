//! What a schema asks of a value beyond its type: sizes, bounds, fields that exclude each other, CEL rules.
//!
//! A rule stands once, on the Rust type (see `constraints`); from there it goes into the resource definitions, where
//! the API server enforces it, and into the loader, which says the same offline. The rules are those of Istio's own
//! definitions (`manifests/charts/base/files/crd-all.gen.yaml`, August 2026).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::duration::parse_nanos;

/// The key under which groups of fields that exclude each other travel through the JSON schema.
pub(super) const ONE_OF: &str = "x-portcullis-one-of";

/// The key of CEL rules in a resource definition.
const VALIDATIONS: &str = "x-kubernetes-validations";

/// One rule about a value that has the right type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    /// Of these fields at most one may be present.
    OneOf(Vec<String>),
    /// The least and most entries of a list or map.
    Entries { min: usize, max: usize },
    /// The most characters of a text.
    Length(usize),
    /// Bounds of a number, both included.
    Range { min: f64, max: f64 },
    /// No two items of the list may have the same value in this field.
    Key(String),
    /// An expression for the API server, and what it comes to.
    Cel(&'static Cel),
}

/// A rule in Kubernetes' expression language, with the same rule in Rust.
pub(crate) struct Cel {
    /// The expression; `self` is the value.
    pub(crate) rule: &'static str,
    /// What is wrong where it does not hold.
    pub(crate) message: &'static str,
    /// What to do then.
    remedy: &'static str,
    holds: fn(&Value) -> bool,
}

impl std::fmt::Debug for Cel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule)
    }
}

impl PartialEq for Cel {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule
    }
}

impl Rule {
    /// The rules of one node of a normalized schema; those of its children are theirs.
    pub(super) fn of(schema: &Value) -> Vec<Self> {
        let mut rules = Vec::new();
        if let Some(Value::Array(groups)) = schema.get(ONE_OF) {
            rules.extend(groups.iter().map(|group| Self::OneOf(texts(group))));
        }
        let size =
            |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let entries = (size("minItems"), size("maxItems").or_else(|| size("maxProperties")));
        if entries != (None, None) {
            rules.push(Self::Entries { min: entries.0.unwrap_or(0), max: entries.1.unwrap_or(usize::MAX) });
        }
        rules.extend(size("maxLength").map(Self::Length));
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if schema["type"] == "number" && (bound("minimum"), bound("maximum")) != (None, None) {
            let (min, max) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
            rules.push(Self::Range { min, max });
        }
        if let Some(keys) = schema.get("x-kubernetes-list-map-keys") {
            rules.extend(texts(keys).into_iter().map(Self::Key));
        }
        if let Some(Value::Array(written)) = schema.get(VALIDATIONS) {
            let known = written.iter().filter_map(|entry| entry["rule"].as_str()).filter_map(cel);
            rules.extend(known.map(Self::Cel));
        }
        rules
    }

    /// What is wrong with a value that breaks the rule, and what to do; `None` if it does not. A value of another
    /// type than the rule is about breaks nothing.
    pub(crate) fn broken(&self, value: &Value) -> Option<(String, String)> {
        let wrong =
            |holds: bool, message: String, remedy: &str| (!holds).then(|| (message, remedy.to_owned()));
        match self {
            Self::OneOf(names) => {
                let present: Vec<&str> =
                    names.iter().map(String::as_str).filter(|name| value.get(name).is_some()).collect();
                let message = format!("{} exclude each other", present.join(" and "));
                wrong(present.len() <= 1, message, "keep one of them")
            }
            Self::Entries { min, max } => {
                let entries = match value {
                    Value::Array(items) => items.len(),
                    Value::Object(entries) => entries.len(),
                    _ => return None,
                };
                let message = format!("has {entries} entries, where {} are allowed", between(*min, *max));
                wrong(
                    (*min..=*max).contains(&entries),
                    message,
                    if entries < *min { "add one" } else { "use fewer" },
                )
            }
            Self::Length(max) => {
                let length = value.as_str()?.chars().count();
                let message = format!("is {length} characters long, {max} are allowed");
                wrong(length <= *max, message, "shorten it")
            }
            Self::Range { min, max } => {
                let number = value.as_f64()?;
                let bounds =
                    if *max == f64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
                wrong(
                    (*min..=*max).contains(&number),
                    "is out of bounds".to_owned(),
                    &format!("use {bounds}"),
                )
            }
            Self::Key(name) => {
                let mut seen = BTreeSet::new();
                let items = value.as_array()?.iter().filter_map(|item| item.get(name)).map(Value::to_string);
                let twice = items.into_iter().find(|key| !seen.insert(key.clone()))?;
                Some((format!("two items have the {name} {twice}"), format!("give each its own {name}")))
            }
            Self::Cel(cel) => wrong((cel.holds)(value), cel.message.to_owned(), cel.remedy),
        }
    }
}

/// `1 to 2`, or `at most 256`.
fn between(min: usize, max: usize) -> String {
    match (min, max) {
        (0, max) => format!("at most {max}"),
        (min, usize::MAX) => format!("{min} or more"),
        (min, max) => format!("{min} to {max}"),
    }
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The rule with this expression.
pub(super) fn cel(rule: &str) -> Option<&'static Cel> {
    ALL.into_iter().find(|cel| cel.rule == rule)
}

/// Puts rules of the expression language into a schema.
pub(super) fn add(schema: &mut Map<String, Value>, rules: &[&Cel]) {
    let entries = schema.entry(VALIDATIONS).or_insert_with(|| json!([]));
    if let Value::Array(entries) = entries {
        entries.extend(rules.iter().map(|cel| json!({ "rule": cel.rule, "message": cel.message })));
    }
}

/// Groups of fields that exclude each other, as a resource definition says it: exactly one of each group, or none.
pub(super) fn exclusion(groups: &Value) -> (&'static str, Value) {
    let one = |group: &Value| {
        let required: Vec<Value> =
            texts(group).into_iter().map(|name| json!({ "required": [name] })).collect();
        let none = json!({ "not": { "anyOf": required } });
        Value::Array([none].into_iter().chain(required).collect())
    };
    match groups.as_array().map(Vec::as_slice) {
        Some([group]) => ("oneOf", one(group)),
        groups => {
            ("allOf", groups.into_iter().flatten().map(|group| json!({ "oneOf": one(group) })).collect())
        }
    }
}

macro_rules! rules {
    ($($name:ident = $rule:literal, $message:literal, $remedy:literal, $holds:expr;)*) => {
        $(pub(super) static $name: Cel =
            Cel { rule: $rule, message: $message, remedy: $remedy, holds: $holds };)*

        /// Every rule in use.
        static ALL: [&Cel; [$(stringify!($name)),*].len()] = [$(&$name),*];
    };
}

rules! {
    AT_LEAST_1MS = "duration(self) >= duration('1ms')",
        "must be at least 1ms", "write a length such as 5s",
        |value| value.as_str().and_then(parse_nanos).is_none_or(|nanos| nanos >= 1_000_000);
    PORT = "self >= 1 && self <= 65535",
        "is no port", "use 1 to 65535",
        |value| value.as_u64().is_none_or(|port| (1..=65535).contains(&port));
    NOT_EVERY_HOST = "self != '*'",
        "may not stand for every host", "name the host, or use a wildcard such as *.example.com",
        |value| value != "*";
    NUMBERS_DIFFER = "self.all(a, self.exists_one(b, a.number == b.number))",
        "two ports have the same number", "remove one of them",
        |value| {
            let mut seen = BTreeSet::new();
            items(value).filter_map(|port| port["number"].as_u64()).all(|number| seen.insert(number))
        };
    ADDRESS_OR_NETWORK = "has(self.address) || has(self.network)",
        "has neither address nor network", "give it an address",
        |value| has(value, "address") || has(value, "network");
    SOCKET_WITHOUT_PORTS = "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports)",
        "a unix socket has no ports", "remove the ports",
        |value| !value["address"].as_str().is_some_and(is_socket) || !has(value, "ports");
    SOCKET_IS_ABSOLUTE =
        "!self.startsWith('unix://') || self.startsWith('unix:///') || self.startsWith('unix://@')",
        "a unix socket needs an absolute path or an abstract name", "write unix:///path or unix://@name",
        |value| value.as_str().and_then(|text| text.strip_prefix(SOCKET)).is_none_or(|path| path.starts_with(['/', '@']));
    SOCKET_IS_NO_FOLDER = "!self.startsWith('unix://') || !self.endsWith('/')",
        "a unix socket is a file, not a folder", "remove the slash at the end",
        |value| value.as_str().is_none_or(|text| !is_socket(text) || !text.ends_with('/'));
    PORT_NAMES = "self.all(key, key.size() < 63 && key.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
        "a port name must be letters, digits and hyphens, shorter than 63", "use the name of the service's port",
        |value| keys(value).all(|key| key.len() < 63 && is_label(key));
    SELECTOR_OR_ENDPOINTS = "!has(self.workloadSelector) || !has(self.endpoints)",
        "workloadSelector and endpoints exclude each other", "keep one of them",
        |value| !has(value, "workloadSelector") || !has(value, "endpoints");
    BLOCKS_ARE_NOT_RESOLVED =
        "!has(self.addresses) || !self.addresses.exists(a, a.contains('/')) || !has(self.resolution) || self.resolution in ['STATIC', 'NONE']",
        "address blocks need the resolution NONE or STATIC", "write single addresses, or change the resolution",
        |value| {
            let block = items(&value["addresses"]).any(|address| address.as_str().is_some_and(|text| text.contains('/')));
            !block || matches!(value["resolution"].as_str(), None | Some("STATIC" | "NONE"))
        };
    NONE_HAS_NO_ENDPOINTS = "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
        "the resolution NONE goes without endpoints", "set resolution to STATIC or DNS",
        |value| !has(value, "endpoints") || !matches!(value["resolution"].as_str(), None | Some("NONE"));
    ROUND_ROBIN_HAS_ONE_ENDPOINT =
        "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) || self.endpoints.size() <= 1",
        "the resolution DNS_ROUND_ROBIN takes one endpoint at most", "use DNS for several",
        |value| value["resolution"] != "DNS_ROUND_ROBIN" || items(&value["endpoints"]).count() <= 1;
    VALUE_WITHOUT_WILDCARD = "!self.contains('*')",
        "a label's value has no wildcards", "write the whole value",
        |value| value.as_str().is_none_or(|text| !text.contains('*'));
    KEYS_WITHOUT_WILDCARD = "self.all(key, !key.contains('*'))",
        "a label's key has no wildcards", "write the whole key",
        |value| keys(value).all(|key| !key.contains('*'));
    KEYS_NOT_EMPTY = "self.all(key, key.size() > 0)",
        "a label's key is empty", "write the key",
        |value| keys(value).all(|key| !key.is_empty());
    ONE_CREDENTIAL_OR_SEVERAL = "!has(self.credentialName) || !has(self.credentialNames)",
        "credentialName and credentialNames exclude each other", "keep one of them",
        |value| !has(value, "credentialName") || !has(value, "credentialNames");
    SECRETS_OR_FILES = "!has(self.tlsCertificates) || !has(self.credentialNames)",
        "tlsCertificates and credentialNames exclude each other", "keep one of them",
        |value| !has(value, "tlsCertificates") || !has(value, "credentialNames");
}

const SOCKET: &str = "unix://";

fn is_socket(address: &str) -> bool {
    address.starts_with(SOCKET)
}

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn keys(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
}

/// Letters, digits and hyphens, no hyphen at either end.
fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inner && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
