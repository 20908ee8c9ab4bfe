//! PostgreSQL transactions by pgbench, over TLS to a real server.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::postgres::Psql;
use portcullis_tests::process::program;

use super::measured;
use crate::figures::{Figures, Metric};
use crate::site::{DB_HOST, Site};
use crate::subject::{Port, Subject};

/// Sessions at the same time.
const CLIENTS: u64 = 8;

/// So many transactions, each over a session of its own or over those that are kept.
pub(super) fn run(site: &Site, subject: &Subject, connect: bool, count: u64) -> Result<Figures> {
    let script = site.folder.path().join("select.sql");
    fs::write(&script, "select 1;\n")?;
    let connection = Psql::new(DB_HOST, subject.port(Port::Postgres)).ssl_mode("require").conninfo();
    let each = count.div_ceil(CLIENTS);
    let mut command = program("pgbench").context("pgbench is missing: install postgresql")?;
    command.args(["--no-vacuum", "--protocol", "prepared", "--file"]).arg(script);
    command.args(["--client", &CLIENTS.to_string(), "--transactions", &each.to_string()]);
    if connect {
        command.arg("--connect");
    }
    command.arg(connection).env("LC_ALL", "C").env("HOME", "/nonexistent").env("PGPASSFILE", "/dev/null");
    let transactions = each * CLIENTS;
    let run = || command.output().context("pgbench cannot be started");
    let (mut figures, said) = measured(subject, transactions as f64, run)?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(
        said.status.success() && text.contains(&format!("actually processed: {transactions}/{transactions}")),
        "not every transaction succeeded:\n{text}{}",
        String::from_utf8_lossy(&said.stderr)
    );
    figures.insert(Metric::PerSecond, rate(&text).context("pgbench's rate")?);
    Ok(figures)
}

/// `tps = 1234.5 (without initial connection time)`
fn rate(text: &str) -> Option<f64> {
    text.split_once("tps = ")?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        assert_eq!(rate("x\ntps = 1234.5 (without initial connection time)\n"), Some(1234.5));
        assert_eq!(rate("nothing"), None);
    }
}
