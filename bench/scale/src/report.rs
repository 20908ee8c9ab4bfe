//! The figures as JSON, and as a page of tables.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use portcullis_bench_load::{Bar, Choice, Run, Spread, plot};
use serde::Serialize;

use crate::Plan;
use crate::figures::{Figure, Figures};
use crate::scenario::{SCENARIOS, Scenario};

/// What stands at the top.
const OVERVIEW: [(&str, Figure); 14] = [
    ("hosts-10000", Figure::ReadyMs),
    ("hosts-10000", Figure::MemoryMib),
    ("hosts-10000", Figure::CpuUs),
    ("routes-10000", Figure::CpuUs),
    ("certs-10000", Figure::ReadyMs),
    ("certs-10000", Figure::MemoryMib),
    ("certs-10000", Figure::HandshakeUs),
    ("endpoints-50000", Figure::MemoryMib),
    ("probe-1000", Figure::MedianMs),
    ("probe-1000", Figure::P99Ms),
    ("probe-10000", Figure::MedianMs),
    ("traffic-1000", Figure::ChangingP99Us),
    ("traffic-1000", Figure::Resent),
    ("route-change", Figure::ChangingP99Us),
];
/// What is drawn, too.
const PLOTTED: [(&str, Figure); 4] = [
    ("hosts-10000", Figure::MemoryMib),
    ("routes-10000", Figure::CpuUs),
    ("certs-10000", Figure::HandshakeUs),
    ("probe-1000", Figure::MedianMs),
];

/// All that a run gave.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    run: Run,
    rows: Vec<Row>,
}

/// What one subject did in one scenario.
#[derive(Debug, Serialize)]
struct Row {
    scenario: &'static str,
    subject: String,
    /// Every single figure.
    figures: Figures,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut run = Run::new(plan.only.as_deref(), plan.quick, &plan.built, plan.rounds);
        plan.choices.iter().for_each(|choice| run.add(choice));
        Self { run, rows: Vec::new() }
    }

    /// Adds a round, or why there is none.
    pub(crate) fn add(&mut self, scenario: &Scenario, choice: &Choice, found: Result<Figures>) {
        let (name, subject) = (scenario.name, choice.name.clone());
        let at = self.position(scenario, choice).unwrap_or_else(|| {
            self.rows.push(Row { scenario: name, subject, figures: Figures::default(), failed: None });
            self.rows.len() - 1
        });
        match found {
            Ok(figures) => self.rows[at].figures.extend(figures),
            Err(error) => {
                eprintln!("!!! {choice} fails in {name}: {error:#}");
                self.rows[at].failed = Some(format!("{error:#}"));
            }
        }
    }

    /// Whether there is no use in going on.
    pub(crate) fn has_failed(&self, scenario: &Scenario, choice: &Choice) -> bool {
        self.position(scenario, choice).is_some_and(|at| self.rows[at].failed.is_some())
    }

    fn position(&self, scenario: &Scenario, choice: &Choice) -> Option<usize> {
        self.rows.iter().position(|row| row.scenario == scenario.name && row.subject == choice.name)
    }

    /// What failed, a line each, the subject first.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.rows.iter().filter_map(|row| Some((row, row.failed.as_ref()?)));
        failed.map(|(row, why)| format!("{} failed in {}: {why}", row.subject, row.scenario)).collect()
    }

    /// The median of a figure, when there is one.
    pub fn median(&self, scenario: &str, subject: &str, figure: Figure) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.scenario == scenario && row.subject == subject)?;
        Some(row.spread(figure)?.median)
    }

    /// Writes `scale.json` and `scale.md`, or `scale-NAME.json` where only some were measured.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        let results = root.join("bench/results");
        fs::create_dir_all(&results).context("the folder for results")?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let Some(only) = &self.run.only else {
            fs::write(results.join("scale.json"), json).context("scale.json")?;
            for (scenario, figure) in PLOTTED {
                let file = results.join(format!("scale-{scenario}.svg"));
                fs::write(file, self.plot(scenario, figure)).context("a plot")?;
            }
            return fs::write(results.join("scale.md"), self.to_string()).context("scale.md");
        };
        fs::write(results.join(format!("scale-{only}.json")), json).context("the results")
    }

    fn plot(&self, scenario: &str, figure: Figure) -> String {
        let bar = |row: &Row| {
            let spread = row.spread(figure)?;
            Some(Bar { name: row.subject.clone(), spread, label: figure.number(spread.median) })
        };
        let rows = self.rows.iter().filter(|row| row.scenario == scenario && row.failed.is_none());
        let about = SCENARIOS.iter().find(|known| known.name == scenario).map_or("", |known| known.about);
        let title = format!("{scenario}: {}", figure.heading());
        plot(&title, &format!("{about}; less is better"), &rows.filter_map(bar).collect::<Vec<_>>())
    }

    /// A column for each subject, a row for each figure that matters most.
    fn overview(&self) -> String {
        let names: Vec<&str> = self.run.subjects().collect();
        let mut out = self.run.columns();
        for (scenario, figure) in OVERVIEW {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.scenario == scenario).collect();
            if rows.is_empty() {
                continue;
            }
            let cell = |name: &&str| match rows.iter().find(|row| row.subject == *name) {
                Some(row) if row.failed.is_some() => "failed".to_owned(),
                Some(row) => row.spread(figure).map_or(String::new(), |found| figure.number(found.median)),
                None => String::new(),
            };
            let cells: Vec<String> = names.iter().map(cell).collect();
            let _ = write!(out, "\n| {scenario}, {} | {} |", figure.heading(), cells.join(" | "));
        }
        out
    }

    /// A column for each figure that somebody has, a row for each subject.
    fn table(&self, scenario: &Scenario) -> String {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.scenario == scenario.name).collect();
        let figures: BTreeSet<Figure> = rows.iter().flat_map(|row| row.figures.0.keys().copied()).collect();
        let figures: Vec<Figure> = figures.into_iter().filter(|figure| !figure.is_of_one()).collect();
        let headings: String = figures.iter().map(|figure| format!(" {} |", figure.heading())).collect();
        let mut out = format!("| |{headings}\n|---|{}", "---:|".repeat(figures.len()));
        for row in rows {
            let _ = write!(out, "\n| {} |", row.subject);
            match &row.failed {
                Some(_) => out.push_str(&" failed |".repeat(figures.len().max(1))),
                None => out.extend(figures.iter().map(|&figure| format!(" {} |", row.cell(figure)))),
            }
        }
        for row in self.rows.iter().filter(|row| row.scenario == scenario.name) {
            if let Some(why) = row.failed.as_deref().and_then(|why| why.lines().next()) {
                let _ = write!(out, "\n\n{}: {why}.", row.subject);
            }
        }
        out
    }
}

impl Row {
    fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.figures.0.get(&figure)?)
    }

    /// The median, how far its values are apart, and how many times that of one host it is.
    fn cell(&self, figure: Figure) -> String {
        let Some(Spread { lowest, median, highest }) = self.spread(figure) else { return String::new() };
        let mut cell = figure.number(median);
        let (low, high) = (figure.number(lowest), figure.number(highest));
        if low != high {
            let _ = write!(cell, " ({low} – {high})");
        }
        if let Some(one) = figure.of_one().and_then(|one| self.spread(one)).filter(|one| one.median > 0.0) {
            let _ = write!(cell, ", {:.2} × one", median / one.median);
        }
        cell
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, versions) = (self.run.origin(""), self.run.versions());
        write!(out, "# Large configurations\n\n{origin}\n{versions}.\n\n{}\n", self.overview())?;
        let measured = |scenario: &&Scenario| self.rows.iter().any(|row| row.scenario == scenario.name);
        for scenario in SCENARIOS.iter().filter(measured) {
            write!(out, "\n## {}\n\n{}.\n\n{}\n", scenario.name, scenario.about, self.table(scenario))?;
        }
        Ok(())
    }
}
