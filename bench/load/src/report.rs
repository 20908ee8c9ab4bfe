//! The figures as a table, as JSON, as plots, and beside those of another run.

mod baseline;
mod plot;
mod readme;
mod run;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::Plan;
use crate::figures::{Figures, Metric, Spread};
use crate::subject::Choice;
use crate::workload::{WORKLOADS, Workload};

pub use baseline::compare;
pub use plot::{Bar, plot};
pub use run::Run;

/// All that a run gave. This is what is kept as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What it was.
    #[serde(flatten)]
    pub(crate) run: Run,
    /// Idle connections, where there were some.
    pub(crate) connections: u64,
    pub(crate) rows: Vec<Row>,
}

/// Where results are kept, all below one folder.
#[derive(Debug, Clone)]
pub struct Places {
    /// The newest results.
    pub results: PathBuf,
    /// Those that are kept by host.
    pub baselines: PathBuf,
    /// The page that shows them.
    pub readme: PathBuf,
}

impl Places {
    /// Those of a tree.
    pub fn of(root: &Path) -> Self {
        Self {
            results: root.join("bench/results"),
            baselines: root.join("bench/baselines"),
            readme: root.join("README.md"),
        }
    }
}

/// What one subject did under one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) unit: String,
    pub(crate) subject: String,
    /// Every single figure, round by round.
    pub(crate) figures: BTreeMap<Metric, Vec<f64>>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

impl Row {
    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        self.figures.get(&metric).and_then(|values| Spread::of(values))
    }
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            run: Run::new(plan.only.as_deref(), plan.quick, &plan.built, plan.rounds),
            connections: plan.connections,
            rows: Vec::new(),
        }
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, workload: &Workload, choice: &Choice, figures: &Figures) {
        let row = self.row(workload, choice);
        for (&metric, &value) in figures {
            row.figures.entry(metric).or_default().push(value);
        }
    }

    /// Notes that there will be no more.
    pub(crate) fn fail(&mut self, workload: &Workload, choice: &Choice, why: &str) {
        self.row(workload, choice).failed = Some(why.to_owned());
    }

    fn row(&mut self, workload: &Workload, choice: &Choice) -> &mut Row {
        let same = |row: &Row| row.workload == workload.name && row.subject == choice.name;
        let at = self.rows.iter().position(same).unwrap_or_else(|| {
            self.rows.push(Row {
                workload: workload.name.to_owned(),
                unit: workload.unit.to_owned(),
                subject: choice.name.clone(),
                figures: BTreeMap::new(),
                failed: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// What failed, a line each.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.rows.iter().filter_map(|row| Some((row, row.failed.as_ref()?)));
        failed.map(|(row, why)| format!("{} failed under {}: {why}", row.subject, row.workload)).collect()
    }

    /// The rows of a workload that have figures, the failed ones left out.
    pub(crate) fn of(&self, workload: &str) -> Vec<&Row> {
        let whole = |row: &&Row| row.workload == workload && row.failed.is_none();
        self.rows.iter().filter(whole).collect()
    }

    /// The row of a subject under a workload, failed or not.
    pub(crate) fn find(&self, workload: &str, subject: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.workload == workload && row.subject == subject)
    }

    /// The median of one figure, when there is one.
    pub fn median(&self, workload: &str, subject: &str, metric: Metric) -> Option<f64> {
        Some(self.find(workload, subject)?.spread(metric)?.median)
    }

    /// The workloads that were measured, in the order of the table.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &'static Workload> {
        WORKLOADS.iter().filter(|workload| self.rows.iter().any(|row| row.workload == workload.name))
    }

    /// Reads one that was kept.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    }

    fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes everything: JSON always, table, plots and README when all workloads were measured, so that what they show
    /// is of one run; with `keep`, the JSON also as a baseline.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, places: &Places, keep: bool) -> Result<()> {
        fs::create_dir_all(&places.results).context("the folder for results")?;
        let name = self.run.only.as_deref().unwrap_or("all");
        write(&places.results.join(format!("{name}.json")), &self.json()?)?;
        if keep {
            let folder = places.baselines.join(self.run.host.slug());
            fs::create_dir_all(&folder).context("the folder for baselines")?;
            let file = format!("{}-{}-{name}.json", self.run.day(), self.run.commit);
            write(&folder.join(file), &self.json()?)?;
        }
        if self.run.only.is_some() {
            return Ok(());
        }
        self.show(places)
    }

    /// Writes table, plots and README.
    fn show(&self, places: &Places) -> Result<()> {
        write(&places.results.join("table.md"), &self.page())?;
        for workload in self.workloads() {
            write(&places.results.join(format!("{}.svg", workload.name)), &plot::svg(self, workload))?;
        }
        readme::refresh(&places.readme, self)
    }
}

/// Writes table, plots and README anew from the newest whole results, as when these are told in other words.
///
/// # Errors
/// When there are none, or a file cannot be written.
pub fn redraw(places: &Places) -> Result<()> {
    Report::read(&places.results.join("all.json"))?.show(places)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
