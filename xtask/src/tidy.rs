//! The project's own rules, those that no compiler checks.
//!
//! Each rule is a function from what it looks at to [`Finding`]s, so each is tested on a few lines of text.

mod arrows;
mod purity;
mod settings;
mod shape;
mod source;
mod words;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::output;
use crate::workspace::{Workspace, root};
use source::SourceFile;

/// Checks the whole tree and prints every finding.
pub(crate) fn tidy() -> Result<()> {
    let workspace = Workspace::load()?;
    let files = text_files()?;
    let sources = SourceFile::all(&files);

    let mut findings = arrows::check(&workspace);
    findings.extend(purity::check_manifests(&workspace));
    for source in &sources {
        findings.extend(purity::check_source(source));
        findings.extend(shape::check_file(source));
    }
    findings.extend(shape::check_all(&sources));
    findings.extend(files.iter().flat_map(words::check));
    findings.extend(files.iter().flat_map(settings::check));
    report(&findings, sources.len())
}

/// A text file of the project: its path from the root, and its text.
#[derive(Clone, Debug)]
pub(super) struct TextFile {
    pub(super) path: String,
    pub(super) text: String,
}

/// One broken rule, and the way out.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) weight: Weight,
    /// From the workspace root.
    pub(super) file: String,
    /// From 1.
    pub(super) line: usize,
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// Whether a finding fails the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Warning,
    Failure,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Warning => "warning",
            Weight::Failure => "error",
        };
        let Finding { file, line, rule, message, remedy, .. } = self;
        write!(f, "{file}:{line}: {weight} [{rule}] {message}; {remedy}")
    }
}

/// Every file that git keeps or would keep, but for what others recorded and what is not text.
fn text_files() -> Result<Vec<TextFile>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = output(Command::new("git").args(list).current_dir(root()))?;
    let mut files = Vec::new();
    for path in listed.lines().filter(|path| !FOREIGN.iter().any(|folder| path.starts_with(folder))) {
        let full: PathBuf = root().join(path);
        // A file just removed is still listed; a link points at a file that is listed itself.
        if !full.is_file() || full.is_symlink() {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("reading {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

fn report(findings: &[Finding], sources: usize) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    let failures = findings.iter().filter(|finding| finding.weight == Weight::Failure).count();
    println!("tidy: {sources} source files, {failures} errors, {} warnings", findings.len() - failures);
    if failures > 0 {
        bail!("{failures} errors");
    }
    Ok(())
}

/// What was recorded from another program stays as it came.
const FOREIGN: &[&str] = &["tests/conformance/istio/", "Cargo.lock", "fuzz/Cargo.lock"];
