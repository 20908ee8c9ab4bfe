//! Tables in Markdown.

use std::fmt::{self, Write as _};

use super::{Report, Row};
use crate::figures::{Metric, Spread};
use crate::workload::Workload;

/// Columns of a workload's own table behind the chief figure, those of them that it has.
const OTHERS: [Metric; 5] =
    [Metric::PerSecond, Metric::P50Us, Metric::P99Us, Metric::P999Us, Metric::CpuPercent];

/// What is no proxy, and cannot win.
const FLOOR: &str = "forwarder";

impl Report {
    /// One line for where it comes from.
    pub(super) fn origin(&self) -> String {
        self.run.origin(&format!("{} idle connections, ", self.connections))
    }

    /// A row for each workload, a column for each subject; the least of a row is bold, the floor left aside.
    pub(super) fn overview(&self) -> String {
        let names: Vec<&str> = self.run.subjects().collect();
        let mut out = self.run.columns();
        for workload in self.workloads() {
            let proxies = self.of(workload.name).into_iter().filter(|row| row.subject != FLOOR);
            let medians = proxies.filter_map(|row| row.spread(workload.chief));
            let least = medians.map(|spread| spread.median).fold(f64::INFINITY, f64::min);
            let cells = names.iter().map(|name| cell(self.find(workload.name, name), workload, least));
            let cells: Vec<String> = cells.collect();
            let _ = write!(out, "\n| {} | {} |", measure(workload), cells.join(" | "));
        }
        out
    }

    /// Everything: origin, overview, a table for each workload.
    pub(super) fn page(&self) -> String {
        let mut out =
            format!("# Results\n\n{}\n{}.\n\n{}\n", self.origin(), self.run.versions(), self.overview());
        for workload in self.workloads() {
            let _ =
                write!(out, "\n## {}\n\n{}.\n\n{}\n", workload.name, workload.about, self.details(workload));
        }
        out
    }

    /// Medians, spreads and further figures of one workload.
    fn details(&self, workload: &Workload) -> String {
        let rows = self.of(workload.name);
        let shown = |metric: &&Metric| {
            **metric != workload.chief && rows.iter().any(|row| row.figures.contains_key(metric))
        };
        let others: Vec<Metric> = OTHERS.iter().filter(shown).copied().collect();
        let headings: String = others.iter().map(|metric| format!(" {} |", metric.heading())).collect();
        let mut out = format!("| | {} | lowest – highest | to the first |{headings}", measured(workload));
        let _ = write!(out, "\n|---|---:|---:|---:|{}", "---:|".repeat(others.len()));
        let first = rows.first().and_then(|row| row.spread(workload.chief)).map(|spread| spread.median);
        for row in self.rows.iter().filter(|row| row.workload == workload.name) {
            out.push_str(&detail(row, workload, first, &others));
        }
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.page())
    }
}

fn cell(row: Option<&Row>, workload: &Workload, least: f64) -> String {
    match row {
        None => String::new(),
        Some(row) if row.failed.is_some() => "failed".to_owned(),
        Some(row) => match row.spread(workload.chief) {
            None => String::new(),
            Some(spread) if spread.median <= least && row.subject != FLOOR => {
                format!("**{}**", chief(workload, spread.median))
            }
            Some(spread) => chief(workload, spread.median),
        },
    }
}

fn detail(row: &Row, workload: &Workload, first: Option<f64>, others: &[Metric]) -> String {
    let spread = row.spread(workload.chief).filter(|_| row.failed.is_none());
    let Some(Spread { lowest, median, highest }) = spread else {
        return format!("\n| {} | failed | | |{}", row.subject, " |".repeat(others.len()));
    };
    let shown = |value| chief(workload, value);
    let ratio =
        first.filter(|first| *first > 0.0).map_or(String::new(), |first| format!("{:.2} ×", median / first));
    let mut out = format!(
        "\n| {} | {} | {} – {} | {ratio} |",
        row.subject,
        shown(median),
        shown(lowest),
        shown(highest)
    );
    for &metric in others {
        let value = row.spread(metric).map_or(String::new(), |spread| number(metric, spread.median));
        let _ = write!(out, " {value} |");
    }
    out
}

/// A workload's name and what its numbers are.
fn measure(workload: &Workload) -> String {
    format!("{}, {}", workload.name, measured(workload))
}

/// `CPU µs a request`
pub(super) fn measured(workload: &Workload) -> String {
    match workload.chief {
        Metric::CpuUs if workload.unit == "GiB" => "CPU ms a GiB".to_owned(),
        Metric::CpuUs => format!("CPU µs a {}", workload.unit),
        Metric::MemoryKib => format!("KiB a {}", workload.unit),
        metric => metric.heading().to_owned(),
    }
}

/// A workload's chief figure as a person reads it, in the unit that [`measured`] names.
pub(super) fn chief(workload: &Workload, value: f64) -> String {
    let scale = if workload.unit == "GiB" { 1e-3 } else { 1.0 };
    number(workload.chief, value * scale)
}

/// As a person reads it: three digits that matter.
fn number(metric: Metric, value: f64) -> String {
    match metric {
        Metric::CpuPercent => format!("{value:.2} %"),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
