//! Dependencies: licences, one TLS stack, sources, smallest safe versions, no doubles.
//!
//! The policy is the tables of [`policy`]; every exception there carries its reason. No advisory database is
//! asked, so that the check gives the same answer everywhere: the smallest safe versions stand in for it.

mod policy;
mod spdx;
mod version;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::{Package, Workspace};
use policy::Policy;
use version::Version;

/// Checks every package that a build of the workspace uses.
pub(crate) fn deps() -> Result<()> {
    let workspace = Workspace::load()?;
    let findings = check(&workspace.packages, &policy::POLICY);
    for finding in &findings {
        println!("{finding}");
    }
    println!("deps: {} packages, {} findings", workspace.packages.len(), findings.len());
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    package: String,
    rule: &'static str,
    detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.package, self.rule, self.detail)
    }
}

fn check(packages: &[Package], policy: &Policy) -> Vec<Finding> {
    let mut findings: Vec<Finding> = packages.iter().flat_map(|package| check_one(package, policy)).collect();
    findings.extend(doubles(packages, policy));
    findings
}

fn check_one(package: &Package, policy: &Policy) -> Vec<Finding> {
    let checks = [
        ("licence", licence(package, policy)),
        ("banned", banned(package, policy)),
        ("source", source(package)),
        ("wildcard", wildcard(package)),
        ("minimum", minimum(package, policy)),
    ];
    let name = format!("{} {}", package.name, package.version);
    let found = checks.into_iter().filter_map(|(rule, detail)| Some((rule, detail?)));
    found.map(|(rule, detail)| Finding { package: name.clone(), rule, detail }).collect()
}

fn licence(package: &Package, policy: &Policy) -> Option<String> {
    let Some(expression) = &package.license else {
        return Some("names no licence; take another crate".to_owned());
    };
    match spdx::allows(expression, |licence| policy.licences.contains(&licence)) {
        Some(true) => None,
        Some(false) => Some(format!("`{expression}` is not among the allowed licences; take another crate")),
        None => Some(format!("`{expression}` is not an SPDX expression")),
    }
}

fn banned(package: &Package, policy: &Policy) -> Option<String> {
    let (_, why) = policy.banned.iter().find(|(name, _)| *name == package.name)?;
    Some(format!("{why}; `cargo tree --invert {}` shows who wants it", package.name))
}

/// Only the registry's own index: what is fetched elsewhere can change or vanish.
fn source(package: &Package) -> Option<String> {
    let source = package.source.as_deref()?;
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    (source != registry).then(|| format!("comes from {source}; only the crates.io registry is allowed"))
}

fn wildcard(package: &Package) -> Option<String> {
    if package.source.is_some() {
        return None;
    }
    let open = package
        .dependencies
        .iter()
        .find(|dependency| dependency.req == "*" && dependency.source.is_some())?;
    Some(format!("asks for any version of {}; name one", open.name))
}

fn minimum(package: &Package, policy: &Policy) -> Option<String> {
    let (_, least, why) = policy.minimums.iter().find(|(name, ..)| *name == package.name)?;
    let (found, least) = (Version::parse(&package.version)?, Version::parse(least)?);
    (found < least).then(|| format!("older than {least}: {why}; `cargo update {}`", package.name))
}

/// Two versions of one crate are compiled twice, and their types do not meet.
fn doubles(packages: &[Package], policy: &Policy) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let excused = |name: &str| policy.doubles.iter().any(|(excused, _)| *excused == name);
    let mut findings: Vec<Finding> = versions
        .iter()
        .filter(|(name, _)| !excused(name))
        .map(|(name, versions)| Finding {
            package: (*name).to_owned(),
            rule: "double",
            detail: format!(
                "stands {} times in the graph ({}); bring them together or excuse it with a reason",
                versions.len(),
                versions.join(", ")
            ),
        })
        .collect();
    let stale = policy.doubles.iter().filter(|(name, _)| !versions.contains_key(name));
    findings.extend(stale.map(|(name, _)| Finding {
        package: (*name).to_owned(),
        rule: "double",
        detail: "is excused but stands only once; remove the excuse".to_owned(),
    }));
    findings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::Dependency;

    const POLICY: Policy = Policy {
        licences: &["MIT"],
        banned: &[("openssl", "a second TLS stack")],
        minimums: &[("h2", "0.4.16", "floods")],
        doubles: &[],
    };

    fn package(name: &str, version: &str) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some("MIT OR Apache-2.0".to_owned()),
            source: Some("registry+https://github.com/rust-lang/crates.io-index".to_owned()),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
        }
    }

    fn rules(packages: &[Package]) -> Vec<&'static str> {
        check(packages, &POLICY).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_good_package_passes() {
        assert_eq!(rules(&[package("h2", "0.4.16"), package("hyper", "1.0.0")]), [""; 0]);
    }

    #[test]
    fn each_rule_finds_its_case() {
        assert_eq!(rules(&[package("openssl", "0.10.0")]), ["banned"]);
        assert_eq!(rules(&[package("h2", "0.4.15")]), ["minimum"]);
        assert_eq!(rules(&[package("a", "1.0.0"), package("a", "2.0.0")]), ["double"]);
        let copyleft = Package { license: Some("GPL-3.0".to_owned()), ..package("a", "1.0.0") };
        assert_eq!(rules(&[copyleft]), ["licence"]);
        let git = Package { source: Some("git+https://a.test/b".to_owned()), ..package("a", "1.0.0") };
        assert_eq!(rules(&[git]), ["source"]);
    }

    #[test]
    fn an_open_version_in_our_own_manifest_is_found() {
        let wish = Dependency {
            name: "serde".to_owned(),
            req: "*".to_owned(),
            kind: None,
            source: Some("registry".to_owned()),
        };
        let ours = Package { source: None, dependencies: vec![wish], ..package("ours", "0.1.0") };
        assert_eq!(rules(&[ours]), ["wildcard"]);
    }

    #[test]
    fn an_excuse_without_a_double_is_stale() {
        let policy = Policy { doubles: &[("a", "why")], ..POLICY };
        let found = check(&[package("a", "1.0.0")], &policy);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
