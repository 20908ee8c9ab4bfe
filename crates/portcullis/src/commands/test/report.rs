//! The outcome of route tests for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use portcullis_control::Notice;
use serde_json::{Value, json};

use super::Tried;
use crate::output::{self, Style};

/// Prints a line a case, and under those that fail what is different and the way the request took.
pub(super) fn human(
    out: &mut impl Write,
    tried: &[Tried<'_>],
    hints: &[Notice],
    style: Style,
) -> io::Result<()> {
    let mut file = None;
    for case in tried {
        if file != Some(&case.test.source) {
            file = Some(&case.test.source);
            writeln!(out, "{}", style.bold(&case.test.source))?;
        }
        if case.passed() {
            writeln!(out, "  {}    {}", style.green("ok"), case.name())?;
            continue;
        }
        writeln!(out, "  {}  {} (line {})", style.red("FAIL"), case.name(), case.line)?;
        write!(out, "{}", indented(&differences(case), 8))?;
        write!(out, "{}", indented(&case.decision.shown(style).to_string(), 8))?;
    }
    if !hints.is_empty() {
        writeln!(out, "\n{}\n", style.bold("Findings in this configuration that may be the reason:"))?;
        output::notices(out, hints, style)?;
    }
    writeln!(out, "{}", summary(tried, style))
}

/// What is different, one line each.
pub(super) fn differences(case: &Tried<'_>) -> String {
    let mut text = String::new();
    for miss in &case.misses {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: expected {}, got {}", miss.field, miss.expected, miss.got);
    }
    text
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

fn summary(tried: &[Tried<'_>], style: Style) -> String {
    let failed = tried.iter().filter(|case| !case.passed()).count();
    let passed = tried.len() - failed;
    match failed {
        0 => format!("{}: {passed} passed", style.green("ok")),
        _ => format!("{}: {failed} failed, {passed} passed", style.red("failed")),
    }
}

/// Keys are stable.
pub(super) fn json(tried: &[Tried<'_>]) -> serde_json::Result<Value> {
    let mut cases = Vec::new();
    for case in tried {
        let differences: Vec<Value> = case
            .misses
            .iter()
            .map(|miss| json!({"field": miss.field, "expected": miss.expected, "got": miss.got}))
            .collect();
        cases.push(json!({
            "file": case.test.source,
            "line": case.line,
            "test": case.test.name,
            "name": case.name(),
            "request": case.case.request,
            "passed": case.passed(),
            "differences": differences,
            "decision": serde_json::to_value(&case.decision)?,
        }));
    }
    let passed = tried.iter().filter(|case| case.passed()).count();
    Ok(json!({"passed": passed, "failed": tried.len() - passed, "cases": cases}))
}
