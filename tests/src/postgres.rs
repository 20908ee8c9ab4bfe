//! Real PostgreSQL servers with TLS, and `psql` to talk to them.
//!
//! Each server has its own folder, port and name, and ends with its value.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::pki::Leaf;
use crate::process::{exit_within, poll, run, signal};

mod account;
mod installation;
mod psql;
#[cfg(test)]
mod tests;

use account::Account;
use installation::Installation;
pub use installation::Which;
pub use psql::Psql;

/// The one user of every server, a superuser; also the name of its database.
pub const USER: &str = "postgres";

/// The user's password.
pub const PASSWORD: &str = "for tests only";

/// A running server. Stopped, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Postgres {
    // Dropped in this order: nobody may write into a folder that is being removed.
    _process: Process,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server whose setting `cluster_name` is `name`, with TLS by this certificate.
    ///
    /// It listens on 127.0.0.1 only, takes sessions with and without TLS, 250 at a time, and knows one user,
    /// [`USER`], who must give [`PASSWORD`] (SCRAM-SHA-256). Its files are not synced to disk.
    ///
    /// `None`, with a word on standard error, where this server is not installed.
    ///
    /// # Panics
    ///
    /// When an installed server does not come up, with what it said.
    pub fn start(which: Which, name: &str, certificate: &Leaf) -> Option<Self> {
        let Some(installation) = Installation::find(which) else {
            // Past the macros, whose output the test runner hides from a test that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {}", which.absence());
            return None;
        };
        match Self::try_start(&installation, name, certificate) {
            Ok(server) => Some(server),
            Err(error) => panic!("{which:?} PostgreSQL did not start: {error:?}"),
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    fn try_start(installation: &Installation, name: &str, certificate: &Leaf) -> Result<Self> {
        let account = Account::find()?;
        let folder = TempDir::with_prefix("portcullis-postgres-")?;
        account.own(folder.path())?;
        let (certificate, key) = certificate.write(folder.path(), "server")?;
        account.own(&certificate)?;
        account.own(&key)?;
        init(&account, installation, folder.path())?;

        // Another program may take the port between the moment it is found and the moment it is used.
        for _ in 0..PORT_TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let file = fs::File::create(folder.path().join(LOG))?;
            let child = account
                .command(&installation.program("postgres"), folder.path())
                .arg("-D")
                .arg(folder.path().join(DATA))
                .args(settings(name, port, &certificate, &key))
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()
                .context("starting postgres")?;
            let mut process = Process(child);
            if process.wait_until_ready(port, folder.path())? {
                return Ok(Self { _process: process, port, folder });
            }
        }
        bail!("no free port in {PORT_TRIES} tries")
    }
}

/// Makes the data folder.
fn init(account: &Account, installation: &Installation, folder: &Path) -> Result<()> {
    let password = folder.join("password");
    fs::write(&password, PASSWORD)?;
    account.own(&password)?;
    let mut command = account.command(&installation.program("initdb"), folder);
    command.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]);
    command.arg("--no-sync").arg("--pwfile").arg(password).arg("-D").arg(folder.join(DATA));
    let finished = run(&mut command, INIT_LIMIT)?;
    ensure!(finished.status.success(), "initdb: {}{}", finished.stdout, finished.stderr);
    Ok(())
}

fn settings(name: &str, port: u16, certificate: &Path, key: &Path) -> Vec<String> {
    [
        format!("cluster_name={name}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
        "max_connections=250".to_owned(),
        "log_connections=on".to_owned(),
        "fsync=off".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
}

/// The server's first process; all others end with it.
#[derive(Debug)]
struct Process(Child);

impl Process {
    /// Whether the server takes sessions; `false` when it ended because another program has the port.
    fn wait_until_ready(&mut self, port: u16, folder: &Path) -> Result<bool> {
        let deadline = Instant::now() + START_LIMIT;
        let ready = poll(deadline, || match self.0.try_wait() {
            Ok(None) => takes_sessions(port).then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        });
        match ready {
            Some(true) => Ok(true),
            Some(false) if log(folder).contains("could not bind") => Ok(false),
            Some(false) => bail!("postgres ended:\n{}", log(folder)),
            None => bail!("postgres was not ready after {START_LIMIT:?}:\n{}", log(folder)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // QUIT is PostgreSQL's immediate shutdown: sessions are cut and shared memory is given back.
        let _ = signal(&self.0, Signal::QUIT);
        if !matches!(exit_within(&mut self.0, STOP_LIMIT), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Begins a session: a server that is still starting answers with an error, a ready one with a request to
/// authenticate (PostgreSQL documentation, "Message Flow").
fn takes_sessions(port: u16) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let parameters = format!("user\0{USER}\0\0");
        let len = u32::try_from(8 + parameters.len()).expect("a few bytes");
        stream.write_all(&[&len.to_be_bytes(), &[0, 3, 0, 0], parameters.as_bytes()].concat())?;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    ask().is_ok_and(|kind| kind == b'R')
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join(LOG)).unwrap_or_default()
}

const DATA: &str = "data";
const LOG: &str = "log";
const PORT_TRIES: usize = 5;
const INIT_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(10);
