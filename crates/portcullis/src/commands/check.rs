//! `check`: compiles offline and prints what is wrong.

use std::io::{Write as _, stdout};

use portcullis_api::Severity;
use portcullis_control::Notice;
use serde_json::json;

use super::offline::{self, Compiled};
use crate::Exit;
use crate::args::CheckArgs;
use crate::output::{self, Format, Style};

/// Runs the command.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let mut compiled = offline::load(&args.paths, &args.workload.environment())?;
    compiled.notices.retain(|notice| notice.severity >= args.severity.severity());
    let mut out = stdout().lock();
    match args.output {
        Format::Human => {
            let style = Style::of_stdout();
            output::notices(&mut out, &compiled.notices, style)?;
            writeln!(out, "{}", summary(&compiled, style))?;
        }
        Format::Json => {
            let findings: Vec<_> = compiled.notices.iter().map(output::notice_json).collect();
            let report =
                json!({ "files": compiled.files, "objects": compiled.objects, "findings": findings });
            writeln!(out, "{report:#}")?;
        }
    }
    Ok(if compiled.notices.is_empty() { Exit::Fine } else { Exit::Findings })
}

fn summary(compiled: &Compiled, style: Style) -> String {
    let Compiled { notices, files, objects, .. } = compiled;
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
