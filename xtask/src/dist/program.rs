//! The program as it is shipped: static, and compiled for the work that it does.
//!
//! The compiler lays out code better when it has been told which way each branch goes, and how often each function is
//! called (profile-guided optimization). So a first build counts that while the project's own bench loads it with every
//! workload, and a second one goes by what was counted. The names of functions have the profile of the build in them, hence
//! both are the whole `dist`. Which counts were used is shipped, too: with them, the same commit makes the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::{hex, sha256};
use crate::process::{cargo, find, output, run, step};
use crate::setup;
use crate::workspace::{Workspace, root};

/// Libc is in the program, so that it runs where there is nothing.
const STATIC: &str = "-C target-feature=+crt-static";

/// What the compiler goes by.
#[derive(Debug, Clone)]
pub(crate) enum Guide {
    /// Its own guesses.
    None,
    /// What the program is seen to do under load.
    Counted,
    /// What has been counted before.
    File(PathBuf),
}

/// A program, and the counts it was compiled by.
pub(crate) struct Built {
    pub(crate) program: PathBuf,
    pub(crate) counts: Option<PathBuf>,
}

/// Builds the program.
pub(crate) fn build(guide: &Guide) -> Result<Built> {
    let counts = match guide {
        Guide::None => None,
        Guide::File(path) => Some(kept(path)?),
        Guide::Counted => Some(kept(&count()?)?),
    };
    step("building the static program: ten minutes and more");
    let by = counts.as_ref().map(|path| format!("-C profile-use={}", path.display()));
    let program = compile(&Workspace::load()?.target, by.as_deref())?;
    Ok(Built { program, counts })
}

/// Builds the program below `target`, static, with one flag more.
fn compile(target: &Path, flag: Option<&str>) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = [STATIC].into_iter().chain(flag).collect::<Vec<_>>().join(" ");
    let mut build = cargo();
    build.args(["build", "--locked", "--profile", "dist", "--package", "portcullis", "--bin", "portcullis"]);
    // With a target, the flags are not for build scripts and macros.
    build.args(["--target", &triple]).arg("--target-dir").arg(target);
    run(build.env("RUSTFLAGS", flags).current_dir(root()))?;
    Ok(target.join(triple).join("dist/portcullis"))
}

/// Counts what the program does under every workload of the bench; gives the file with the counts.
fn count() -> Result<PathBuf> {
    let merge = merger()?;
    setup::peers(&["forwarder".to_owned()])?;
    let folder = Workspace::load()?.target.join("guide");
    let raw = folder.join("raw");
    step("building a program that counts: ten minutes and more");
    let counting = compile(&folder, Some(&format!("-C profile-generate={}", raw.display())))?;
    // What an earlier one has counted is of another program.
    if raw.exists() {
        fs::remove_dir_all(&raw).with_context(|| format!("removing {}", raw.display()))?;
    }
    step("loading it");
    let mut load = cargo();
    load.args(["run", "--quiet", "--release", "--package", "portcullis-bench-load", "--", "--quick"]);
    load.arg("--subject").arg(format!("portcullis={}", counting.display())).current_dir(root());
    setup::tell_path(&mut load);
    run(&mut load)?;
    let counts = folder.join("portcullis.profdata");
    run(Command::new(merge).args(["merge", "--sparse", "--output"]).arg(&counts).arg(&raw))?;
    Ok(counts)
}

/// The counts under a name that tells what is in them: the compiler is called again only when that has changed.
fn kept(counts: &Path) -> Result<PathBuf> {
    let bytes = fs::read(counts).with_context(|| format!("reading {}", counts.display()))?;
    let folder = Workspace::load()?.target.join("guide");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("{}.profdata", hex(&sha256(&bytes))));
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The program that puts counts together. Their form changes with the compiler's backend: an older one cannot read them.
fn merger() -> Result<PathBuf> {
    let said = output(Command::new("rustc").args(["--version", "--verbose"]))?;
    let backend = said.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let major = backend.and_then(major).context("rustc does not tell the version of its LLVM")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let root = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let component = Path::new(root.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    let package = format!("llvm-{major}");
    let named = format!("llvm-profdata-{major}");
    let there = || {
        let programs = [Some(component.clone()), find(&named), find("llvm-profdata")];
        programs.into_iter().flatten().find(|program| is_new_enough(program, major))
    };
    if let Some(program) = there() {
        return Ok(program);
    }
    let installed = setup::install_for_dist(&package);
    installed.and_then(|()| there().context("it is not in there")).with_context(|| {
        format!(
            "llvm-profdata of LLVM {major} is missing: `rustup component add llvm-tools` or the package {package} brings \
             it, and --plain does without"
        )
    })
}

fn is_new_enough(program: &Path, wanted: u32) -> bool {
    let said = output(Command::new(program).arg("--version")).unwrap_or_default();
    said.lines()
        .find_map(|line| line.split_once("LLVM version ").and_then(|(_, version)| major(version)))
        .is_some_and(|own| own >= wanted)
}

fn major(version: &str) -> Option<u32> {
    version.trim().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(major("22.1.2"), Some(22));
        assert_eq!(major(" 19.1.7-3"), Some(19));
        assert_eq!(major("unknown"), None);
    }
}
