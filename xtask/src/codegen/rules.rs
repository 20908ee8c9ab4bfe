//! The rules of the gateway's account, for the chart: those of `deploy/kubernetes/rbac.yaml`, so that there is one list.
//!
//! Text goes over as it is, comments and all, so that nothing has to understand YAML here; a test compares what the API
//! server would make of both.

use anyhow::{Context, Result, ensure};

/// The rules of every `kind` in `manifest`, as a list of YAML.
pub(super) fn rules(manifest: &str, kind: &str) -> Result<String> {
    let line = format!("kind: {kind}");
    let of_kind = manifest.split("\n---\n").filter(|document| document.lines().any(|it| it == line));
    let mut list = String::new();
    for document in of_kind {
        let (_, rules) =
            document.split_once("\nrules:\n").with_context(|| format!("a {kind} has no rules"))?;
        let is_list = |line: &str| line.is_empty() || line.starts_with(['-', ' ', '#']);
        ensure!(
            rules.lines().all(is_list),
            "the rules of a {kind} must be the last key, its list not indented"
        );
        list.push_str(rules.trim_end());
        list.push('\n');
    }
    ensure!(!list.is_empty(), "there is no {kind}");
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_kind_are_gathered() {
        let manifest = "kind: Role\nrules:\n- a: 1\n  b: 2\n---\n# why\nkind: ClusterRole\nmetadata: {}\nrules:\n# c\n- c: 3\n---\nkind: Role\nrules:\n- d: 4\n";
        assert_eq!(rules(manifest, "Role").unwrap(), "- a: 1\n  b: 2\n- d: 4\n");
        assert_eq!(rules(manifest, "ClusterRole").unwrap(), "# c\n- c: 3\n");
        assert!(rules(manifest, "RoleBinding").is_err());
        assert!(rules("kind: Role\nrules:\n- a: 1\nmetadata: {}\n", "Role").is_err());
    }
}
