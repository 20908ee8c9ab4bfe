//! What is measured: a proxy between the load and the backends, with one worker on a core of its own.

mod peers;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use portcullis_tests::gateway::Held;
use portcullis_tests::process::{exit_within, poll, signal};
use rustix::process::Signal;

use crate::load::client;
use crate::machine::host::said;
use crate::site::Site;
use peers::{Peer, Version};
use template::Values;

pub(crate) use peers::Ability;

/// How long a subject may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What was asked for on the command line: `NAME=PROGRAM`. A name that is no peer's is a build of the gateway.
#[derive(Debug, Clone)]
pub struct Choice {
    /// As printed.
    pub name: String,
    program: PathBuf,
    peer: &'static Peer,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, program) = text.split_once('=').ok_or("not of the form NAME=PROGRAM")?;
        Ok(Self { name: name.to_owned(), program: program.into(), peer: Peer::of(name) })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

impl Choice {
    /// What is started.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether it can do work that takes this ability.
    pub(crate) fn is_able(&self, ability: Ability) -> bool {
        self.peer.able.contains(&ability)
    }

    /// Its version, in digits and dots; nothing when it does not say.
    pub fn version(&self) -> String {
        let text = match self.peer.version {
            Version::Says(arguments) => said(&self.program.to_string_lossy(), arguments),
            Version::Known(version) => version(),
        };
        let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
        words.into_iter().find(|word| word.matches('.').count() >= 2).unwrap_or_default().to_owned()
    }

    /// Starts it on one core and waits until it listens.
    pub(crate) fn start(&self, site: &Site, core: usize) -> Result<Subject> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", self.name))
            .tempdir_in(site.folder.path())
            .context("a folder")?;
        let ports: BTreeMap<Port, Held> = Port::ALL.into_iter().map(|port| (port, Held::new())).collect();
        let values = Values::new(site, folder.path(), &ports);
        for (leaf, stem) in [(&site.ecdsa, "ecdsa"), (&site.rsa, "rsa")] {
            leaf.write(folder.path(), stem)?;
            let both = format!("{}{}", leaf.certificate_pem, leaf.key_pem);
            fs::write(folder.path().join(format!("{stem}.pem")), both)?;
        }
        for (file, text) in self.peer.files {
            let file = folder.path().join(file);
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(file, values.fill(text))?;
        }
        let mut command = self.command(core, &values);
        // Appended to, so that what was written can be cut off meanwhile.
        let log = |file: &str| {
            let options = File::options().create(true).append(true).clone();
            options.open(folder.path().join(file)).context("a file for what it says")
        };
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log("stdout")?).stderr(log("stderr")?);
        let child = command.spawn().context("taskset (util-linux) cannot be started")?;
        let subject = Subject { ports, child, folder };
        for ability in self.peer.able {
            subject.await_listening(ability.ports())?;
        }
        subject.await_serving()?;
        Ok(subject)
    }

    fn command(&self, core: usize, values: &Values) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]).arg(&self.program);
        command.args(self.peer.arguments.iter().map(|argument| values.fill(argument)));
        // Settings of whoever runs the bench would be measured, too.
        let settings =
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTCULLIS_"));
        for (name, _) in settings {
            command.env_remove(name);
        }
        for (name, value) in self.peer.environment {
            command.env(name, values.fill(value));
        }
        command
    }
}

/// The ports of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    /// HTTP/1.1 in clear.
    Plain,
    /// TLS with the certificate for ECDSA.
    Tls,
    /// TLS with the certificate for RSA.
    Rsa,
    /// TLS that passes through.
    Pass,
    /// PostgreSQL.
    Postgres,
    /// Metrics.
    Admin,
}

impl Port {
    const ALL: [Self; 6] = [Self::Plain, Self::Tls, Self::Rsa, Self::Pass, Self::Postgres, Self::Admin];
}

/// A running subject; ends when dropped, and its folder with it.
pub(crate) struct Subject {
    ports: BTreeMap<Port, Held>,
    child: Child,
    folder: tempfile::TempDir,
}

impl Subject {
    /// The process whose time and memory count, with its children.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The number of a port.
    pub(crate) fn port(&self, port: Port) -> u16 {
        self.ports[&port].port
    }

    /// Where a port listens.
    pub(crate) fn address(&self, port: Port) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(port)).into()
    }

    /// The end of what it has said: why something failed.
    pub(crate) fn complaint(&self) -> String {
        let text = |file: &str| fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        let said: String =
            ["stderr", "error.log", "caddy.log", "traefik.log"].iter().map(|file| text(file)).collect();
        last_lines(&said)
    }

    /// Empties its logs: a disk is not endless.
    pub(crate) fn forget_logs(&self) {
        for file in ["stdout", "access.log", "stream.log", "tcp.log"] {
            if let Ok(file) = File::options().write(true).open(self.folder.path().join(file)) {
                // A log that stays costs nothing but space.
                let _ = file.set_len(0);
            }
        }
    }

    /// Some listen before they have read their routes.
    fn await_serving(&self) -> Result<()> {
        let serves = || client::get(self.address(Port::Plain)).ok();
        match poll(Instant::now() + START_LIMIT, serves) {
            Some(()) => Ok(()),
            None => bail!("it does not answer; it said:\n{}", self.complaint()),
        }
    }

    fn await_listening(&self, ports: &[Port]) -> Result<()> {
        for &port in ports {
            let listens = || TcpStream::connect(self.address(port)).ok();
            if poll(Instant::now() + START_LIMIT, listens).is_none() {
                bail!("{port:?} does not listen; it said:\n{}", self.complaint());
            }
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a subject to end, and ends it when it does not: masters end their workers only when asked.
pub fn end(child: &mut Child) {
    let _ = signal(child, Signal::TERM);
    let _ = exit_within(child, END_LIMIT);
    let _ = child.kill();
    let _ = child.wait();
}

/// Lines of what a subject said that are shown, and how much of each.
const COMPLAINT: usize = 4;
const COMPLAINT_LINE: usize = 240;

/// The end of what a subject has said, cut down to what is worth showing.
pub fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let last = &lines[lines.len().saturating_sub(COMPLAINT)..];
    let short = last.iter().map(|line| line.chars().take(COMPLAINT_LINE).collect());
    short.collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_peer_s_is_a_build() {
        let choice = |text: &str| text.parse::<Choice>().unwrap();
        assert!(choice("nginx=/usr/sbin/nginx").is_able(Ability::Http));
        assert!(choice("build-1=target/dist/portcullis").is_able(Ability::Postgres));
        assert!(!choice("caddy=x").is_able(Ability::Pass));
        assert!("nginx".parse::<Choice>().is_err());
    }
}
