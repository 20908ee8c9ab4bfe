//! Sizes and forms: files, functions, openings, excuses.

use super::source::{Function, SourceFile};
use super::{Finding, Weight};

/// A file beyond this is worth a second look.
const LONG_FILE: usize = 500;
/// No file is longer.
const LONGEST_FILE: usize = 900;
/// A function from this length on is a long one.
const LONG_FUNCTION: usize = 30;
/// At most one in so many files, and one in so many functions, may be long.
const ONE_LONG_IN: usize = 10;
/// How many of the longest functions are shown when there are too many.
const SHOWN: usize = 10;

/// What one file shows.
pub(super) fn check_file(source: &SourceFile) -> Vec<Finding> {
    let at = |weight, line, rule, message, remedy| Finding {
        weight,
        file: source.path.clone(),
        line,
        rule,
        message,
        remedy,
    };
    let mut findings = Vec::new();
    if source.lines > LONGEST_FILE {
        let message = format!("{} lines, over {LONGEST_FILE}", source.lines);
        findings.push(at(Weight::Failure, 1, "file-size", message, SPLIT));
    } else if source.lines > LONG_FILE {
        let message = format!("{} lines, over {LONG_FILE}", source.lines);
        findings.push(at(Weight::Warning, 1, "file-size", message, SPLIT));
    }
    if !source.opens_with_doc {
        let message = "does not open with `//!`".to_owned();
        findings.push(at(Weight::Failure, 1, "opening", message, "say in a sentence what the file holds"));
    }
    if source.path.ends_with("/mod.rs") {
        let message = "is a mod.rs".to_owned();
        findings.push(at(
            Weight::Failure,
            1,
            "mod-rs",
            message,
            "name it `name.rs` beside the folder `name/`",
        ));
    }
    for &line in &source.unexplained {
        let message = "an excuse without a reason".to_owned();
        findings.push(at(
            Weight::Failure,
            line,
            "allow",
            message,
            "write `#[expect(lint, reason = \"…\")]`, or mend it",
        ));
    }
    findings
}

/// What all files show together.
pub(super) fn check_all(sources: &[SourceFile]) -> Vec<Finding> {
    let long = sources.iter().filter(|source| source.lines > LONG_FILE).count();
    let mut findings = Vec::new();
    if long * ONE_LONG_IN > sources.len() {
        findings.push(Finding {
            weight: Weight::Failure,
            file: ".".to_owned(),
            line: 1,
            rule: "file-size",
            message: format!("{long} of {} files are over {LONG_FILE} lines", sources.len()),
            remedy: "9 in 10 stay below: split the longest",
        });
    }
    findings.extend(long_functions(sources));
    findings
}

/// The longest functions, when more than one in ten is long.
fn long_functions(sources: &[SourceFile]) -> Vec<Finding> {
    let mut functions: Vec<(&SourceFile, &Function)> = sources
        .iter()
        .filter(|source| !source.test)
        .flat_map(|source| source.functions.iter().map(move |function| (source, function)))
        .collect();
    let long = functions.iter().filter(|(_, function)| function.length >= LONG_FUNCTION).count();
    println!("tidy: {long} of {} functions have {LONG_FUNCTION} lines or more", functions.len());
    if long * ONE_LONG_IN <= functions.len() {
        return Vec::new();
    }
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.length));
    functions
        .iter()
        .take(SHOWN)
        .map(|(source, function)| Finding {
            weight: Weight::Failure,
            file: source.path.clone(),
            line: function.line,
            rule: "function-size",
            message: format!("`{}` has {} lines", function.name, function.length),
            remedy: "9 in 10 stay below 30: give its parts names",
        })
        .collect()
}

const SPLIT: &str = "split it: `name.rs` + `name/`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::TextFile;

    fn source(path: &str, text: &str) -> SourceFile {
        SourceFile::read(&TextFile { path: path.to_owned(), text: text.to_owned() })
    }

    fn rules(path: &str, text: &str) -> Vec<(Weight, &'static str)> {
        check_file(&source(path, text)).into_iter().map(|finding| (finding.weight, finding.rule)).collect()
    }

    #[test]
    fn forms_are_checked() {
        let long = format!("//! A.\n{}", "\n".repeat(LONG_FILE));
        let longest = format!("//! A.\n{}", "\n".repeat(LONGEST_FILE));
        assert_eq!(rules("a.rs", "//! A.\n"), []);
        assert_eq!(rules("a.rs", "fn a() {}"), [(Weight::Failure, "opening")]);
        assert_eq!(rules("a/mod.rs", "//! A.\n"), [(Weight::Failure, "mod-rs")]);
        assert_eq!(rules("a.rs", &long), [(Weight::Warning, "file-size")]);
        assert_eq!(rules("a.rs", &longest), [(Weight::Failure, "file-size")]);
        assert_eq!(rules("a.rs", "//! A.\n#[allow(dead_code)]\nfn a() {}"), [(Weight::Failure, "allow")]);
    }

    #[test]
    fn one_in_ten_functions_may_be_long() {
        let short = "fn a() {}\n".repeat(9);
        let long = format!("fn b() {{\n{}}}\n", "\n".repeat(LONG_FUNCTION));
        assert!(long_functions(&[source("a.rs", &format!("{short}{long}"))]).is_empty());
        assert!(!long_functions(&[source("a.rs", &format!("{short}{long}{long}"))]).is_empty());
    }
}
