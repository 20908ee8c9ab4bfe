//! The time processes spend on cores.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::tree;

/// Nanoseconds that a process and its children have run, user and system time together.
///
/// From the scheduler's own count (`/proc/PID/task/*/schedstat`): the usual clock ticks of 10 ms are too coarse.
pub fn nanoseconds(process: u32) -> Result<u64> {
    let mut total = 0;
    let mut tasks = 0;
    for process in tree(process) {
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for entry in entries {
            // A thread may end between the listing and this.
            let Ok(counts) = fs::read_to_string(entry?.path().join("schedstat")) else { continue };
            total += counts.split(' ').next().unwrap_or_default().parse::<u64>().context("schedstat")?;
            tasks += 1;
        }
    }
    ensure!(tasks > 0, "it has ended");
    Ok(total)
}
