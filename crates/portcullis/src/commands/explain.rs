//! `explain`: the way a request would take, and why.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use portcullis_control::Notice;
use serde_json::json;

use super::offline;
use crate::Exit;
use crate::args::ExplainArgs;
use crate::decide::{Decision, decide};
use crate::output::{self, Format, Style};
use crate::question::Question;

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let (question, paths) = args.paths_and_question.split_last().context("no question")?;
    let question = read_question(question, args)?;
    let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
    let compiled = offline::load(&paths, &args.workload.environment())?;
    let decision = decide(&compiled.snapshot, &question);
    // A request that fails may do so for a reason that compilation has found.
    let hints = if decision.routed { Vec::new() } else { compiled.hints() };
    print(&decision, &hints, args.output)?;
    Ok(if decision.routed { Exit::Fine } else { Exit::Findings })
}

fn read_question(text: &str, args: &ExplainArgs) -> anyhow::Result<Question> {
    let mut question = Question::parse(text).map_err(|error| anyhow!(error))?;
    for header in &args.headers {
        question.add_header(header).map_err(|error| anyhow!(error))?;
    }
    question.port = args.port.unwrap_or(question.port);
    question.source_ip = args.source_ip;
    Ok(question)
}

fn print(decision: &Decision, hints: &[Notice], format: Format) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match format {
        Format::Human => {
            let style = Style::of_stdout();
            write!(out, "{}", decision.shown(style))?;
            if !hints.is_empty() {
                writeln!(
                    out,
                    "\n{}\n",
                    style.bold("Findings in this configuration that may be the reason:")
                )?;
                output::notices(&mut out, hints, style)?;
            }
        }
        Format::Json => {
            let mut report = serde_json::to_value(decision)?;
            report["findings"] = json!(hints.iter().map(output::notice_json).collect::<Vec<_>>());
            writeln!(out, "{report:#}")?;
        }
    }
    Ok(())
}
