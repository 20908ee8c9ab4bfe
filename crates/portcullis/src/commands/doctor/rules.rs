//! The rights of the gateway's account, read from the rules that the chart gives it, so that there is one list.

/// What a rule grants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rule {
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) verbs: Vec<String>,
}

/// The rules for all namespaces, or for each that is looked into.
pub(super) fn everywhere() -> Vec<Rule> {
    parse(include_str!("../../../../../deploy/helm/portcullis/files/cluster-rules.yaml"))
}

/// The rules for the own namespace of a gateway with this name, which its Lease has in its own.
pub(super) fn own(gateway: &str) -> Vec<Rule> {
    let text = include_str!("../../../../../deploy/helm/portcullis/files/namespace-rules.yaml");
    parse(&text.replace("portcullis-status-istio-ingressgateway", &format!("portcullis-status-{gateway}")))
}

/// Reads rules as the project writes them: each key on a line of its own with a list in brackets.
fn parse(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if line.starts_with("- ") {
            rules.push(Rule::default());
        }
        let Some((key, list)) = line.trim_start_matches(['-', ' ']).split_once(": [") else { continue };
        let words = list.trim_end().trim_end_matches(']').split(',');
        let words = words.map(|word| word.trim().trim_matches(['\'', '"']).to_owned()).collect();
        let Some(rule) = rules.last_mut() else { continue };
        match key {
            "apiGroups" => rule.groups = words,
            "resources" => rule.resources = words,
            "resourceNames" => rule.names = words,
            "verbs" => rule.verbs = words,
            _ => {}
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_read() {
        for (rules, text) in [
            (everywhere(), include_str!("../../../../../deploy/helm/portcullis/files/cluster-rules.yaml")),
            (own("edge"), include_str!("../../../../../deploy/helm/portcullis/files/namespace-rules.yaml")),
        ] {
            assert_eq!(rules.len(), text.lines().filter(|line| line.starts_with('-')).count());
            for rule in &rules {
                assert!(
                    !rule.groups.is_empty() && !rule.resources.is_empty() && !rule.verbs.is_empty(),
                    "{rule:?}"
                );
            }
            let keys = text.lines().filter(|line| line.contains(':') && !line.trim_start().starts_with('#'));
            for key in keys {
                assert!(key.ends_with(']') && key.contains(": ["), "a list that is not in brackets: {key}");
            }
        }
    }

    #[test]
    fn the_lease_has_the_gateway_s_name() {
        let names: Vec<String> = own("edge").into_iter().flat_map(|rule| rule.names).collect();
        assert_eq!(names, ["portcullis-status-edge"]);
    }

    #[test]
    fn a_rule_has_its_lists() {
        let text = "# why\n- apiGroups: ['']\n  resources: [secrets, configmaps]\n  resourceNames: [istio]\n  verbs: [get]\n";
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let rule = Rule {
            groups: words(&[""]),
            resources: words(&["secrets", "configmaps"]),
            names: words(&["istio"]),
            verbs: words(&["get"]),
        };
        assert_eq!(parse(text), [rule]);
    }
}
