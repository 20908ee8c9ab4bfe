//! Every rule of the webhook with a snippet that breaks it, and neighbours that do not, one file a kind.
//!
//! A row is a snippet of YAML and the fields that are objected to: `!field` is refused, `?field` is warned about. Only
//! the webhook's rules are asked here; what the API server's schema refuses before them is tested beside the loader.

mod destination_rule;
mod gateway;
mod http_match;
mod http_policy;
mod metadata;
mod service_entry;
mod unreachable;
mod virtual_service;

use portcullis_api::{Severity, load};

use super::admission;

/// What is said of the one object of `text`.
fn verdict(text: &str) -> String {
    let loaded = load("test.yaml", text);
    if loaded.objects.len() != 1 {
        return format!("unreadable: {:?}", loaded.findings);
    }
    let mut fields: Vec<String> = admission(&loaded.objects.into_iter().collect())
        .into_iter()
        .map(|found| {
            assert!(!found.message.is_empty() && !found.remedy.is_empty(), "{found}");
            let mark = if found.severity == Severity::Error { '!' } else { '?' };
            format!("{mark}{}", found.field)
        })
        .collect();
    fields.sort();
    fields.dedup();
    fields.join(" ")
}

/// Compares each row's verdict; every row that differs is told.
fn compare<'a>(rows: impl IntoIterator<Item = (&'a str, String, &'a str)>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(snippet, text, expected)| {
            let got = verdict(&text);
            (got != expected).then(|| format!("{snippet}\n  expected: {expected}\n  got:      {got}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Marks whose fields stand below `place`; one without a field is `place` itself.
fn below(place: &str, marks: &str) -> String {
    let whole = |mark: &str| {
        let (sign, field) = mark.split_at(1);
        let dot = if field.is_empty() { "" } else { "." };
        format!("{sign}{place}{dot}{field}")
    };
    marks.split_whitespace().map(whole).collect::<Vec<_>>().join(" ")
}

/// An object in namespace `default` whose `spec` is written in flow style.
fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: one, namespace: default}}\nspec: {spec}\n"
    )
}
