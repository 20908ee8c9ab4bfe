//! A status in Istio's shape: `conditions`, `validationMessages` and `observedGeneration`, as a patch of what is there.
//!
//! | condition | says |
//! |---|---|
//! | `Accepted` | whether all of it is taken; a finding of severity error makes it `False`, with the finding's title as reason |
//! | `ResolvedRefs` | whether everything it names is there: Gateways, Secrets, destinations, delegates |
//! | `Conflicted` | only there while it is `True`: another object, mostly an older one, has what this one wants |
//! | `CertificatesReady` | only there where a Gateway asks cert-manager for certificates: whether all are issued |
//! | `Programmed` | whether every replica serves this generation |
//!
//! Conditions of other types belong to others and are kept as they are. A patch replaces lists as a whole, so it names the
//! version it was made from, and is made anew when that is not the newest any more.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use portcullis_api::Severity;
use serde_json::{Value, json};

use super::replicas::Served;
use crate::notice::Notice;

/// The conditions that are written here.
const OWN: [&str; 5] = ["Accepted", "ResolvedRefs", "Conflicted", "Programmed", CERTIFICATES_READY];
const CERTIFICATES_READY: &str = "CertificatesReady";
/// Codes of certificates that are not there.
pub(super) const CERTIFICATES: &[&str] = &["PCL1021", "PCL1022", "PCL1023", "PCL1024", "PCL1025"];
/// Codes of what names something that is not there, or may not be used.
const REFERENCES: &[&str] = &["IST0101", "IST0161", "IST0165", "IST0173", "IST0174", "PCL1009", "PCL1016"];
/// Codes of objects that want the same.
const CONFLICTS: &[&str] = &[
    "IST0109", "IST0145", "IST0177", "PCL1001", "PCL1003", "PCL1004", "PCL1005", "PCL1010", "PCL1041",
    "PCL1046", "PCL1047", "PCL1049",
];
/// Findings spelled out in a condition; the others are counted.
const SPELLED_OUT: usize = 3;
/// Longest message of a condition, in bytes.
const MAX_MESSAGE: usize = 1024;
/// Most validation messages.
const MAX_MESSAGES: usize = 16;
/// Where a code of Istio's is explained.
const ISTIO_PAGES: &str = "https://istio.io/latest/docs/reference/config/analysis/";
/// Where the other ones are.
const OWN_PAGE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/diagnostics.md");

/// Who serves this generation of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programmed {
    /// Every replica.
    All(usize),
    /// Not all of them.
    Some(Served),
    /// Nobody: this version of it cannot be used.
    Unusable,
}

/// What there is to say about an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) generation: i64,
    pub(crate) programmed: Programmed,
    /// The worst first.
    pub(crate) findings: &'a [&'a Notice],
    /// Whether a number of replicas that is out of date is worth a write.
    pub(crate) counts_matter: bool,
    pub(crate) certificates: Certificates,
}

/// Whether an object asks for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificates {
    /// It does not, or nobody writes them.
    NotAsked,
    /// It does, and the findings tell of those that are not there.
    Asked,
    /// It does, and how they stand is not known yet: what is said of them stays.
    NotKnown,
}

struct Condition {
    kind: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

/// What is to be written over `current`; nothing where that says it already.
pub(crate) fn patch(current: &Value, facts: Facts<'_>, now: SystemTime) -> Option<Value> {
    let wanted = conditions(facts);
    let held = list(current, "conditions");
    let messages = messages(facts.findings);
    let unknown = facts.certificates == Certificates::NotKnown;
    let is_own = |held: &Value| {
        OWN.iter().any(|own| held["type"] == *own) && !(unknown && held["type"] == CERTIFICATES_READY)
    };
    let up_to_date = held.iter().filter(|held| is_own(held)).count() == wanted.len()
        && wanted.iter().all(|wanted| held.iter().any(|held| says(held, wanted, facts)))
        && current["observedGeneration"] == facts.generation
        && list(current, "validationMessages") == messages;
    if up_to_date {
        return None;
    }
    let mut all: Vec<Value> = held.iter().filter(|held| !is_own(held)).cloned().collect();
    all.extend(wanted.iter().map(|wanted| written(wanted, held, facts.generation, now)));
    let messages = if messages.is_empty() { Value::Null } else { messages.into() };
    Some(json!({
        "conditions": all, "validationMessages": messages, "observedGeneration": facts.generation,
    }))
}

/// Takes back what was written, where the object does not concern this gateway any more; nothing where nothing was.
pub(crate) fn cleared(current: &Value) -> Option<Value> {
    let held = list(current, "conditions");
    // Only this gateway writes that one.
    if !held.iter().any(|held| held["type"] == "Programmed") {
        return None;
    }
    let others: Vec<&Value> =
        held.iter().filter(|held| !OWN.iter().any(|own| held["type"] == *own)).collect();
    let others = if others.is_empty() { Value::Null } else { json!(others) };
    Some(json!({"conditions": others, "validationMessages": null, "observedGeneration": null}))
}

/// Whether a status says that this generation was served by all.
pub(crate) fn is_programmed(current: &Value, generation: i64) -> bool {
    list(current, "conditions").iter().any(|held| {
        held["type"] == "Programmed" && held["status"] == "True" && held["observedGeneration"] == generation
    })
}

/// What a patch says, times left aside.
pub(crate) fn essence(patch: &Value) -> String {
    let mut patch = patch.clone();
    for condition in patch["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastTransitionTime");
        }
    }
    patch.to_string()
}

/// A finding in one sentence.
pub(crate) fn sentence(notice: &Notice) -> String {
    let Notice { field, message, remedy, .. } = notice;
    let place = if field.is_empty() { String::new() } else { format!("{field} ") };
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    cut(format!("{place}{message}{remedy}"))
}

fn conditions(facts: Facts<'_>) -> Vec<Condition> {
    let of = |codes: &[&str]| -> Vec<&Notice> {
        facts.findings.iter().filter(|found| codes.contains(&found.code)).copied().collect()
    };
    let (references, conflicts) = (of(REFERENCES), of(CONFLICTS));
    let errors = |found: &&&Notice| found.severity == Severity::Error && !REFERENCES.contains(&found.code);
    let refused: Vec<&Notice> = facts.findings.iter().filter(errors).copied().collect();
    let mut all = vec![accepted(&refused, facts.findings)];
    all.push(match references.first() {
        None => condition("ResolvedRefs", true, "ResolvedRefs", String::new()),
        Some(first) => condition("ResolvedRefs", false, first.title, told(&references)),
    });
    if let Some(first) = conflicts.first() {
        all.push(condition("Conflicted", true, first.title, told(&conflicts)));
    }
    if facts.certificates == Certificates::Asked {
        let missing = of(CERTIFICATES);
        all.push(match missing.first() {
            None => condition(CERTIFICATES_READY, true, "Ready", String::new()),
            Some(first) => condition(CERTIFICATES_READY, false, first.title, told(&missing)),
        });
    }
    all.push(programmed(facts));
    all
}

fn accepted(refused: &[&Notice], findings: &[&Notice]) -> Condition {
    if let Some(first) = refused.first() {
        return condition("Accepted", false, first.title, told(refused));
    }
    let elsewhere = |found: &&&Notice| {
        found.severity == Severity::Warning
            && !REFERENCES.contains(&found.code)
            && !CONFLICTS.contains(&found.code)
    };
    let warnings: Vec<&Notice> = findings.iter().filter(elsewhere).copied().collect();
    condition("Accepted", true, "Accepted", told(&warnings))
}

fn programmed(facts: Facts<'_>) -> Condition {
    let generation = facts.generation;
    match facts.programmed {
        Programmed::All(count) => {
            let message = format!("generation {generation} is served by {count} of {count} replicas");
            condition("Programmed", true, "Programmed", message)
        }
        Programmed::Some(Served { by, of }) => {
            let message = format!("generation {generation} is served by {by} of {of} replicas");
            condition("Programmed", false, "Pending", message)
        }
        Programmed::Unusable => {
            let message = format!(
                "generation {generation} cannot be used; what was served before, if anything, is served on"
            );
            condition("Programmed", false, "Invalid", message)
        }
    }
}

fn condition(kind: &'static str, holds: bool, reason: &str, message: String) -> Condition {
    Condition { kind, holds, reason: reason.to_owned(), message }
}

/// The first findings, and how many more there are.
fn told(found: &[&Notice]) -> String {
    let mut text = found.iter().take(SPELLED_OUT).map(|found| sentence(found)).collect::<Vec<_>>().join(". ");
    if let Some(more @ 1..) = found.len().checked_sub(SPELLED_OUT) {
        text = format!("{}. And {more} more", cut_to(text, MAX_MESSAGE - 32));
    }
    cut(text)
}

/// Whether a condition says what is wanted. A number of replicas alone is no news, where it does not matter: in a cluster
/// of thousands of routes each replica that comes or goes would mean as many writes.
fn says(held: &Value, wanted: &Condition, facts: Facts<'_>) -> bool {
    let counted = matches!(facts.programmed, Programmed::All(_)) && wanted.kind == "Programmed";
    held["type"] == wanted.kind
        && held["status"] == status(wanted.holds)
        && held["reason"] == wanted.reason.as_str()
        && held["observedGeneration"] == facts.generation
        && (held["message"] == wanted.message.as_str() || (counted && !facts.counts_matter))
}

fn written(wanted: &Condition, held: &[Value], generation: i64, now: SystemTime) -> Value {
    let before =
        held.iter().find(|held| held["type"] == wanted.kind && held["status"] == status(wanted.holds));
    let since = before.and_then(|before| before["lastTransitionTime"].as_str().map(str::to_owned));
    json!({
        "type": wanted.kind,
        "status": status(wanted.holds),
        "reason": wanted.reason,
        "message": wanted.message,
        "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or_else(|| seconds(now)),
    })
}

/// Errors and warnings, each code once. Istio's message has code, level and a page, and no text: that stands in the
/// conditions.
fn messages(findings: &[&Notice]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for found in findings.iter().filter(|found| found.severity != Severity::Info) {
        let page = match found.code.starts_with("IST") {
            true => format!("{ISTIO_PAGES}{}/", found.code.to_lowercase()),
            false => OWN_PAGE.to_owned(),
        };
        let level = if found.severity == Severity::Error { "ERROR" } else { "WARNING" };
        let message = json!({
            "type": {"name": found.title, "code": found.code}, "level": level, "documentationUrl": page,
        });
        if !all.contains(&message) && all.len() < MAX_MESSAGES {
            all.push(message);
        }
    }
    all
}

fn list<'v>(status: &'v Value, name: &str) -> &'v [Value] {
    status[name].as_array().map_or(&[], Vec::as_slice)
}

fn status(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

fn seconds(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}

fn cut(text: String) -> String {
    cut_to(text, MAX_MESSAGE)
}

fn cut_to(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = text.floor_char_boundary(most.saturating_sub(3));
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
