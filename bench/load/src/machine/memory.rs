//! The memory of processes.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::tree;

/// KiB of memory that a process and its children hold.
///
/// Pages that several processes share count for each in part (`Pss`), so that a master and its worker are not counted
/// twice; for a program of one process that is its resident size, less its part of the C library.
pub fn kibibytes(process: u32) -> Result<u64> {
    let mut total = 0;
    for process in tree(process) {
        let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else { continue };
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("Pss in smaps_rollup")?;
        total += line.trim().trim_end_matches(" kB").parse::<u64>().context("a number of KiB")?;
    }
    ensure!(total > 0, "it has ended");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        assert!(kibibytes(std::process::id()).unwrap() > 100);
    }
}
