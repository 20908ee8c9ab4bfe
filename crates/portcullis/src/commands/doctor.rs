//! `doctor`: looks over a cluster for what keeps traffic from the gateway.
//!
//! [`gather`] asks the cluster and changes nothing; [`judge`] is a pure function of what was seen.

mod facts;
mod gather;
mod judge;
mod rules;

use std::io::{Write as _, stdout};
use std::time::Duration;

use anyhow::Context as _;
use portcullis_api::Severity;
use portcullis_control::{Notice, notice};
use serde_json::json;

use crate::Exit;
use crate::args::DoctorArgs;
use crate::output::{self, Format, Style};

/// No look takes longer; what hangs is told instead of waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looking = async { tokio::time::timeout(LIMIT, gather::gather(args)).await };
    let facts = runtime.block_on(looking).context("the cluster answers too slowly")??;
    let mut notices = judge::judge(&facts);
    notices.retain(|notice| notice.severity >= args.severity.severity());
    notice::sort(&mut notices);
    let mut out = stdout().lock();
    match args.output {
        Format::Human => {
            let style = Style::of_stdout();
            output::notices(&mut out, &notices, style)?;
            writeln!(out, "{}", summary(&notices, style))?;
        }
        Format::Json => {
            let findings: Vec<_> = notices.iter().map(output::notice_json).collect();
            let report = json!({ "namespace": args.namespace, "name": args.name, "findings": findings });
            writeln!(out, "{report:#}")?;
        }
    }
    let fails = notices.iter().any(|notice| notice.severity >= args.fail_on.severity());
    Ok(if fails { Exit::Findings } else { Exit::Fine })
}

fn summary(notices: &[Notice], style: Style) -> String {
    if notices.is_empty() {
        return format!("{}: nothing found", style.green("ok"));
    }
    let of = |severity| notices.iter().filter(|notice| notice.severity == severity).count();
    let parts = [(Severity::Error, "errors"), (Severity::Warning, "warnings"), (Severity::Info, "hints")];
    let counts = parts.map(|(severity, noun)| (of(severity), noun));
    let shown = counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| format!("{noun}: {count}"));
    format!("{}: {}", style.red("found"), shown.collect::<Vec<_>>().join(", "))
}
