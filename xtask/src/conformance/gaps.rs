//! The list of known gaps: `case-name  # reason`, one a line; lines of `#` alone are headings.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Cases that are known to fail, each with its reason.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<String, String>);

/// What a case's outcome means beside the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Passes, and is not listed.
    Passed,
    /// Fails, as listed.
    KnownGap,
    /// Fails, and is not listed.
    Broken,
    /// Passes, and is still listed.
    Closed,
}

impl Gaps {
    /// Reads the list; a line without a reason and a name listed twice are refused.
    pub(super) fn parse(text: &str) -> Result<Gaps> {
        let mut gaps = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let (name, reason) = line.split_once('#').unwrap_or((line, ""));
            let (name, reason) = (name.trim(), reason.trim());
            if name.is_empty() {
                continue;
            }
            if reason.is_empty() {
                bail!("istio-gaps.txt:{}: {name} has no `# reason`", at + 1);
            }
            if gaps.insert(name.to_owned(), reason.to_owned()).is_some() {
                bail!("istio-gaps.txt:{}: {name} is listed twice", at + 1);
            }
        }
        Ok(Gaps(gaps))
    }

    /// Judges a case by whether it `held`.
    pub(super) fn verdict(&self, case: &str, held: bool) -> Verdict {
        match (held, self.0.contains_key(case)) {
            (true, false) => Verdict::Passed,
            (true, true) => Verdict::Closed,
            (false, true) => Verdict::KnownGap,
            (false, false) => Verdict::Broken,
        }
    }

    /// Every listed case.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_a_reason() {
        let gaps = Gaps::parse("# heading\n\na  # why\n").unwrap();
        assert_eq!(gaps.names().collect::<Vec<_>>(), ["a"]);
        assert!(Gaps::parse("a\n").is_err());
        assert!(Gaps::parse("a # x\na # y\n").is_err());
    }

    #[test]
    fn the_list_may_only_shrink() {
        let gaps = Gaps::parse("a # why").unwrap();
        assert_eq!(gaps.verdict("a", false), Verdict::KnownGap);
        assert_eq!(gaps.verdict("a", true), Verdict::Closed);
        assert_eq!(gaps.verdict("b", false), Verdict::Broken);
        assert_eq!(gaps.verdict("b", true), Verdict::Passed);
    }
}
