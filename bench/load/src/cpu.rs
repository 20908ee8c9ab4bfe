//! Cores, and the time processes spend on them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Who runs where.
pub(crate) struct Cores {
    /// The gateway.
    pub(crate) subject: usize,
    /// Load and backend.
    pub(crate) load: usize,
}

/// The first two cores this program may use.
pub(crate) fn cores() -> Result<Cores> {
    let allowed = sched_getaffinity(None).context("asking for the cores that may be used")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let (Some(subject), Some(load)) = (cores.next(), cores.next()) else {
        anyhow::bail!("two cores are needed: one for the gateway, one for the load");
    };
    Ok(Cores { subject, load })
}

/// Keeps this thread, and every thread and process it starts from now on, on one core.
pub(crate) fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("keeping to core {core}"))
}

/// Nanoseconds that a process and its children have run, user and system time together.
///
/// From the scheduler's own count (`/proc/PID/task/*/schedstat`): the usual clock ticks of 10 ms are too coarse.
pub(crate) fn nanoseconds(process: u32) -> Result<u64> {
    let mut total = 0;
    let mut tasks = 0;
    for entry in fs::read_dir(format!("/proc/{process}/task")).context("the subject has ended")? {
        let task = entry?.path();
        // A thread may end between the listing and this.
        let Ok(counts) = fs::read_to_string(task.join("schedstat")) else { continue };
        total += counts.split(' ').next().unwrap_or_default().parse::<u64>().context("schedstat")?;
        tasks += 1;
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_ascii_whitespace() {
            total += nanoseconds(child.parse().context("children")?)?;
        }
    }
    ensure!(tasks > 0, "the subject has ended");
    Ok(total)
}
