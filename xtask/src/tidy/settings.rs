//! The settings file explains itself: a comment stands above each key.

use super::{Finding, TextFile, Weight};

/// Every key of `config/portcullis.toml` without a comment directly above it.
pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    if file.path != SETTINGS {
        return Vec::new();
    }
    undocumented(&file.text)
        .into_iter()
        .map(|(line, key)| Finding {
            weight: Weight::Failure,
            file: file.path.clone(),
            line,
            rule: "settings",
            message: format!("`{key}` is not explained"),
            remedy: "write above it what it does, its default and the reason",
        })
        .collect()
}

/// Keys, written out or commented out as a default, whose line above is no prose.
fn undocumented(text: &str) -> Vec<(usize, &str)> {
    let mut explained = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match key(line) {
            Some(key) if !explained => found.push((at + 1, key)),
            Some(_) => {}
            None => explained = line.starts_with('#'),
        }
        explained &= key(line).is_none();
    }
    found
}

/// The key of `key = value` or `# key = value`.
fn key(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line).trim_start();
    let (key, _) = line.split_once(" = ")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.\"".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

const SETTINGS: &str = "config/portcullis.toml";

#[cfg(test)]
mod tests {
    use super::undocumented;

    #[test]
    fn each_key_needs_a_comment() {
        let text =
            "# How many.\nworkers = 4\nport = 80\n\n# Where.\n#addr = \"a\"\n\n[log]\nlevel = \"info\"\n";
        assert_eq!(undocumented(text), [(3, "port"), (9, "level")]);
    }
}
