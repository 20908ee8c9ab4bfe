//! The behaviour recorded from a real Istio gateway, replayed against the built binary; and the verdicts of its API
//! server and webhook, put to `check` (`validation`).
//!
//! Known gaps stand in a checked-in list that may only shrink: a failing case that is not listed fails the
//! run, and so does a listed case that passes. Another list holds the settings that single cases need.

mod gaps;
mod settings;
mod validation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::Args;
use regex::Regex;
use serde::Deserialize;

use crate::process::{cargo, loud, run, step};
use crate::setup;
use crate::tally::Tally;
use crate::workspace::{Workspace, root};
use gaps::{Gaps, Verdict};
use settings::{Settings, Variables};

/// How the runner starts the gateway: `{binary}` is ours to fill in, `{config}` the runner's.
///
/// One worker, as the reference had when it was recorded.
const GATEWAY: &str = "{binary} run --config {config} --workers 1 \
                       --port-map 80:18080,443:18443,5432:15432 --port-offset 20000 --drain 0";
/// How often cases are played again alone.
const ROUNDS_AGAIN: usize = 2;
/// Most cases that are played again alone: more than a few do not fail by chance.
const MAX_AGAIN: usize = 8;

/// Which cases to replay, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A regular expression on the name of the case.
    #[arg(long, default_value = "")]
    filter: String,
    /// Cases side by side; by default one for each core.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print every difference.
    #[arg(long, short)]
    verbose: bool,
}

impl Options {
    /// Cases whose name contains one of `words`, or all.
    pub(crate) fn matching(words: &[String]) -> Options {
        let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
        Options { filter: words.join("|"), jobs: None, verbose: false }
    }
}

/// The command: replays the cases and fails when they are not as listed.
pub(crate) fn command(options: &Options) -> Result<()> {
    let tally = run_cases(options)?;
    println!("\n{tally}");
    if tally.failed > 0 {
        bail!("{} cases are not as tests/conformance/istio-gaps.txt says", tally.failed);
    }
    Ok(())
}

/// Replays the cases; a known gap counts as skipped.
pub(crate) fn run_cases(options: &Options) -> Result<Tally> {
    let filter = Regex::new(&options.filter).context("the filter is no regular expression")?;
    let names: Vec<String> = case_names()?.into_iter().filter(|name| filter.is_match(name)).collect();
    if names.is_empty() {
        return Ok(Tally::default());
    }
    let list = |name: &str| fs::read_to_string(cases_root().join("..").join(name)).unwrap_or_default();
    let lists = Lists {
        gaps: Gaps::parse(&list("istio-gaps.txt"))?,
        settings: Settings::parse(&list("istio-settings.txt"))?,
    };
    run(cargo().args(["build", "--release", "--package", "portcullis"]).current_dir(root()))?;
    let (verdicts, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| validation::is_one(name));
    let mut report = Report { cases: Vec::new() };
    if !names.is_empty() {
        step(&format!("{} recorded cases", names.len()));
        report = play(options, &names, &lists.settings)?;
        for _ in 0..ROUNDS_AGAIN {
            play_again(&mut report, &lists)?;
        }
    }
    report.cases.extend(validation::replay(&verdicts, options.jobs)?);
    judge(&report, &lists)
}

/// What is checked in about single cases.
#[derive(Default)]
struct Lists {
    gaps: Gaps,
    settings: Settings,
}

/// Replays every case as the gateway is by default, then those that need settings with these, whose outcome counts.
fn play(options: &Options, names: &[String], settings: &Settings) -> Result<Report> {
    let mut report = replay(options, &Variables::new())?;
    for (variables, cases) in settings.groups(names) {
        step(&format!("{} again with {}", cases.join(", "), shown(variables)));
        for with in replay(&only(&cases, options.jobs, options.verbose), variables)?.cases {
            if let Some(without) = report.cases.iter_mut().find(|without| without.case == with.case) {
                *without = Case { needless: without.held(), ..with };
            }
        }
    }
    Ok(report)
}

fn shown(variables: &Variables) -> String {
    let pairs: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// Just these cases.
fn only(names: &[&str], jobs: Option<usize>, verbose: bool) -> Options {
    let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
    Options { filter: format!("^({})$", names.join("|")), jobs, verbose }
}

/// Cases measure time, and a busy machine can spoil one: those that are not as listed are played again, one
/// after the other and with every difference shown, and the last verdict counts.
fn play_again(report: &mut Report, lists: &Lists) -> Result<()> {
    let unexpected = |case: &&Case| {
        matches!(lists.gaps.verdict(&case.case, case.held()), Verdict::Broken | Verdict::Closed)
    };
    let names: Vec<String> = report.cases.iter().filter(unexpected).map(|case| case.case.clone()).collect();
    if names.is_empty() || names.len() > MAX_AGAIN {
        return Ok(());
    }
    step(&format!("{} of them again, alone", names.len()));
    let alone = only(&names.iter().map(String::as_str).collect::<Vec<_>>(), Some(1), true);
    let again = play(&alone, &names, &lists.settings)?;
    for case in again.cases {
        if let Some(first) = report.cases.iter_mut().find(|first| first.case == case.case) {
            *first = case;
        }
    }
    Ok(())
}

/// Runs the runner, reads its report.
fn replay(options: &Options, variables: &Variables) -> Result<Report> {
    let folder = reports()?;
    let report = folder.join("report.json");
    if report.exists() {
        fs::remove_file(&report).context("removing the last report")?;
    }
    let gateway = GATEWAY.replace("{binary}", &gateway_binary()?.to_string_lossy());
    let mut runner = Command::new(setup::python()?);
    runner.envs(variables.iter().map(|(name, value)| (name, value)));
    runner.arg("-B").arg(cases_root().join("runner.py"));
    runner.args(["--gateway", &gateway, "--filter", &options.filter, "--jobs", &jobs(options.jobs)]);
    runner.arg("--json").arg(&report).arg("--logs").arg(folder.join("logs"));
    if options.verbose {
        runner.arg("-v");
    }
    // Its status says whether every case passed; what we ask is whether each did as listed.
    runner.status().context("starting the runner")?;
    let text = fs::read_to_string(&report).context("the runner left no report")?;
    serde_json::from_str(&text).context("reading the runner's report")
}

/// The built gateway.
fn gateway_binary() -> Result<PathBuf> {
    Ok(Workspace::load()?.target.join("release/portcullis"))
}

/// Where the runner leaves its reports.
fn reports() -> Result<PathBuf> {
    let folder = Workspace::load()?.target.join("conformance");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Cases side by side: as asked for, or one for each core.
fn jobs(asked: Option<usize>) -> String {
    asked.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).to_string()
}

/// Compares what happened with what is listed, area by area.
fn judge(report: &Report, lists: &Lists) -> Result<Tally> {
    let known = case_names()?;
    let mut total = Tally::default();
    let mut later = Tally::default();
    println!();
    for case in &report.cases {
        let verdict = lists.gaps.verdict(&case.case, case.held());
        let tally = if is_later(&case.case) { &mut later } else { &mut total };
        if case.needless {
            tally.failed += 1;
            loud(&format!(
                "{}: passes without its setting; remove its line from istio-settings.txt",
                case.case
            ));
            continue;
        }
        match verdict {
            Verdict::Passed => tally.passed += 1,
            Verdict::KnownGap => tally.skipped += 1,
            Verdict::Broken => {
                tally.failed += 1;
                let why = case.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
                loud(&format!("{}: fails and is no known gap{why}", case.case));
            }
            Verdict::Closed => {
                tally.failed += 1;
                loud(&format!("{}: passes now; remove its line from istio-gaps.txt", case.case));
            }
        }
    }
    let listed = lists.gaps.names().map(|name| (name, "istio-gaps.txt"));
    let listed = listed.chain(lists.settings.names().map(|name| (name, "istio-settings.txt")));
    for (name, list) in listed.filter(|(name, _)| !known.iter().any(|case| case == name)) {
        total.failed += 1;
        loud(&format!("{name}: listed in {list}, but there is no such case"));
    }
    println!("{}", share("recorded cases", total));
    println!("{}", share("later: security (authz, jwt)", later));
    total += later;
    Ok(total)
}

fn share(name: &str, tally: Tally) -> String {
    let all = tally.passed + tally.failed + tally.skipped;
    let percent = 100 * tally.passed / all.max(1);
    format!("{name}: {} of {all} pass ({percent} %), {} known gaps", tally.passed, tally.skipped)
}

/// Areas that wait for the security kinds.
fn is_later(case: &str) -> bool {
    ["authz-", "jwt-", "validation/authorizationpolicy/", "validation/requestauthentication/"]
        .iter()
        .any(|area| case.starts_with(area))
}

/// Every case: behaviour by its folder's name, verdicts as `validation` names them.
fn case_names() -> Result<Vec<String>> {
    let folder = cases_root().join("cases");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context("reading the cases")?;
        if entry.path().join("expected.yaml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.extend(validation::names()?);
    names.sort();
    Ok(names)
}

fn cases_root() -> PathBuf {
    root().join(Path::new("tests/conformance/istio"))
}

#[derive(Deserialize)]
struct Report {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    error: Option<String>,
    passed: u64,
    total: u64,
    /// Whether it passes without the setting it is listed with.
    #[serde(skip)]
    needless: bool,
}

impl Case {
    fn held(&self) -> bool {
        self.error.is_none() && self.passed == self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, passed: u64) -> Case {
        Case { case: name.to_owned(), error: None, passed, total: 2, needless: false }
    }

    #[test]
    fn only_what_is_not_as_listed_fails() {
        let gaps = Gaps::parse("cors-several-routes # why\nfault-abort # why\nno-such-case # why\n").unwrap();
        let cases = vec![
            case("direct-response", 2),
            case("dr-host-scope", 1),
            case("cors-several-routes", 0),
            case("fault-abort", 2),
            case("authz-allow-all", 2),
        ];
        let tally = judge(&Report { cases }, &Lists { gaps, ..Lists::default() }).unwrap();
        assert_eq!(tally, Tally { passed: 2, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_setting_must_belong_to_a_case_and_be_needed() {
        let settings =
            Settings::parse("direct-response PORTCULLIS_X=1 # why\nno-such-case PORTCULLIS_X=1 # why\n");
        let lists = Lists { settings: settings.unwrap(), ..Lists::default() };
        let cases = vec![Case { needless: true, ..case("direct-response", 2) }, case("dr-host-scope", 2)];
        let tally = judge(&Report { cases }, &lists).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 2, skipped: 0 });
    }

    #[test]
    fn filters_are_words_not_patterns() {
        let filter = Options::matching(&["a.b".to_owned(), "c".to_owned()]).filter;
        assert_eq!(filter, r"a\.b|c");
    }
}
