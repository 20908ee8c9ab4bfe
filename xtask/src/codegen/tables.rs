//! Fields of resources as Markdown: a summary by kind, and every field.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

/// A field of a kind, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    kind: String,
    path: String,
    type_name: String,
    state: State,
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Honoured,
    NotYet,
    /// Without effect at a gateway by Istio's own design, and why.
    Ignored(String),
}

impl Field {
    /// Reads a line of the example's output: kind, path, type, state and reason, with tabs between.
    pub(super) fn read(line: &str) -> Result<Self> {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut next = || parts.next().with_context(|| format!("not a field: {line:?}"));
        let (kind, path, type_name, state, reason) = (next()?, next()?, next()?, next()?, next()?);
        let state = match state.as_str() {
            "yes" => State::Honoured,
            "no" => State::NotYet,
            "ignored" => State::Ignored(reason),
            other => bail!("{kind} {path}: no such state: {other}"),
        };
        Ok(Self { kind, path, type_name, state })
    }

    /// Whether `other`, of the same kind, stands somewhere below this field.
    fn holds(&self, other: &Self) -> bool {
        other.path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with(['.', '[']))
    }

    /// The path without what every path has.
    fn within(&self) -> String {
        self.path.strip_prefix("spec.").unwrap_or(&self.path).replace("[]", "")
    }

    /// The last two names of the path, which say enough where fields are only counted up.
    fn short(&self) -> String {
        let path = self.within();
        let names: Vec<&str> = path.split('.').collect();
        names[names.len().saturating_sub(2)..].join(".")
    }
}

/// A table of codes, from lines of code, title, severity and meaning with tabs between.
pub(super) fn codes(lines: &str) -> Result<String> {
    let mut out = String::from("| code | title | severity | about |\n|---|---|---|---|\n");
    for line in lines.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [code, title, severity, meaning] = parts.as_slice() else { bail!("not a code: {line:?}") };
        let _ = writeln!(out, "| {code} | {title} | {severity} | {meaning} |");
    }
    Ok(out)
}

/// A table with a line for each kind.
pub(super) fn summary(fields: &[Field]) -> String {
    let mut out =
        String::from("| kind | honoured | fields | accepted, no effect yet |\n|---|---|---:|---|\n");
    for kind in kinds(fields) {
        let of_kind: Vec<&Field> = fields.iter().filter(|field| field.kind == kind).collect();
        let all = of_kind.iter().filter(|field| !matches!(field.state, State::Ignored(_))).count();
        let honoured = of_kind.iter().filter(|field| field.state == State::Honoured).count();
        let (names, later) = (outline(&of_kind), not_yet(&of_kind));
        let _ = writeln!(out, "| **{kind}** | {names} | {honoured}/{all} | {later} |");
    }
    out
}

/// Every field, a table for each kind. Below a field without effect nothing is named that shares its fate.
pub(super) fn full(fields: &[Field]) -> String {
    let mut out = String::from(HEAD);
    for kind in kinds(fields) {
        let _ = writeln!(out, "\n## {kind}\n\n| field | type | honoured |\n|---|---|---|");
        let of_kind: Vec<&Field> = fields.iter().filter(|field| field.kind == kind).collect();
        for field in of_kind.iter().filter(|field| !is_implied(&of_kind, field)) {
            let state = match &field.state {
                State::Honoured => "yes".to_owned(),
                State::NotYet => "**not yet**".to_owned(),
                State::Ignored(reason) => format!("no: {reason}"),
            };
            let _ = writeln!(out, "| `{}` | {} | {state} |", field.path, field.type_name);
        }
    }
    out
}

/// The kinds in the order in which they come.
fn kinds(fields: &[Field]) -> Vec<&str> {
    let mut kinds: Vec<&str> = fields.iter().map(|field| field.kind.as_str()).collect();
    kinds.dedup();
    kinds
}

/// The honoured fields of a kind, two levels deep: `hosts`, `http.{match, route}`.
fn outline(fields: &[&Field]) -> String {
    let mut tops: Vec<(String, Vec<String>)> = Vec::new();
    for field in fields.iter().filter(|field| field.state == State::Honoured) {
        let path = field.within();
        match path.split('.').collect::<Vec<_>>()[..] {
            [top] => tops.push((top.to_owned(), Vec::new())),
            [top, below] => {
                let known = tops.iter_mut().find(|(name, _)| name == top);
                known.into_iter().for_each(|(_, names)| names.push(below.to_owned()));
            }
            _ => {}
        }
    }
    let shown = tops.iter().map(|(top, below)| match &below[..] {
        [] => format!("`{top}`"),
        [only] => format!("`{top}.{only}`"),
        _ => format!("`{top}.{{{}}}`", below.join(", ")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The outermost fields of a kind without effect, each name once.
fn not_yet(fields: &[&Field]) -> String {
    let mut names: Vec<String> = Vec::new();
    let open = fields.iter().filter(|field| field.state == State::NotYet);
    for field in open.filter(|field| !is_implied(fields, field)) {
        let name = format!("`{}`", field.short());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

/// Whether a field above this one has the same state, so that naming both says nothing new.
fn is_implied(fields: &[&Field], field: &Field) -> bool {
    field.state != State::Honoured
        && fields.iter().any(|above| above.state == field.state && above.holds(field))
}

const HEAD: &str = "\
# Fields

Every field of every kind that Portcullis reads, and what becomes of it. This page is written by `cargo xtask codegen`
from the code; `cargo xtask lint` fails when it is out of date.

- **yes**: it does what Istio's gateway does with it.
- **not yet**: it is accepted without effect, and so is everything below it; `portcullis check` names an object that
  has it.
- **no**: it has no effect at a gateway by Istio's own design, for the reason given; the same goes for everything below
  it.

In a path `[]` stands for any item of a list and `*` for any key of a map.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        let lines = [
            "Gateway\tspec.servers\tlist of object\tyes\t",
            "Gateway\tspec.servers[].name\tstring\tignored\tit only names statistics",
            "Gateway\tspec.servers[].tls.caCrl\tstring\tno\t",
            "VirtualService\tspec.http\tlist of object\tyes\t",
            "VirtualService\tspec.http[].match\tlist of object\tyes\t",
            "VirtualService\tspec.http[].mirror\tobject\tno\t",
            "VirtualService\tspec.http[].mirror.host\tstring\tno\t",
            "VirtualService\tspec.http[].mirrors\tlist of object\tno\t",
        ];
        lines.map(|line| Field::read(line).unwrap()).into()
    }

    #[test]
    fn a_kind_is_summed_up_in_a_line() {
        let text = summary(&fields());
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| **Gateway** | `servers` | 1/2 | `tls.caCrl` |",
                "| **VirtualService** | `http.match` | 2/5 | `http.mirror`, `http.mirrors` |"
            ]
        );
    }

    #[test]
    fn every_field_stands_in_the_full_table_unless_one_above_says_the_same() {
        let text = full(&fields());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `spec.servers` | list of object | yes |",
                "| `spec.servers[].name` | string | no: it only names statistics |",
                "| `spec.servers[].tls.caCrl` | string | **not yet** |",
                "| `spec.http` | list of object | yes |",
                "| `spec.http[].match` | list of object | yes |",
                "| `spec.http[].mirror` | object | **not yet** |",
                "| `spec.http[].mirrors` | list of object | **not yet** |",
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_field_is_an_error() {
        assert!(Field::read("Gateway\tspec").is_err());
        assert!(Field::read("Gateway\tspec\tobject\tperhaps\t").is_err());
    }
}
