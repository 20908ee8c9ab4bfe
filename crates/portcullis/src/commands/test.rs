//! `test`: asks what route tests ask, and compares.

mod judge;
mod junit;
mod report;

use std::io::{Write as _, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use portcullis_api::route_test::{RouteCase, RouteTest};
use portcullis_api::{ObjectRef, Severity, load};
use portcullis_control::{Notice, once};

use super::offline;
use crate::Exit;
use crate::args::{TestArgs, TestFormat};
use crate::decide::{Decision, decide_route};
use crate::output::{self, Style};
use crate::question::Question;

use judge::Miss;

/// A case with its question.
struct Case<'t> {
    test: &'t RouteTest,
    line: u32,
    case: &'t RouteCase,
    question: Question,
}

/// A case and what came out.
struct Tried<'t> {
    test: &'t RouteTest,
    line: u32,
    case: &'t RouteCase,
    decision: Decision,
    /// What is not as expected; nothing if the case passes.
    misses: Vec<Miss>,
}

impl Tried<'_> {
    /// What the case is called.
    fn name(&self) -> &str {
        self.case.name.as_deref().unwrap_or(&self.case.request)
    }

    fn passed(&self) -> bool {
        self.misses.is_empty()
    }
}

/// Runs the command.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<Exit> {
    let tests = read(&args.paths)?;
    let cases = cases(&tests)?;
    let resources = if args.config.is_empty() { beside(&args.paths) } else { args.config.clone() };
    let compiled = offline::load(&resources, &args.workload.environment())?;
    let tried: Vec<Tried<'_>> = cases
        .into_iter()
        .map(|Case { test, line, case, question }| {
            let decision = decide_route(&compiled.snapshot, &question);
            let misses = judge::judge(&case.expect, &question, &decision);
            Tried { test, line, case, decision, misses }
        })
        .collect();
    let failed = tried.iter().any(|tried| !tried.passed());
    let mut out = stdout().lock();
    match args.output {
        TestFormat::Human => {
            let hints = if failed { compiled.hints() } else { Vec::new() };
            report::human(&mut out, &tried, &hints, Style::of_stdout())?;
        }
        TestFormat::Json => writeln!(out, "{:#}", report::json(&tried)?)?,
        TestFormat::Junit => out.write_all(junit::report(&tried).as_bytes())?,
    }
    Ok(if failed { Exit::Findings } else { Exit::Fine })
}

/// The tests below `paths`; one that cannot be read ends the command, for what it was to show is not shown.
fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<RouteTest>> {
    let mut tests = Vec::new();
    let mut notices = Vec::new();
    for (name, text) in once::texts(paths).context("route tests cannot be read")? {
        let (found, findings) = load::route_tests(&name, &text);
        tests.extend(found);
        notices.extend(findings.into_iter().map(Notice::from));
    }
    refuse(&notices)?;
    if tests.is_empty() {
        bail!("there is no document of kind RouteTest here");
    }
    Ok(tests)
}

/// The cases of all tests, each with the question it asks.
fn cases(tests: &[RouteTest]) -> anyhow::Result<Vec<Case<'_>>> {
    let mut cases = Vec::new();
    let mut notices = Vec::new();
    for test in tests {
        for (at, (line, case)) in test.cases.iter().enumerate() {
            match question(case) {
                Ok(question) => cases.push(Case { test, line: *line, case, question }),
                Err((field, why)) => {
                    notices.push(unreadable(test, *line, format!("spec.cases[{at}].{field}"), why));
                }
            }
        }
    }
    refuse(&notices)?;
    Ok(cases)
}

/// The question of a case, or the field that cannot be read and why.
fn question(case: &RouteCase) -> Result<Question, (&'static str, String)> {
    let mut question = Question::parse(&case.request).map_err(|why| ("request", why))?;
    for (name, value) in &case.headers {
        question.add_header(&format!("{name}: {value}")).map_err(|why| ("headers", why))?;
    }
    question.port = case.port.unwrap_or(question.port);
    Ok(question)
}

fn unreadable(test: &RouteTest, line: u32, field: String, message: String) -> Notice {
    Notice {
        severity: Severity::Error,
        code: "InvalidValue",
        title: "InvalidValue",
        source: Some(test.source.clone()),
        line,
        column: 0,
        object: Some(ObjectRef {
            kind: "RouteTest".into(),
            namespace: String::new(),
            name: test.name.clone(),
        }),
        field,
        message,
        remedy: String::new(),
    }
}

fn refuse(notices: &[Notice]) -> anyhow::Result<()> {
    if notices.is_empty() {
        return Ok(());
    }
    output::notices(&mut stderr().lock(), notices, Style::Plain)?;
    bail!("route tests with mistakes are not run")
}

/// Where resources are if nobody says: a folder is itself, a file stands for the folder it is in.
fn beside(paths: &[PathBuf]) -> Vec<PathBuf> {
    let folder = |path: &PathBuf| match path.is_file() {
        true => match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new(".").to_owned(),
            Some(parent) => parent.to_owned(),
            None => path.clone(),
        },
        false => path.clone(),
    };
    let mut folders: Vec<PathBuf> = paths.iter().map(folder).collect();
    folders.sort();
    folders.dedup();
    folders
}
