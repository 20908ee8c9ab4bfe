//! The outcome of route tests as the XML that CI servers read: a suite a file.

use std::fmt::Write as _;

use super::{Tried, report};
use crate::output::Style;

/// The whole document.
pub(super) fn report(tried: &[Tried<'_>]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<testsuites {}>", counts(tried));
    for suite in tried.chunk_by(|one, other| one.test.source == other.test.source) {
        let Some(first) = suite.first() else { continue };
        let _ = writeln!(out, "  <testsuite name=\"{}\" {}>", escaped(&first.test.source), counts(suite));
        suite.iter().for_each(|case| test_case(&mut out, case));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn counts(tried: &[Tried<'_>]) -> String {
    let failures = tried.iter().filter(|case| !case.passed()).count();
    format!("tests=\"{}\" failures=\"{failures}\"", tried.len())
}

fn test_case(out: &mut String, case: &Tried<'_>) {
    let class = if case.test.name.is_empty() { &*case.test.source } else { &case.test.name };
    let (name, class, file) = (escaped(case.name()), escaped(class), escaped(&case.test.source));
    let line = case.line;
    let head = format!("    <testcase name=\"{name}\" classname=\"{class}\" file=\"{file}\" line=\"{line}\"");
    if case.passed() {
        let _ = writeln!(out, "{head}/>");
        return;
    }
    let differences = report::differences(case);
    let message = escaped(differences.trim_end());
    let text = escaped(&format!("{differences}{}", case.decision.shown(Style::Plain)));
    let _ = writeln!(out, "{head}>\n      <failure message=\"{message}\">{text}</failure>\n    </testcase>");
}

/// Text as XML 1.0 may hold it, in an attribute, too; what it cannot hold becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            control if control.is_control() => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_escaped() {
        assert_eq!(escaped("a<b>&\"c\"\n\u{1}é"), "a&lt;b&gt;&amp;&quot;c&quot;&#10;?é");
    }
}
