//! What work costs: CPU time, memory and latency of built gateways and of their peers, in turn under the same load.
//!
//! Every subject stands between the same load and the same backends, with one worker on a core of its own, JSON access
//! log and metrics on. Rounds go through all subjects one after the other, so that whatever else the machine does hits
//! each alike; the median of the rounds counts, and the spread is told. `bench/README.md` says how and why.

mod backend;
mod figures;
mod load;
pub mod machine;
mod report;
mod site;
mod subject;
mod workload;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::figures::Figures;
use crate::load::Amount;
use crate::machine::cores::{self, Cores, Pinned};
use crate::site::Site;
use crate::subject::{Ability, Subject};
use crate::workload::Workload;

pub use figures::{Metric, Spread};
pub use load::tls;
pub use report::{Bar, Places, Report, Run, compare, plot, redraw};
pub use subject::{Choice, end, last_lines};

/// What is measured, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The subjects, the first of which the others are compared with.
    pub choices: Vec<Choice>,
    /// Only the workloads whose name contains this.
    pub only: Option<String>,
    /// How often each subject is measured under each workload.
    pub rounds: u32,
    /// How long one measurement takes.
    pub time: Duration,
    /// Idle connections.
    pub connections: u64,
    /// Whether this was a short run, which the report tells.
    pub quick: bool,
    /// How the gateway was built, which the report tells, too.
    pub built: String,
}

/// Rounds of workloads whose subject is started anew each time: they differ little, and take long.
const FRESH_ROUNDS: u32 = 2;
/// The least and the most pieces of work of a measurement.
const PIECES: (f64, f64) = (8.0, 10_000_000.0);
/// Open files beside the idle connections. HAProxy lets in half as many clients as there may be files, since each may
/// need one to the backend.
const OTHER_FILES: u64 = 1_000;

/// Carries the plan out. What fails is in the report, and the rest goes on.
///
/// # Errors
/// When the stage cannot be set up: no second core, no workload of that name, no subject that starts.
pub fn run(plan: &Plan) -> Result<Report> {
    let workloads = workload::matching(plan.only.as_deref());
    ensure!(!workloads.is_empty(), "no workload has this name; there are {}", workload::names());
    cores::many_files()?;
    let plan = &Plan {
        connections: plan.connections.min(cores::open_files().saturating_sub(OTHER_FILES) / 2),
        ..plan.clone()
    };
    let report = Report::new(plan);
    // The load, and all that is started from here, stays off the subject's core.
    let cores = cores::cores()?;
    let _pinned = Pinned::to(cores.load)?;
    let site = Site::new(workloads.iter().any(|workload| workload.needs == Ability::Postgres))?;
    let mut bench = Bench { plan: plan.clone(), site, cores, running: BTreeMap::new(), report };
    bench.start()?;
    for workload in workloads {
        bench.measure(workload);
    }
    Ok(bench.report)
}

struct Bench {
    plan: Plan,
    site: Site,
    cores: Cores,
    /// Subjects by their place in the plan.
    running: BTreeMap<usize, Subject>,
    report: Report,
}

impl Bench {
    /// Starts every subject; one that cannot be started is left out, loudly, but for the first: the others are compared
    /// with it.
    fn start(&mut self) -> Result<()> {
        for (number, choice) in self.plan.choices.iter().enumerate() {
            match choice.start(&self.site, self.cores.subject) {
                Ok(subject) => {
                    self.report.run.add(choice);
                    self.running.insert(number, subject);
                }
                Err(error) if number == 0 => {
                    return Err(error).with_context(|| format!("{choice} does not start"));
                }
                Err(error) => eprintln!("!!! {choice} does not start and is left out: {error:#}"),
            }
        }
        ensure!(!self.running.is_empty(), "no subject starts");
        Ok(())
    }

    /// All rounds of one workload.
    fn measure(&mut self, workload: &'static Workload) {
        if workload.needs == Ability::Postgres && self.site.postgres.is_none() {
            eprintln!("!!! {} is left out: no PostgreSQL server is installed", workload.name);
            return;
        }
        // A whole run is long: those who wait see how far it is, and a log shows it, too.
        let watched = io::stderr().is_terminal();
        if !watched {
            eprintln!("{}", workload.name);
        }
        let mut amounts = self.amounts(workload);
        let rounds = match workload.work.wants_fresh() {
            true => self.plan.rounds.min(FRESH_ROUNDS),
            false => self.plan.rounds,
        };
        for round in 1..=rounds {
            if watched {
                eprint!("\r{:<24} round {round} of {rounds}", workload.name);
            }
            let able: Vec<(usize, Amount)> =
                amounts.iter().map(|(&number, &amount)| (number, amount)).collect();
            for (number, amount) in able {
                match self.once(number, workload, amount) {
                    Ok(figures) => self.report.add(workload, &self.plan.choices[number], &figures),
                    Err(error) => {
                        amounts.remove(&number);
                        self.fail(number, workload, &error);
                    }
                }
            }
        }
        if watched {
            eprintln!();
        }
        self.running.values().for_each(Subject::forget_logs);
    }

    /// How much each able subject is given: what it does in the plan's time, by a first run. Connections to the backend,
    /// allocator and branch predictors get used to the work meanwhile.
    fn amounts(&mut self, workload: &'static Workload) -> BTreeMap<usize, Amount> {
        let able = |number: &usize| self.plan.choices[*number].is_able(workload.needs);
        let able: Vec<usize> = self.running.keys().copied().filter(able).collect();
        let mut amounts = BTreeMap::new();
        for number in able {
            match self.amount(number, workload) {
                Ok(amount) => drop(amounts.insert(number, amount)),
                Err(error) => self.fail(number, workload, &error),
            }
        }
        amounts
    }

    fn amount(&self, number: usize, workload: &Workload) -> Result<Amount> {
        let Some(first) = workload.work.first() else {
            return Ok(match workload.work {
                load::Work::Idle { .. } => Amount::Pieces(self.plan.connections),
                _ => Amount::For(self.plan.time * 2),
            });
        };
        let begun = std::time::Instant::now();
        self.once(number, workload, Amount::Pieces(first))?;
        let rate = first as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let pieces = (rate * self.plan.time.as_secs_f64()).clamp(PIECES.0, PIECES.1);
        Ok(Amount::Pieces(pieces as u64))
    }

    fn once(&self, number: usize, workload: &Workload, amount: Amount) -> Result<Figures> {
        let choice = &self.plan.choices[number];
        if workload.work.wants_fresh() {
            let subject = choice.start(&self.site, self.cores.subject).context("starting it anew")?;
            return workload.work.run(&self.site, &subject, amount);
        }
        let subject = &self.running[&number];
        let run = workload.work.run(&self.site, subject, amount);
        run.map_err(|error| anyhow::anyhow!("{error:#}; it said:\n{}", subject.complaint()))
    }

    fn fail(&mut self, number: usize, workload: &'static Workload, error: &anyhow::Error) {
        let choice = &self.plan.choices[number];
        eprintln!("!!! {choice} fails under {}: {error:#}", workload.name);
        self.report.fail(workload, choice, &format!("{error:#}"));
    }
}
