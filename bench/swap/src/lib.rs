//! The whole routing state replaced many times a second under load of every kind, and what went wrong.
//!
//! [`run`] starts echo backends and a [`portcullis_dataplane::Dataplane`] in this process, puts clients of every
//! protocol to work on it, and then publishes generation after generation: each has other routes, another
//! certificate, other endpoints, and opens or closes a port. The configuration goes through the compiler and the
//! snapshot cell as it does in the binary; only the files are left out, whose changes are gathered for some
//! milliseconds before they count.
//!
//! A [`Report`] says what was done and how long it took; [`Report::violations`] is empty when no request failed,
//! no connection was closed, no port bound again, memory was flat and every request saw one generation.

mod backend;
mod client;
mod configuration;
mod histogram;
mod load;
mod memory;
mod report;
mod rig;
mod sockets;
mod tally;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use backend::Backends;
use configuration::Configuration;
use load::Load;
pub use report::Report;
use rig::Rig;
use sockets::Listening;
use tally::{Phase, Tally};

/// How long and how fast.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Load without swaps first, for comparison.
    pub still: Duration,
    /// Load with swaps.
    pub swapping: Duration,
    /// Swaps a second.
    pub rate: u32,
    /// Worker threads of the data plane.
    pub workers: usize,
}

impl Plan {
    /// As fast as is promised: a hundred swaps a second.
    pub const RATE: u32 = 100;
}

/// Threads of clients and backends.
const CLIENT_THREADS: usize = 2;
/// Memory is looked at after each of so many parts: it may still rise during the first, in which the last of the
/// idle connections are opened.
const PARTS: u32 = 4;
/// Looks at memory in each part.
const LOOKS: u32 = 5;
/// Swaps before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// The longest that clients and backends may take to go when the run is over.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Runs the plan.
///
/// # Errors
/// When the stage cannot be set up: no port, no thread, a configuration that is not served, workers that do not
/// follow. What else goes wrong is in the report.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CLIENT_THREADS)
        .enable_all()
        .build()
        .context("no runtime for clients and backends")?;
    let backends = runtime.block_on(Backends::start())?;
    let mut rig = Rig::start(plan.workers, Configuration::new(&backends)?)?;
    let ports = rig.configuration().lasting_ports();
    let tally = Tally::new();
    let load = Load::start(&runtime, rig.configuration(), &backends, &tally)?;

    // Caches fill, pools open, certificates are met once: none of that is growth.
    rig.swap_for(WARM_UP, plan.rate)?;
    tally.enter(Phase::Still);
    rig.rest(plan.still);
    let before = Listening::of(&ports)?;
    rig.forget_times();
    tally.enter(Phase::Swapping);
    let begun = Instant::now();
    let (mut swaps, mut memory) = (0, vec![memory::resident()?]);
    for _ in 0..PARTS {
        // The least of several looks: what is in use for a moment is no growth, a leak never goes away.
        let mut least = u64::MAX;
        for _ in 0..LOOKS {
            swaps += rig.swap_for(plan.swapping / (PARTS * LOOKS), plan.rate)?;
            least = least.min(memory::resident()?);
        }
        memory.push(least);
    }
    let took = begun.elapsed();
    tally.enter(Phase::Ending);
    let snapshots_alive = rig.await_release(report::MAX_SNAPSHOTS);
    let after = Listening::of(&ports)?;

    load.finish(&runtime);
    let stopped = rig.stop();
    let postgres = backends.postgres.is_some();
    drop(backends);
    runtime.shutdown_timeout(END_LIMIT);
    Ok(Report {
        workers: plan.workers,
        swaps,
        took,
        kinds: tally.kinds(),
        compile: stopped.times.compile,
        applied: stopped.times.applied,
        sockets: after.count(),
        same_sockets: before == after,
        expected_sockets: ports.len() * plan.workers,
        memory,
        snapshots_alive,
        log_lines: stopped.lines,
        flags: stopped.flags,
        ended: stopped.by_itself,
        postgres,
    })
}
