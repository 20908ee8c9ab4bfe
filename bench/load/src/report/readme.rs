//! The part of README.md that shows the newest whole run.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Report;

/// The part stands between these.
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
/// The plots that are shown beside the table.
const SHOWN: [&str; 6] =
    ["http1", "https2", "tls-new-ecdsa", "passthrough-bulk", "postgres-connect", "idle-tls"];

/// Writes it anew.
pub(super) fn refresh(file: &Path, report: &Report) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no {BEGIN} in README.md"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END} in README.md"))?;
    ensure!(!after.contains(BEGIN), "{BEGIN} stands twice in README.md");
    let text = format!("{before}{BEGIN}\n{}\n{END}{after}", part(report));
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn part(report: &Report) -> String {
    let measured: Vec<&str> = report.workloads().map(|workload| workload.name).collect();
    let plots: String = SHOWN
        .iter()
        .filter(|name| measured.contains(name))
        .map(|name| format!("\n![{name}](bench/results/{name}.svg)"))
        .collect();
    format!("{} {}.\n\n{}\n{plots}", report.origin(), report.run.versions(), report.overview())
}
