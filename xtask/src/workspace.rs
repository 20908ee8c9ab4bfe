//! The workspace as `cargo metadata` tells it.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{cargo, output};

/// Every package of the resolved graph for the platform we ship, Linux on x86-64.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) target: PathBuf,
    /// Every package that a build of some member uses, the members included.
    pub(crate) packages: Vec<Package>,
    members: HashSet<String>,
}

/// One package, ours or foreign.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// `None` for a package of this workspace; else `registry+…` or `git+…`.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The version requirement, `*` for a path without one.
    pub(crate) req: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) source: Option<String>,
}

/// What a dependency is for; cargo leaves it out for a normal one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Dev,
    Build,
}

impl Workspace {
    /// Asks cargo. Fails when `Cargo.lock` does not fit the manifests.
    pub(crate) fn load() -> Result<Workspace> {
        let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM];
        let text = output(cargo().args(args).current_dir(root()))?;
        let meta: Metadata = serde_json::from_str(&text).context("reading cargo metadata")?;
        let used = used()?;
        Ok(Workspace {
            target: meta.target_directory,
            packages: meta.packages.into_iter().filter(|package| used.contains(&package.key())).collect(),
            members: meta.workspace_members.into_iter().collect(),
        })
    }

    /// The packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.members.contains(&package.id))
    }
}

impl Package {
    /// Name and version, as [`used`] has them.
    fn key(&self) -> String {
        format!("{} v{}", self.name, self.version)
    }
}

/// Name and version of every package that is really built.
///
/// `cargo metadata` also lists optional packages that a feature merely mentions (`name?/feature`); `cargo
/// tree` knows better.
fn used() -> Result<HashSet<String>> {
    let args = ["tree", "--workspace", "--locked", "--prefix", "none", "--target", PLATFORM];
    let text = output(cargo().args(args).current_dir(root()))?;
    let first_two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(first_two).collect())
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands directly below the workspace root")
}

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    target_directory: PathBuf,
}
