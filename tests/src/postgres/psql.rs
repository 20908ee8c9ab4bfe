//! `psql`, the client that most people use.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::{PASSWORD, USER};
use crate::process::{Finished, Running, run};

/// How to call `psql`.
///
/// ```no_run
/// # fn example(port: u16, ca: &std::path::Path) -> anyhow::Result<()> {
/// use portcullis_tests::postgres::Psql;
/// let psql = Psql::new("db.test", port).ssl_mode("verify-full").root(ca);
/// assert_eq!(psql.run("select 1")?.stdout, "1\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Psql {
    parameters: Vec<(String, String)>,
}

impl Psql {
    /// As [`USER`], to the server that calls itself `host`, at a port of 127.0.0.1 (no resolver is asked).
    ///
    /// Gives up connecting after ten seconds.
    pub fn new(host: &str, port: u16) -> Self {
        let unset = Self { parameters: Vec::new() };
        unset
            .with("host", host)
            .with("hostaddr", "127.0.0.1")
            .with("port", &port.to_string())
            .with("user", USER)
            .with("password", PASSWORD)
            .with("dbname", USER)
            .with("connect_timeout", "10")
    }

    /// Sets the connection parameter `sslmode`.
    pub fn ssl_mode(self, mode: &str) -> Self {
        self.with("sslmode", mode)
    }

    /// Sets the root certificate's file, `sslrootcert`.
    pub fn root(self, file: &Path) -> Self {
        self.with("sslrootcert", &file.to_string_lossy())
    }

    /// Shows a client certificate.
    pub fn certificate(self, certificate: &Path, key: &Path) -> Self {
        self.with("sslcert", &certificate.to_string_lossy()).with("sslkey", &key.to_string_lossy())
    }

    /// Sets any connection parameter of libpq; the last one of a name counts.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.retain(|(present, _)| present != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs SQL and waits for its end, a minute at most. Results come bare: no header, no alignment.
    pub fn run(&self, sql: &str) -> Result<Finished> {
        run(self.command().args(["-c", sql]), LIMIT)
    }

    /// Starts SQL and leaves it running.
    pub fn spawn(&self, sql: &str) -> Result<Running> {
        Running::spawn(self.command().args(["-c", sql]).stdin(Stdio::null()))
    }

    /// `psql` with the connection set, and still without work: for files, pipes and scripts.
    pub fn command(&self) -> Command {
        let mut command = Command::new("psql");
        for (name, _) in std::env::vars_os() {
            // The caller's own settings and files would change what is tested.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("HOME", "/nonexistent").env("LC_ALL", "C").env("PGPASSFILE", "/dev/null");
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo()]);
        command
    }

    /// The connection string.
    pub fn conninfo(&self) -> String {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let pairs: Vec<String> =
            self.parameters.iter().map(|(name, value)| format!("{name}='{}'", quoted(value))).collect();
        pairs.join(" ")
    }
}

/// The longest that [`Psql::run`] waits.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
