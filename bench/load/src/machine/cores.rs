//! Cores, files and timers: what this process allows itself and those it starts.

use std::thread;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The gateway.
    pub subject: usize,
    /// Load and backend.
    pub load: usize,
}

/// The first two cores this program may use.
pub fn cores() -> Result<Cores> {
    let allowed = sched_getaffinity(None).context("asking for the cores that may be used")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let (Some(subject), Some(load)) = (cores.next(), cores.next()) else {
        anyhow::bail!("two cores are needed: one for the gateway, one for the load");
    };
    Ok(Cores { subject, load })
}

/// Keeps this thread, and every thread and process it starts from now on, on one core, as long as this lives.
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// From now on.
    pub fn to(core: usize) -> Result<Self> {
        let before = sched_getaffinity(None).context("asking for the cores that may be used")?;
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).with_context(|| format!("keeping to core {core}"))?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// As many open files as the system lets this process and its children have: thousands of connections are theirs.
pub fn many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("raising the number of open files")
}

/// Open files that this process and its children may have.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Runs `work` on threads, one for each number below `count`, and gives what each came to, or what went wrong first.
pub fn together<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread of the load panicked")))
            .collect()
    })
}
