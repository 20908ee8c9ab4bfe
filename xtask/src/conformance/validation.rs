//! Verdicts recorded from Istio's API server schema and validating webhook, put to `portcullis check`.
//!
//! They stand in `validation/*.yaml`, one object a case; here a case is called `validation/<file>/<name>`, as in the
//! list of known gaps.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Case, cases_root, gateway_binary, jobs, reports};
use crate::process::step;
use crate::setup;

/// How the runner asks for a verdict: `{binary}` is ours to fill in, `{config}` the runner's.
const VALIDATOR: &str = "{binary} check {config}";

/// What the names of these cases begin with.
const AREA: &str = "validation/";

/// Puts those of `names` that are verdicts to the built binary.
pub(super) fn replay(names: &[String], side_by_side: Option<usize>) -> Result<Vec<Case>> {
    let names: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(AREA)).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    step(&format!("{} recorded verdicts", names.len()));
    let report = reports()?.join("validation.json");
    if report.exists() {
        fs::remove_file(&report).context("removing the last report")?;
    }
    let escaped: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
    let validator = VALIDATOR.replace("{binary}", &gateway_binary()?.to_string_lossy());
    let mut runner = Command::new(setup::python()?);
    runner.arg("-B").arg(cases_root().join("runner.py"));
    runner.args(["--validator", &validator, "--filter", &format!("^({})$", escaped.join("|"))]);
    runner.args(["--jobs", &jobs(side_by_side)]).arg("--json").arg(&report);
    // Every verdict goes to its output, and the status says whether all are as recorded; the report has both.
    runner.output().context("starting the runner")?;
    let text = fs::read_to_string(&report).context("the runner left no report of the verdicts")?;
    read(&text)
}

/// Whether a case is a verdict.
pub(super) fn is_one(case: &str) -> bool {
    case.starts_with(AREA)
}

/// Every recorded verdict's name, as in the list of known gaps.
pub(super) fn names() -> Result<Vec<String>> {
    let folder = cases_root().join("validation");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.context("reading the verdicts")?.path();
        let Some(stem) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        names.extend(case_names(&text).map(|name| format!("{AREA}{stem}/{name}")));
    }
    names.sort();
    Ok(names)
}

/// The names of a file's cases. The recorder writes each at the beginning of a line of its own.
fn case_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("- name: ")).map(|name| name.trim_matches(['\'', '"']))
}

fn read(report: &str) -> Result<Vec<Case>> {
    let report: Report = serde_json::from_str(report).context("reading the report of the verdicts")?;
    let case = |verdict: Verdict| {
        let Verdict { case, expect, got, pass } = verdict;
        Case {
            case: format!("{AREA}{case}"),
            error: (!pass).then(|| format!("recorded {expect}, ours {got}")),
            passed: u64::from(pass),
            total: 1,
            needless: false,
        }
    };
    Ok(report.validation.into_iter().map(case).collect())
}

#[derive(Deserialize)]
struct Report {
    validation: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    case: String,
    expect: String,
    got: String,
    pass: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_the_runner_reports() {
        let text = "# heading\ncases:\n- name: http\n  expect: valid\n  config: |\n    - name: not-one\n- name: 'on'\n";
        assert_eq!(case_names(text).collect::<Vec<_>>(), ["http", "on"]);
        let names = names().unwrap();
        assert!(names.iter().any(|name| name == "validation/gateway/http"), "{names:?}");
    }

    #[test]
    fn a_verdict_is_a_case_of_its_own() {
        let report = r#"{"validation": [
            {"case": "gateway/http", "expect": "valid", "got": "valid", "pass": true},
            {"case": "gateway/port-zero", "expect": "invalid", "got": "valid", "pass": false}], "score": [1, 2]}"#;
        let cases = read(report).unwrap();
        assert!(cases[0].held() && !cases[1].held());
        assert_eq!(cases[1].case, "validation/gateway/port-zero");
        assert_eq!(cases[1].error.as_deref(), Some("recorded invalid, ours valid"));
    }
}
