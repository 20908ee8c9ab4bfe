//! h2spec, the HTTP/2 conformance suite, against the built gateway.
//!
//! It speaks TLS, where ALPN says that HTTP/2 follows: in plaintext the gateway serves HTTP/1 as well, and
//! an invalid preface is a bad HTTP/1 request there. Requests go on to a backend that answers only when a
//! request is complete, so that no answer comes before what h2spec provokes.

mod backend;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, run, run_lines, step};
use crate::setup;
use crate::tally::Tally;
use crate::workspace::{Workspace, root};

/// How long the gateway may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked whether it does.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long h2spec waits for each answer, seconds.
const ANSWER_SECONDS: &str = "3";

/// The command: fails when a rule is broken.
pub(crate) fn command() -> Result<()> {
    let tally = run_suite()?;
    println!("\n{tally}");
    if tally.failed > 0 {
        bail!("{} of h2spec's tests failed", tally.failed);
    }
    Ok(())
}

/// Starts the gateway on one port and lets h2spec ask all it has, the strict tests included.
pub(crate) fn run_suite() -> Result<Tally> {
    step("h2spec");
    let h2spec = setup::h2spec()?;
    let workspace = Workspace::load()?;
    run(cargo().args(["build", "--release", "--package", "portcullis"]).current_dir(root()))?;

    let gateway = Gateway::start(&workspace.target)?;
    let mut tally = Tally::default();
    let mut command = Command::new(h2spec);
    command.args(["--tls", "--insecure", "--strict", "--timeout", ANSWER_SECONDS]);
    command.args(["--port", &gateway.port.to_string()]);
    run_lines(&mut command, |line| {
        if let Some(counted) = of_h2spec(line) {
            tally = counted;
        }
    })?;
    if tally == Tally::default() {
        bail!("h2spec did not come to its end");
    }
    Ok(tally)
}

/// Reads h2spec's closing line: `147 tests, 145 passed, 1 skipped, 1 failed`.
fn of_h2spec(line: &str) -> Option<Tally> {
    let (_, counts) = line.split_once(" tests, ")?;
    let mut tally = Tally::default();
    for part in counts.split(", ") {
        let (count, what) = part.split_once(' ')?;
        let count = count.parse().ok()?;
        match what {
            "passed" => tally.passed = count,
            "skipped" => tally.skipped = count,
            "failed" => tally.failed = count,
            _ => return None,
        }
    }
    Some(tally)
}

/// A running gateway that answers every request itself; stopped when dropped.
struct Gateway {
    child: Child,
    port: u16,
}

impl Gateway {
    fn start(target: &Path) -> Result<Gateway> {
        let folder = target.join("h2spec");
        let config = folder.join("config");
        fs::create_dir_all(&config).with_context(|| format!("creating {}", config.display()))?;
        write_config(&config, backend::start()?)?;
        let log = fs::File::create(folder.join("gateway.log")).context("creating the gateway's log")?;
        let port = free_port()?;
        let mut command = Command::new(target.join("release/portcullis"));
        command
            .args(["run", "--workers", "1", "--port-map", &format!("443:{port}"), "--config"])
            .arg(&config);
        for own in ["--admin", "--metrics", "--stats", "--health"] {
            command.args([own, "off"]);
        }
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().context("sharing the gateway's log")?)
            .stdout(log)
            .spawn()
            .context("starting the gateway")?;
        let mut gateway = Gateway { child, port };
        gateway.await_listening()?;
        Ok(gateway)
    }

    fn await_listening(&mut self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait().context("asking after the gateway")? {
                bail!(
                    "the gateway ended with {status}; its words are in the target folder, h2spec/gateway.log"
                );
            }
            if Instant::now() > end {
                bail!("the gateway does not listen after {START_LIMIT:?}");
            }
            thread::sleep(ASK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The resources of the suite, with the backend's port and a certificate of the recorded cases.
fn write_config(folder: &Path, backend: u16) -> Result<()> {
    let suite = root().join("tests/conformance");
    let read = |path: &str| fs::read_to_string(suite.join(path)).with_context(|| format!("reading {path}"));
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let config = read("h2spec/config.yaml")?.replace("BACKEND_PORT", &backend.to_string());
    let (certificate, key) = (read("istio/pki/backend.crt")?, read("istio/pki/backend.key")?);
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: h2spec, namespace: istio-system}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&certificate),
        indented(&key)
    );
    fs::write(folder.join("config.yaml"), config).context("writing the configuration")?;
    fs::write(folder.join("secret.yaml"), secret).context("writing the certificate")
}

/// A port that nobody holds now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_read() {
        let found = of_h2spec("147 tests, 145 passed, 1 skipped, 1 failed");
        assert_eq!(found, Some(Tally { passed: 145, failed: 1, skipped: 1 }));
        assert_eq!(of_h2spec("Finished in 2.1 seconds"), None);
    }
}
