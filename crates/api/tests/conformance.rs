//! The recorded conformance corpus, as far as it says what can be read: every configuration of a case must load, and
//! the verdicts of the API server's schema must be ours.

use std::fs;
use std::path::PathBuf;

use portcullis_api::{Code, Finding, Severity, load};

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/istio")
}

#[test]
fn every_case_loads() {
    let mut cases = 0;
    for entry in fs::read_dir(corpus().join("cases")).expect("the corpus has cases") {
        let path = entry.expect("a folder of the corpus can be listed").path().join("config.yaml");
        let text = fs::read_to_string(&path).expect("a case has a configuration");
        let loaded = load(&path.to_string_lossy(), &text);
        let unexpected: Vec<_> =
            loaded.findings.iter().filter(|finding| finding.severity != Severity::Info).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
        assert!(!loaded.objects.is_empty(), "{}", path.display());
        cases += 1;
    }
    assert!(cases > 90, "only {cases} cases were found");
}

/// One recorded verdict.
#[derive(Default)]
struct Verdict {
    name: String,
    expect: String,
    schema_message: String,
    config: String,
}

#[test]
fn verdicts_of_the_schema_are_ours() {
    let mut judged = 0;
    for kind in ["gateway", "virtualservice", "destinationrule", "serviceentry"] {
        let path = corpus().join("validation").join(format!("{kind}.yaml"));
        for verdict in verdicts(&fs::read_to_string(&path).expect("the corpus has verdicts")) {
            let findings = load(&verdict.name, &verdict.config).findings;
            match expected_finding(&verdict.schema_message) {
                Some((code, field)) => {
                    let found = findings.iter().any(|finding| finding.code == code && finding.field == field);
                    assert!(found, "{kind} {}: no {code} at {field}: {findings:#?}", verdict.name);
                    judged += 1;
                }
                None if verdict.expect != "invalid" => assert_eq!(findings, [], "{kind} {}", verdict.name),
                None => assert!(only_bounds(&findings), "{kind} {}: {findings:#?}", verdict.name),
            }
        }
    }
    assert!(judged > 20, "only {judged} verdicts of the schema were found");
}

/// What the loader must find for a message of the schema.
fn expected_finding(message: &str) -> Option<(Code, String)> {
    if let Some(field) = message.strip_prefix("unknown fields [") {
        return Some((Code::UnknownField, field.trim_end_matches([']', '\'']).to_owned()));
    }
    let message = message.trim_matches('\'');
    if message.contains("must validate one and only one schema (oneOf)") {
        return Some((Code::InvalidValue, message.split('"').nth(3)?.to_owned()));
    }
    let (field, complaint) = message.split_once(": ")?;
    if complaint.starts_with("Duplicate value") {
        return Some((Code::InvalidValue, field.rsplit_once('[')?.0.to_owned()));
    }
    let code = match complaint {
        "Required value" => Code::MissingField,
        _ if complaint.starts_with("Unsupported value") => Code::WrongType,
        _ if complaint.contains("must be of type") => Code::WrongType,
        _ if complaint.contains("type conversion error from ''string'' to ''google.protobuf.Duration''") => {
            Code::WrongType
        }
        _ => Code::InvalidValue,
    };
    // Istio's messages put the key of a map in brackets, ours do so only where a dot would mislead.
    Some((code, field.replace("ports[http]", "ports.http")))
}

/// Where the schema had no complaint, ours may only be about a number that Istio refuses a step later.
fn only_bounds(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.code == Code::WrongType)
}

/// The verdicts of a file, which is always laid out in one way: an item for each, its fields indented by two, the
/// configuration last and indented by four.
fn verdicts(text: &str) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut in_config = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("- name: ") {
            verdicts.push(Verdict { name: name.to_owned(), ..Verdict::default() });
            in_config = false;
        }
        let Some(verdict) = verdicts.last_mut() else { continue };
        if in_config {
            verdict.config.push_str(line.strip_prefix("    ").unwrap_or(line));
            verdict.config.push('\n');
        } else if let Some(expect) = line.strip_prefix("  expect: ") {
            verdict.expect = expect.to_owned();
        } else if let Some(message) = line.strip_prefix("  schema_message: ") {
            verdict.schema_message = message.to_owned();
        }
        in_config |= line.starts_with("  config: |");
    }
    verdicts
}
