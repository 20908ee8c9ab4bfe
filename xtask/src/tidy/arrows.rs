//! Which crate may depend on which: only downwards, and only where drawn.
//!
//! ```text
//! 3  wiring    portcullis ──► everything below
//! 2  hands     control ──► api compile snapshot telemetry     dataplane ──► snapshot traffic telemetry
//! 1  thought   compile ──► api snapshot      traffic ──► snapshot      telemetry ──► snapshot
//! 0  words     api                           snapshot
//! ```

use std::fs;

use super::{Finding, Weight};
use crate::workspace::{Package, Workspace, root};

/// Every arrow between two crates of the workspace that is not drawn.
pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let names: Vec<&str> = workspace.members().map(|package| package.name.as_str()).collect();
    workspace.members().flat_map(|package| check_package(package, &names)).collect()
}

fn check_package(package: &Package, names: &[&str]) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        return vec![finding(package, 1, format!("{} has no layer", package.name), PLACE)];
    };
    let ours = package.dependencies.iter().filter(|dependency| names.contains(&dependency.name.as_str()));
    let wrong = ours.filter(|dependency| !allowed.contains(&dependency.name.as_str()));
    wrong
        .map(|dependency| {
            let line = line_of(package, &dependency.name);
            let message = format!("{} must not depend on {}", package.name, dependency.name);
            finding(package, line, message, MOVE)
        })
        .collect()
}

fn finding(package: &Package, line: usize, message: String, remedy: &'static str) -> Finding {
    let file = package.manifest_path.strip_prefix(root()).unwrap_or(&package.manifest_path);
    let file = file.display().to_string();
    Finding { weight: Weight::Failure, file, line, rule: "arrow", message, remedy }
}

/// The manifest's line that names `dependency`, or 1.
pub(super) fn line_of(package: &Package, dependency: &str) -> usize {
    let text = fs::read_to_string(&package.manifest_path).unwrap_or_default();
    text.lines().position(|line| line.starts_with(dependency)).map_or(1, |at| at + 1)
}

const MOVE: &str = "move the shared type down a layer, or pass what is needed as an argument";
const PLACE: &str = "draw its arrows in xtask/src/tidy/arrows.rs";

const ARROWS: &[(&str, &[&str])] = &[
    ("portcullis-api", &[]),
    ("portcullis-snapshot", &[]),
    ("portcullis-compile", &["portcullis-api", "portcullis-snapshot"]),
    ("portcullis-traffic", &["portcullis-snapshot"]),
    ("portcullis-telemetry", &["portcullis-snapshot"]),
    (
        "portcullis-control",
        &["portcullis-api", "portcullis-compile", "portcullis-snapshot", "portcullis-telemetry"],
    ),
    ("portcullis-dataplane", &["portcullis-snapshot", "portcullis-traffic", "portcullis-telemetry"]),
    ("portcullis", LIBRARIES),
    ("portcullis-tests", LIBRARIES),
    ("portcullis-bench-forwarder", &[]),
    // It measures built programs from outside, with the tests' certificates and ports.
    ("portcullis-bench-load", &["portcullis-tests"]),
    ("portcullis-bench-micro", LIBRARIES),
    ("portcullis-bench-scale", &["portcullis-bench-load", "portcullis-tests"]),
    // A bench that is a test, too: it stands on the tests' authorities, ports and PostgreSQL.
    ("portcullis-bench-swap", BENCH_SWAP),
    ("xtask", &[]),
];

const BENCH_SWAP: &[&str] = &[
    "portcullis-api",
    "portcullis-compile",
    "portcullis-dataplane",
    "portcullis-snapshot",
    "portcullis-telemetry",
    "portcullis-tests",
    "portcullis-traffic",
];

const LIBRARIES: &[&str] = &[
    "portcullis-api",
    "portcullis-compile",
    "portcullis-control",
    "portcullis-dataplane",
    "portcullis-snapshot",
    "portcullis-telemetry",
    "portcullis-traffic",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, wishes: &[&str]) -> Package {
        let wish = |name: &&str| Dependency {
            name: (*name).to_owned(),
            req: "*".to_owned(),
            kind: None,
            source: None,
        };
        Package {
            id: String::new(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            manifest_path: root().join("crates/none/Cargo.toml"),
            dependencies: wishes.iter().map(wish).collect(),
        }
    }

    #[test]
    fn only_drawn_arrows_pass() {
        let names: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
        let cases: [(&str, &[&str], usize); 6] = [
            ("portcullis-compile", &["portcullis-api", "serde"], 0),
            ("portcullis-compile", &["portcullis-traffic"], 1),
            ("portcullis-snapshot", &["portcullis-api"], 1),
            ("portcullis-dataplane", &["portcullis-compile", "portcullis-control"], 2),
            ("portcullis", LIBRARIES, 0),
            ("portcullis-new", &[], 1),
        ];
        for (name, wishes, expected) in cases {
            let found = check_package(&package(name, wishes), &names);
            assert_eq!(found.len(), expected, "{name} -> {wishes:?}: {found:?}");
        }
    }
}
