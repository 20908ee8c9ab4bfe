//! Words that have no place in a finished project: work left open, and paths of one machine.

use std::sync::LazyLock;

use regex::Regex;

use super::{Finding, TextFile, Weight};

/// Every such word of one file, line by line.
pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        if let Some(found) = LEFT_OPEN.find(line) {
            let message = format!("`{}` leaves work open", found.as_str());
            findings.push(finding(file, at + 1, "left-open", message, "finish it, or file an issue"));
        }
        if let Some(found) = LOCAL_PATH.captures(line).and_then(|found| found.get(1)) {
            let message = format!("`{}` is a path of one machine", found.as_str());
            findings.push(finding(
                file,
                at + 1,
                "local-path",
                message,
                "name it from the root of the project",
            ));
        }
    }
    findings
}

fn finding(
    file: &TextFile,
    line: usize,
    rule: &'static str,
    message: String,
    remedy: &'static str,
) -> Finding {
    Finding { weight: Weight::Failure, file: file.path.clone(), line, rule, message, remedy }
}

// The words are put together from parts, or this file would be its own first finding.
static LEFT_OPEN: LazyLock<Regex> = LazyLock::new(|| {
    let words =
        concat!(r"\b(?:TO", r"DO|FIX", r"ME|X", r"XX)\b|\b(?:to", r"do|unimpl", r"emented)!\s*[(\[{]");
    Regex::new(words).expect("the pattern is a constant that the tests below use")
});

static LOCAL_PATH: LazyLock<Regex> = LazyLock::new(|| {
    let folders =
        concat!(r#"(?:^|[\s"'`(=:,])(/(?:wo"#, r"rk|ro", r"ot|fa", r"rm|Us", r"ers|ho", r"me)/\w+)");
    Regex::new(folders).expect("the pattern is a constant that the tests below use")
});

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        let file = TextFile { path: "a".to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn open_work_is_found() {
        assert_eq!(rules(concat!("// TO", "DO: later")), ["left-open"]);
        assert_eq!(rules(concat!("to", "do!()")), ["left-open"]);
        assert_eq!(rules(concat!("unimpl", "emented!(\"x\")")), ["left-open"]);
        assert_eq!(rules("a method, todos, mastodon"), [""; 0]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(rules(concat!("see /ro", "ot/x")), ["local-path"]);
        assert_eq!(rules(concat!("\"/ho", "me/me/x\"")), ["local-path"]);
        assert_eq!(rules("https://a.test/work/x and path/root/x"), [""; 0]);
        assert_eq!(rules("$HOME/.cache and /etc/portcullis"), [""; 0]);
    }
}
