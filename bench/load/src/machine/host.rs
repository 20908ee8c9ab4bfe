//! What the figures were measured on, and of what.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The processor's name.
    pub cpu: String,
    /// How many of its cores this program may use.
    pub cores: usize,
    /// The system and its version.
    pub kernel: String,
    /// Memory of the machine, in MiB.
    pub memory_mib: u64,
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        let line_of = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = line_of("/proc/meminfo", "MemTotal");
        Self {
            cpu: line_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: said("uname", &["-sr"]),
            memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024,
        }
    }

    /// A name for files and folders: the same processor and number of cores are the same host.
    pub fn slug(&self) -> String {
        let letters = self.cpu.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let words: Vec<&str> = letters.split('-').filter(|word| !word.is_empty()).collect();
        format!("{}-{}-cores", words.join("-"), self.cores)
    }
}

/// The commit that is measured, marked when the tree differs from it.
pub fn commit() -> String {
    let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    format!("{}{}", said("git", &["rev-parse", "--short=10", "HEAD"]), if changed { "-changed" } else { "" })
}

/// How many processes have wanted to run in the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// The day and the minute, in UTC.
pub fn date() -> String {
    said("date", &["-u", "+%Y-%m-%dT%H:%MZ"])
}

/// What a program says on either stream, trimmed; nothing when it cannot be asked.
pub fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let stream = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&stream).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names_for_files() {
        let cpu = "Intel(R) Xeon(R) Processor".to_owned();
        let host = Host { cpu, cores: 2, kernel: String::new(), memory_mib: 1 };
        assert_eq!(host.slug(), "intel-r-xeon-r-processor-2-cores");
    }
}
