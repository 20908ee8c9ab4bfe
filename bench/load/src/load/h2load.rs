//! Requests by h2load, which speaks HTTP/1.1 and HTTP/2 and costs little itself.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::measured;
use crate::figures::{Figures, Metric};
use crate::site::HOST;
use crate::subject::{Port, Subject};

/// Fewer requests than connections or streams are no load.
const LEAST: u64 = 100;

/// How it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct H2load {
    pub(crate) tls: bool,
    pub(crate) path: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// Bytes of the request's body.
    pub(crate) body: Option<usize>,
}

impl H2load {
    /// Sends so many requests through a subject.
    pub(super) fn run(&self, subject: &Subject, requests: u64) -> Result<Figures> {
        let (scheme, port) = if self.tls { ("https", Port::Tls) } else { ("http", Port::Plain) };
        let requests = requests.max(LEAST);
        let mut command = Command::new("h2load");
        command.args(self.arguments).args(["-n", &requests.to_string(), "-t", "1"]);
        let body = tempfile::NamedTempFile::new().context("a file for the body")?;
        if let Some(length) = self.body {
            fs::write(body.path(), message(length))?;
            command.arg("-d").arg(body.path());
        }
        command.arg(format!("--connect-to=127.0.0.1:{}", subject.port(port)));
        command.arg(format!("{scheme}://{HOST}{}", self.path));
        let run = || command.output().context("h2load cannot be started: install nghttp2-client");
        let (mut figures, said) = measured(subject, requests as f64, run)?;
        let text = String::from_utf8_lossy(&said.stdout);
        ensure!(
            said.status.success() && text.contains(&format!("{requests} 2xx, 0 3xx, 0 4xx, 0 5xx")),
            "not every request was answered with 200:\n{text}{}",
            String::from_utf8_lossy(&said.stderr)
        );
        // Its own clock leaves out its start.
        figures.insert(Metric::PerSecond, rate(&text).context("h2load's rate")?);
        Ok(figures)
    }
}

/// A body of this length that is a message of gRPC, too: not compressed, its length in front.
fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(length - 5).unwrap_or(0).to_be_bytes());
    message.resize(length, b'x');
    message
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

    #[test]
    fn a_message_tells_its_length() {
        assert_eq!(message(105)[..5], [0, 0, 0, 0, 100]);
        assert_eq!(message(105).len(), 105);
    }
}
