//! The newest results beside those that were kept for the same host.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use super::table::{chief, measured};
use super::{Places, Report};

/// Says what has moved beyond the spread of both runs since the newest baseline of the host.
///
/// # Errors
/// When there are no results, or they cannot be read.
pub fn compare(places: &Places) -> Result<String> {
    let mut found = files(&places.results);
    // Other benches keep theirs in the same folder.
    found.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("scale")));
    let newest = found.pop().context("no results: run `cargo xtask bench` first")?;
    let new = Report::read(&newest)?;
    let mut kept = Vec::new();
    for file in files(&places.baselines.join(new.run.host.slug())) {
        kept.push(Report::read(&file)?);
    }
    kept.retain(|kept| kept.run.only == new.run.only || kept.run.only.is_none());
    // Not older results beside themselves, if there is something else.
    kept.sort_by(|one, other| one.run.date.cmp(&other.run.date));
    let Some(old) = kept.iter().rfind(|kept| kept.run.date != new.run.date) else {
        return Ok(format!("There is no other baseline for this host ({}).", new.run.host.slug()));
    };
    Ok(moved(old, &new))
}

/// The JSON files of a folder, the one written last at the end.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

fn moved(old: &Report, new: &Report) -> String {
    let mut out = format!(
        "From {} ({}) to {} ({}); a line for each median that moved beyond the spread of both:",
        old.run.commit, old.run.date, new.run.commit, new.run.date
    );
    let mut lines = 0;
    for workload in new.workloads() {
        for row in new.of(workload.name) {
            let before = old.find(workload.name, &row.subject).filter(|row| row.failed.is_none());
            let before = before.and_then(|row| row.spread(workload.chief));
            let (Some(before), Some(after)) = (before, row.spread(workload.chief)) else { continue };
            if before.is_apart(&after) {
                lines += 1;
                let shown = |value| chief(workload, value);
                let percent = (after.median / before.median - 1.0) * 100.0;
                let _ = write!(
                    out,
                    "\n{:<18} {:<11} {:>8} -> {:>8} {} ({percent:+.1} %)",
                    workload.name,
                    row.subject,
                    shown(before.median),
                    shown(after.median),
                    measured(workload)
                );
            }
        }
    }
    if lines == 0 {
        out.push_str("\nnothing");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Metric;
    use crate::report::Row;

    fn report(values: &[f64]) -> Report {
        let row = Row {
            workload: "http1".to_owned(),
            unit: "request".to_owned(),
            subject: "nginx".to_owned(),
            figures: [(Metric::CpuUs, values.to_vec())].into(),
            failed: None,
        };
        let plan = crate::Plan {
            choices: Vec::new(),
            only: None,
            rounds: 2,
            time: std::time::Duration::ZERO,
            connections: 0,
            quick: true,
            built: String::new(),
        };
        Report { rows: vec![row], ..Report::new(&plan) }
    }

    #[test]
    fn only_what_moved_is_told() {
        let (old, same, less) = (report(&[10.0, 12.0]), report(&[11.0, 13.0]), report(&[5.0, 6.0]));
        assert!(moved(&old, &same).ends_with("nothing"));
        assert!(moved(&old, &less).contains("(-50.0 %)"), "{}", moved(&old, &less));
    }

    #[test]
    fn results_of_other_benches_are_not_compared() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::of(root.path());
        let mut old = report(&[1.5]);
        old.run.date = "2026-01-02T03:04:05Z".to_owned();
        let folder = places.baselines.join(old.run.host.slug());
        for (folder, name, text) in [
            (&folder, "old.json", old.json().unwrap()),
            (&places.results, "all.json", report(&[3.0]).json().unwrap()),
            (&places.results, "scale.json", "{}".to_owned()),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        let said = compare(&places).unwrap();
        assert!(said.contains("(+100.0 %)"), "{said}");
    }

    #[test]
    fn what_is_kept_reads_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let kept = report(&[1.5]);
        fs::write(&file, kept.json().unwrap()).unwrap();
        assert_eq!(Report::read(&file).unwrap().rows[0].figures, kept.rows[0].figures);
    }
}
