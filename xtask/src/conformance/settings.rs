//! The list of settings that single cases need: `case-name  VARIABLE=value …  # reason`, one a line; lines of `#`
//! alone are headings.
//!
//! What was recorded is Istio's gateway with its defaults; where ours are deliberately others, a case is played with
//! the setting that brings Istio's. It is played without it too: a setting that makes no difference is refused.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Variables of the gateway's environment, by case.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, Variables>);

/// Names and values.
pub(super) type Variables = Vec<(String, String)>;

impl Settings {
    /// Reads the list; a line without a reason or without a setting and a name listed twice are refused.
    pub(super) fn parse(text: &str) -> Result<Settings> {
        let mut settings = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let (words, reason) = line.split_once('#').unwrap_or((line, ""));
            let mut words = words.split_whitespace();
            let Some(name) = words.next() else { continue };
            let variables = words.map(variable).collect::<Option<Variables>>().filter(|all| !all.is_empty());
            let Some(variables) = variables else {
                bail!("istio-settings.txt:{}: {name} needs settings such as PORTCULLIS_LOG=debug", at + 1);
            };
            if reason.trim().is_empty() {
                bail!("istio-settings.txt:{}: {name} has no `# reason`", at + 1);
            }
            if settings.insert(name.to_owned(), variables).is_some() {
                bail!("istio-settings.txt:{}: {name} is listed twice", at + 1);
            }
        }
        Ok(Settings(settings))
    }

    /// The cases among `names` that need settings, those with the same ones together.
    pub(super) fn groups<'a>(&'a self, names: &[String]) -> BTreeMap<&'a Variables, Vec<&'a str>> {
        let mut groups: BTreeMap<&Variables, Vec<&str>> = BTreeMap::new();
        for (name, variables) in self.0.iter().filter(|(name, _)| names.contains(name)) {
            groups.entry(variables).or_default().push(name);
        }
        groups
    }

    /// Every listed case.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn variable(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=').filter(|(name, _)| name.starts_with("PORTCULLIS_"))?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_its_settings_and_a_reason() {
        let list = "# heading\n\na  PORTCULLIS_X=1 PORTCULLIS_Y=2  # why\nb PORTCULLIS_X=1 # why\nc PORTCULLIS_X=1 # why\n";
        let settings = Settings::parse(list).unwrap();
        assert_eq!(settings.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        let groups = settings.groups(&["b".to_owned(), "c".to_owned(), "d".to_owned()]);
        assert_eq!(groups.into_values().collect::<Vec<_>>(), [["b", "c"]]);
        for wrong in [
            "a PORTCULLIS_X=1\n",
            "a # why\n",
            "a PATH=/ # why\n",
            "a PORTCULLIS_X # why\n",
            "a PORTCULLIS_X=1 # x\na PORTCULLIS_X=1 # y\n",
        ] {
            assert!(Settings::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
