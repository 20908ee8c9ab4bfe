//! The loads, and one run of one of them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cpu;
use crate::subject::{HOST, Subject};

/// One kind of load.
pub(crate) struct Workload {
    /// As printed and chosen.
    pub(crate) name: &'static str,
    /// Requests of a usual run: some seconds' worth.
    pub(crate) requests: u64,
    tls: bool,
    path: &'static str,
    arguments: &'static [&'static str],
}

/// All of them.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "http1",
        requests: 60_000,
        tls: false,
        path: "/small",
        arguments: &["--h1", "-c", "32"],
    },
    Workload {
        name: "http1-64k",
        requests: 20_000,
        tls: false,
        path: "/large",
        arguments: &["--h1", "-c", "32"],
    },
    Workload {
        name: "https1",
        requests: 60_000,
        tls: true,
        path: "/small",
        arguments: &["--h1", "-c", "32"],
    },
    Workload {
        name: "https2",
        requests: 60_000,
        tls: true,
        path: "/small",
        arguments: &["-c", "10", "-m", "10"],
    },
];

/// The names, for a message.
pub(crate) fn names() -> String {
    WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ")
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// CPU time of the subject a request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) rate: f64,
}

impl Run {
    /// Sends so many requests through a subject; anything but success is an error.
    pub(crate) fn of(workload: &Workload, subject: &Subject, requests: u64) -> Result<Self> {
        let (scheme, port) =
            if workload.tls { ("https", subject.tls_port()) } else { ("http", subject.plain_port()) };
        // Fewer requests than connections is no load.
        let requests = requests.max(100);
        let mut command = Command::new("h2load");
        command.args(workload.arguments).args(["-n", &requests.to_string(), "-t", "1"]);
        command.arg(format!("--connect-to=127.0.0.1:{port}"));
        command.arg(format!("{scheme}://{HOST}{}", workload.path));
        let before = cpu::nanoseconds(subject.process())?;
        let said = command.output().context("h2load cannot be started: install nghttp2-client")?;
        let spent = cpu::nanoseconds(subject.process())? - before;
        let text = String::from_utf8_lossy(&said.stdout);
        let succeeded = format!("{requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
        ensure!(
            said.status.success() && text.contains(&succeeded),
            "{} under {}: not every request was answered with 200:\n{text}{}",
            subject.name(),
            workload.name,
            String::from_utf8_lossy(&said.stderr)
        );
        Ok(Self { cpu_us: spent as f64 / 1e3 / requests as f64, rate: rate(&text).context("h2load's rate")? })
    }
}

/// `finished in 1.23s, 45678.90 req/s, 12.3MB/s`
fn rate(text: &str) -> Option<f64> {
    let (_, line) = text.split_once("finished in ")?;
    line.split(", ").find_map(|part| part.strip_suffix(" req/s"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        assert_eq!(rate("x\n\nfinished in 1.23s, 45678.90 req/s, 12.3MB/s\nrequests: 1"), Some(45678.9));
        assert_eq!(rate("nothing"), None);
    }
}
