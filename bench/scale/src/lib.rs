//! Large configurations and their changes: load time, memory, what a look-up costs, and how soon a change is served; of
//! built gateways and of their peers.
//!
//! Subjects are started one after the other, each alone on a core, and told the same configuration in their own dialects.
//! `bench/README.md` says how and why.

mod backend;
mod certificates;
mod client;
mod dialect;
mod estate;
mod figures;
mod interrupt;
mod measure;
mod report;
mod scenario;
mod subject;

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Result, anyhow, ensure};
use portcullis_bench_load::Choice;
use portcullis_bench_load::machine::cores::{self, Pinned};

use crate::backend::Backend;
use crate::certificates::Certificates;
use crate::figures::Figures;
use crate::measure::{Stage, cluster, endpoints, failover, load, probe, traffic};
use crate::scenario::{Scenario, Work};

pub use figures::Figure;
pub use measure::Extent;
pub use report::Report;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The subjects, the first of which the others are compared with.
    pub choices: Vec<Choice>,
    /// Only the scenarios whose name contains this.
    pub only: Option<String>,
    /// How often a large configuration is loaded. Changes are many in themselves, and made once.
    pub rounds: u32,
    /// How thoroughly.
    pub extent: Extent,
    /// Whether this was a short run, which the report tells.
    pub quick: bool,
    /// How the gateway was built, which the report tells, too.
    pub built: String,
}

/// Addresses on which the backend listens: the endpoints of a service.
const MEMBERS: u8 = 5;
/// What can do everything.
const GATEWAY: &str = "portcullis";

/// Carries the plan out. What fails is in the report, and the rest goes on.
///
/// # Errors
/// When the stage cannot be set up (no second core, no scenario of that name), or the bench was interrupted.
pub fn run(plan: &Plan) -> Result<Report> {
    let scenarios = scenario::matching(plan.only.as_deref(), plan.quick);
    ensure!(!scenarios.is_empty(), "no scenario has this name; there are {}", scenario::names());
    interrupt::listen()?;
    cores::many_files()?;
    let mut report = Report::new(plan);
    // The load, and all that is started from here, stays off the subject's core.
    let cores = cores::cores()?;
    let _pinned = Pinned::to(cores.load)?;
    let stage = Stage { cores, backend: Backend::start(MEMBERS)?, extent: plan.extent };
    for scenario in scenarios {
        let certificates = certificates(scenario)?;
        let rounds = if matches!(scenario.work, Work::Load(_)) { plan.rounds } else { 1 };
        for round in 1..=rounds {
            for choice in &plan.choices {
                let failed_before = report.has_failed(scenario, choice);
                if failed_before || scenario.work.is_ours() && choice.name != GATEWAY {
                    continue;
                }
                eprintln!("{} {round}/{rounds}: {choice}", scenario.name);
                let found = guarded(|| measure(&stage, choice, scenario, certificates.as_ref()));
                interrupt::look()?;
                report.add(scenario, choice, found);
            }
        }
    }
    Ok(report)
}

/// Those of a scenario, the same for all subjects.
fn certificates(scenario: &Scenario) -> Result<Option<Certificates>> {
    match scenario.work {
        Work::Load(shape) if shape.certificates() > 0 => Certificates::new(shape).map(Some),
        _ => Ok(None),
    }
}

fn measure(
    stage: &Stage,
    choice: &Choice,
    scenario: &Scenario,
    certificates: Option<&Certificates>,
) -> Result<Figures> {
    match scenario.work {
        Work::Load(shape) => load::run(stage, choice, shape, certificates),
        Work::Probe(hosts) => probe::run(stage, choice, hosts),
        Work::Traffic(hosts, changing) => traffic::run(stage, choice, hosts, changing),
        Work::Endpoints(hosts) => endpoints::run(stage, choice, hosts),
        Work::Failover(policy) => failover::run(stage, choice, policy),
        Work::Attached => cluster::attached(stage),
        Work::ClusterProbe => cluster::probe(stage),
        Work::ClusterScale => cluster::scale(stage),
    }
}

/// The helpers of tests panic where something is not as it should be; here that is one failed scenario.
fn guarded(work: impl FnOnce() -> Result<Figures>) -> Result<Figures> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("{}", text.unwrap_or("a panic without words")))
    })
}
