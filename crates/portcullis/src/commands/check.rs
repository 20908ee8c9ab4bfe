//! `check`: compiles offline and prints what is wrong.

use std::io::{Write as _, stdout};

use portcullis_api::Severity;
use portcullis_control::{Notice, notice};
use serde_json::json;

use super::offline::{self, Compiled};
use crate::Exit;
use crate::args::CheckArgs;
use crate::output::{self, Format, Style};
use crate::table::Table;

/// Runs the command.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let mut compiled = offline::load(&args.paths, &args.workload.environment())?;
    let notices = findings(&mut compiled, args.severity.severity());
    let table = args.routes.then(|| Table::of(&compiled.snapshot));
    let mut out = stdout().lock();
    match args.output {
        Format::Human => {
            let style = Style::of_stdout();
            if let Some(table) = &table {
                writeln!(out, "{}", table.shown(style))?;
            }
            output::notices(&mut out, &notices, style)?;
            writeln!(out, "{}", summary(&compiled, &notices, style))?;
        }
        Format::Json => {
            let findings: Vec<_> = notices.iter().map(output::notice_json).collect();
            let mut report =
                json!({ "files": compiled.files, "objects": compiled.objects, "findings": findings });
            if let Some(table) = &table {
                report["listeners"] = serde_json::to_value(&table.listeners)?;
            }
            writeln!(out, "{report:#}")?;
        }
    }
    let fails = notices.iter().any(|notice| notice.severity >= args.fail_on.severity());
    Ok(if fails { Exit::Findings } else { Exit::Fine })
}

/// What there is to say from `least` on, the worst first.
///
/// Of one object alone, only the verdict of the API server and Istio's webhook is more than a hint: its Gateway,
/// services and Secrets are somewhere else, and what this gateway would make of it depends on them.
fn findings(compiled: &mut Compiled, least: Severity) -> Vec<Notice> {
    let mut notices = std::mem::take(&mut compiled.notices);
    notices.retain(|notice| notice.severity >= least);
    if compiled.alone {
        notices.iter_mut().for_each(|notice| notice.severity = Severity::Info);
    }
    let verdicts = std::mem::take(&mut compiled.verdicts);
    notices.extend(verdicts.into_iter().filter(|notice| notice.severity >= least));
    notice::sort(&mut notices);
    notices
}

fn summary(compiled: &Compiled, notices: &[Notice], style: Style) -> String {
    let Compiled { files, objects, .. } = compiled;
    let read = format!("{} in {}", counted(*objects, "object"), counted(*files, "file"));
    if notices.is_empty() {
        return format!("{}: {read}, nothing found", style.green("ok"));
    }
    let count = |severity| notices.iter().filter(|notice: &&Notice| notice.severity == severity).count();
    let parts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "hint")];
    let parts =
        parts.into_iter().map(|(severity, noun)| (count(severity), noun)).filter(|(count, _)| *count > 0);
    let found = parts.map(|(count, noun)| counted(count, noun)).collect::<Vec<_>>().join(", ");
    format!("{}: {found} ({read})", style.red("found"))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
