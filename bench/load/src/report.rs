//! The figures as a table and as JSON.

use std::fmt;

use serde_json::json;

use crate::load::{Run, Workload};

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    workload: &'static str,
    subject: String,
    runs: Vec<Run>,
}

impl Report {
    /// Adds a run.
    pub(crate) fn add(&mut self, workload: &Workload, subject: &str, run: Run) {
        let same = |row: &&mut Row| row.workload == workload.name && row.subject == subject;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.runs.push(run),
            None => {
                self.rows.push(Row { workload: workload.name, subject: subject.to_owned(), runs: vec![run] });
            }
        }
    }

    /// Every single figure.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "workload": row.workload,
                    "subject": row.subject,
                    "cpu_us_per_request": row.runs.iter().map(|run| run.cpu_us).collect::<Vec<_>>(),
                    "requests_per_second": row.runs.iter().map(|run| run.rate).collect::<Vec<_>>(),
                })
            })
            .collect();
        format!("{:#}\n", json!(rows))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| load | gateway | CPU µs a request | lowest – highest | to the first | requests/s |"
        )?;
        write!(out, "|---|---|---:|---:|---:|---:|")?;
        let mut first = ("", f64::NAN);
        for row in &self.rows {
            let cpu = sorted(row.runs.iter().map(|run| run.cpu_us));
            let rate = sorted(row.runs.iter().map(|run| run.rate));
            let median = median(&cpu);
            if first.0 != row.workload {
                first = (row.workload, median);
            }
            write!(
                out,
                "\n| {} | {} | {median:.2} | {:.2} – {:.2} | {:+.1} % | {:.0} |",
                row.workload,
                row.subject,
                cpu.first().copied().unwrap_or(f64::NAN),
                cpu.last().copied().unwrap_or(f64::NAN),
                (median / first.1 - 1.0) * 100.0,
                self::median(&rate),
            )?;
        }
        Ok(())
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; not a number when there is none.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&sorted([3.0, 1.0, 2.0].into_iter())), 2.0);
        assert_eq!(median(&sorted([4.0, 1.0, 2.0, 3.0].into_iter())), 2.5);
        assert!(median(&[]).is_nan());
    }
}
