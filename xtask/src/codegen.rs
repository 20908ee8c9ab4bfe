//! `codegen`: the tables of the documentation, made from the code they speak of, so that they cannot lie.
//!
//! An example of the `compile` crate prints what becomes of each field of each kind; here it becomes all of
//! `docs/fields.md` and the part of `README.md` between two marks. Another one prints the codes of findings, for
//! `docs/diagnostics.md`. The chart gets the rules of the gateway's account from the manifest that has them. `lint` fails
//! when any of them is out of date.

mod rules;
mod tables;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{cargo, output};
use crate::workspace::root;
use tables::Field;

/// Write the tables, or only look whether they are up to date.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Change nothing; fail when a table is out of date.
    #[arg(long)]
    check: bool,
}

/// The command.
pub(crate) fn command(options: &Options) -> Result<()> {
    if options.check { check() } else { write() }
}

/// Fails when a generated table is not what the code says.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<&str> =
        documents()?.iter().filter(|document| document.is_stale()).map(|document| document.path).collect();
    if !stale.is_empty() {
        bail!("{} out of date; run `cargo xtask codegen`", stale.join(" and "));
    }
    println!(
        "codegen: README.md, docs/fields.md and docs/diagnostics.md say what the code does, the chart has the rules"
    );
    Ok(())
}

fn write() -> Result<()> {
    for document in documents()?.iter().filter(|document| document.is_stale()) {
        fs::write(root().join(document.path), &document.wanted)
            .with_context(|| format!("writing {}", document.path))?;
        println!("codegen: wrote {}", document.path);
    }
    Ok(())
}

/// A file of the documentation, as it is and as it should be.
struct Document {
    /// From the workspace root.
    path: &'static str,
    present: String,
    wanted: String,
}

impl Document {
    fn is_stale(&self) -> bool {
        self.present != self.wanted
    }
}

fn documents() -> Result<[Document; 5]> {
    let fields = fields()?;
    let readme = fs::read_to_string(root().join(README)).context("reading README.md")?;
    let wanted = between_marks(&readme, BEGIN, &tables::summary(&fields))?;
    let codes = fs::read_to_string(root().join(CODES)).with_context(|| format!("reading {CODES}"))?;
    let wanted_codes = between_marks(&codes, BEGIN_CODES, &tables::codes(&example("codes")?)?)?;
    // A file that is not there yet is out of date like any other.
    let present = fs::read_to_string(root().join(FIELDS)).unwrap_or_default();
    Ok([
        Document { path: README, present: readme, wanted },
        Document { path: FIELDS, present, wanted: tables::full(&fields) },
        Document { path: CODES, present: codes, wanted: wanted_codes },
        chart_rules(CLUSTER_RULES, "ClusterRole")?,
        chart_rules(NAMESPACE_RULES, "Role")?,
    ])
}

/// A file of the chart with the rules of one kind of role.
fn chart_rules(path: &'static str, kind: &str) -> Result<Document> {
    let manifest =
        fs::read_to_string(root().join(MANIFEST)).with_context(|| format!("reading {MANIFEST}"))?;
    let wanted = rules::rules(&manifest, kind).with_context(|| format!("reading the rules of {MANIFEST}"))?;
    Ok(Document { path, present: fs::read_to_string(root().join(path)).unwrap_or_default(), wanted })
}

/// What the code says of its fields.
fn fields() -> Result<Vec<Field>> {
    example("honoured")?.lines().map(Field::read).collect()
}

/// What an example of the compiler prints.
fn example(name: &str) -> Result<String> {
    let args = ["run", "--quiet", "--package", "portcullis-compile", "--example", name];
    output(cargo().args(args).current_dir(root()))
}

/// `text` with what stands between the marks replaced.
fn between_marks(text: &str, begin: &str, table: &str) -> Result<String> {
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("there is no `{begin}` … `{END}`"))?;
    Ok(format!("{before}{begin}\n\n{table}\n{END}{after}"))
}

const README: &str = "README.md";
const FIELDS: &str = "docs/fields.md";
const CODES: &str = "docs/diagnostics.md";
const MANIFEST: &str = "deploy/kubernetes/rbac.yaml";
const CLUSTER_RULES: &str = "deploy/helm/portcullis/files/cluster-rules.yaml";
const NAMESPACE_RULES: &str = "deploy/helm/portcullis/files/namespace-rules.yaml";

const BEGIN: &str = "<!-- codegen: fields -->";
const BEGIN_CODES: &str = "<!-- codegen: codes -->";
const END: &str = "<!-- codegen: end -->";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let changed = between_marks(&text, BEGIN, "| new |\n").unwrap();
        assert_eq!(changed, format!("a\n{BEGIN}\n\n| new |\n\n{END}\nb\n"));
        assert_eq!(between_marks(&changed, BEGIN, "| new |\n").unwrap(), changed);
        assert!(between_marks("a\n", BEGIN, "").is_err());
    }
}
