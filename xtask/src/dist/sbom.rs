//! What is in the program: every crate that is compiled into it, with licence and checksum, as CycloneDX 1.6 has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Release;
use crate::process::{cargo, output};
use crate::workspace::{Package, root};

/// The platform that is shipped.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
const GATEWAY: &str = "portcullis";

/// The document.
pub(super) fn document(release: &Release) -> Result<String> {
    let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM];
    let text = output(cargo().args(args).current_dir(root()))?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading cargo metadata")?;
    let (inside, checksums) = (inside()?, checksums()?);
    let by_id: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let is_inside = |package: &&Package| inside.contains(&key(package));
    let mut components: Vec<&Package> = metadata.packages.iter().filter(is_inside).collect();
    components.sort_by_key(|package| key(package));
    let (own, others): (Vec<&Package>, Vec<&Package>) =
        components.iter().partition(|package| package.name == GATEWAY);
    let own = own.first().context("cargo does not know the gateway")?;
    let dependencies = metadata.resolve.nodes.iter().filter_map(|node| {
        let package = by_id.get(node.id.as_str()).copied().filter(is_inside)?;
        let all = node.dependencies.iter().filter_map(|id| by_id.get(id.as_str()).copied());
        let all: BTreeSet<String> = all.filter(is_inside).map(purl).collect();
        Some((purl(package), all))
    });
    let dependencies: BTreeMap<String, BTreeSet<String>> = dependencies.collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": release.created()?,
            "component": component(own, "application", &checksums),
        },
        "components": others.iter().map(|it| component(it, "library", &checksums)).collect::<Vec<_>>(),
        "dependencies": dependencies.iter().map(|(of, on)| json!({"ref": of, "dependsOn": on})).collect::<Vec<_>>(),
    });
    Ok(format!("{document:#}\n"))
}

fn component(package: &Package, kind: &str, checksums: &BTreeMap<String, String>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
    });
    if let Some(licence) = &package.license {
        // The way it was written before Cargo took SPDX's expressions.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&key(package)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// <https://github.com/package-url/purl-spec>
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

fn key(package: &Package) -> String {
    format!("{} v{}", package.name, package.version)
}

/// What is compiled into the gateway: neither build scripts nor macros, which stay behind.
fn inside() -> Result<BTreeSet<String>> {
    let args =
        ["tree", "--package", GATEWAY, "--locked", "--prefix", "none", "--edges", "normal,no-proc-macro"];
    let text = output(cargo().args(args).args(["--target", PLATFORM]).current_dir(root()))?;
    let first_two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().filter(|line| !line.is_empty()).map(first_two).collect())
}

/// The checksums of Cargo.lock.
fn checksums() -> Result<BTreeMap<String, String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let of_block = |block: &str| {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        };
        Some((format!("{} v{}", value("name")?, value("version")?), value("checksum")?))
    };
    Ok(lock.split("[[package]]").filter_map(of_block).collect())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_program_is_listed() {
        let release = Release { version: "1.2.3".to_owned(), revision: String::new(), time: 0 };
        let document: Value = serde_json::from_str(&document(&release).unwrap()).unwrap();
        assert_eq!(document["metadata"]["component"]["name"], GATEWAY);
        let components = document["components"].as_array().unwrap();
        let named = |name: &str| components.iter().filter(|it| it["name"] == name).count();
        assert_eq!(
            (named("rustls"), named("portcullis-dataplane"), named("proptest"), named("syn")),
            (1, 1, 0, 0)
        );
        for component in components {
            let own = component["name"].as_str().unwrap().starts_with("portcullis-");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            assert!(own || component["hashes"][0]["content"].as_str().unwrap().len() == 64, "{component}");
        }
        // Every reference is to something listed.
        let refs: BTreeSet<&str> = components.iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
        for on in document["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| it["dependsOn"].as_array().unwrap())
        {
            assert!(refs.contains(on.as_str().unwrap()), "{on}");
        }
    }
}
