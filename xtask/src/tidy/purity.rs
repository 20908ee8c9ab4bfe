//! The crates of layers 0 and 1 think; they do not touch the world.
//!
//! Time and luck come to them as arguments, so that any run can be replayed.

use super::source::SourceFile;
use super::{Finding, Weight, arrows};
use crate::workspace::{Dependency, Package, Workspace, root};

/// Dependencies of pure crates that do I/O, keep time or throw dice.
pub(super) fn check_manifests(workspace: &Workspace) -> Vec<Finding> {
    let pure = workspace.members().filter(|package| pure_name(&package.name).is_some());
    pure.flat_map(check_manifest).collect()
}

/// Code of pure crates that does so with the standard library's means.
pub(super) fn check_source(source: &SourceFile) -> Vec<Finding> {
    let pure = source.path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    if source.test || !pure.is_some_and(|(name, _)| PURE.contains(&name)) {
        return Vec::new();
    }
    let found = source.paths.iter().filter_map(|named| {
        let forbidden = FORBIDDEN_PATHS.iter().find(|forbidden| {
            let words: Vec<&str> = forbidden.split("::").collect();
            named.segments.windows(words.len()).any(|window| window == words)
        })?;
        Some((named.line, *forbidden))
    });
    found
        .map(|(line, forbidden)| Finding {
            weight: Weight::Failure,
            file: source.path.clone(),
            line,
            rule: "purity",
            message: format!("a pure crate names `{forbidden}`"),
            remedy: "take the time, the dice or the bytes as an argument",
        })
        .collect()
}

fn check_manifest(package: &Package) -> Vec<Finding> {
    let name = pure_name(&package.name).unwrap_or_default();
    let wanted = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
    let wrong = wanted.filter(|dependency| is_forbidden(name, dependency));
    wrong
        .map(|dependency| Finding {
            weight: Weight::Failure,
            file: package
                .manifest_path
                .strip_prefix(root())
                .unwrap_or(&package.manifest_path)
                .display()
                .to_string(),
            line: arrows::line_of(package, &dependency.name),
            rule: "purity",
            message: format!("the pure crate {name} depends on {}", dependency.name),
            remedy: "let layer 2 do it and pass the result down",
        })
        .collect()
}

fn is_forbidden(name: &str, dependency: &Dependency) -> bool {
    // `rand` for its trait alone: the generator is the caller's.
    let excused = name == "traffic" && dependency.name == "rand";
    let family = FORBIDDEN_FAMILIES.iter().any(|family| dependency.name.starts_with(family));
    !excused && (family || FORBIDDEN_CRATES.contains(&dependency.name.as_str()))
}

fn pure_name(package: &str) -> Option<&str> {
    package.strip_prefix("portcullis-").filter(|name| PURE.contains(name))
}

const PURE: &[&str] = &["api", "snapshot", "compile", "traffic", "telemetry"];

const FORBIDDEN_FAMILIES: &[&str] = &["tokio", "async-", "hickory"];

const FORBIDDEN_CRATES: &[&str] = &[
    "chrono",
    "fastrand",
    "futures",
    "getrandom",
    "h2",
    "hyper",
    "hyper-util",
    "jiff",
    "kube",
    "mio",
    "notify",
    "rand",
    "reqwest",
    "rustls-native-certs",
    "socket2",
    "tempfile",
    "time",
];

/// A path is wrong when it holds one of these as neighbours.
const FORBIDDEN_PATHS: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "std::process",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::thread",
    "thread_rng",
    "ThreadRng",
    "OsRng",
    "SysRng",
    "rand::rng",
    "rand::random",
    "RandomState::new",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::TextFile;

    fn found(path: &str, text: &str) -> usize {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        check_source(&SourceFile::read(&file)).len()
    }

    #[test]
    fn the_world_is_kept_out_of_pure_crates() {
        let cases = [
            ("crates/traffic/src/a.rs", "fn a() { let t = Instant::now(); }", 1),
            ("crates/traffic/src/a.rs", "fn a() { let t = std::time::Instant::now(); }", 1),
            ("crates/traffic/src/a.rs", "use std::time::Instant; fn a(now: Instant) {}", 0),
            ("crates/api/src/a.rs", "use std::{fs, fmt};", 1),
            ("crates/api/src/a.rs", "#[cfg(test)] mod tests { use std::fs; }", 0),
            ("crates/api/tests/a.rs", "use std::fs;", 0),
            ("crates/snapshot/src/a.rs", "use std::net::{IpAddr, TcpStream};", 1),
            ("crates/compile/src/a.rs", "/// See `std::fs`.\nfn a() { tokio::spawn(b()); }", 1),
            ("crates/control/src/a.rs", "use std::fs;", 0),
        ];
        for (path, text, expected) in cases {
            assert_eq!(found(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn dice_are_for_traffic_and_only_as_a_trait() {
        let rand = |name: &str| {
            let wish =
                Dependency { name: "rand".to_owned(), req: "0.10".to_owned(), kind: None, source: None };
            is_forbidden(name, &wish)
        };
        assert!(!rand("traffic"));
        assert!(rand("compile"));
        assert_eq!(found("crates/traffic/src/a.rs", "fn a() { rand::rng(); }"), 1);
        assert_eq!(found("crates/traffic/src/a.rs", "use rand::Rng;"), 0);
    }
}
