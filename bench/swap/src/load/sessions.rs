//! PostgreSQL: `psql` by server name through the gateway, one session for all the time and new ones beside it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use portcullis_tests::postgres::Psql;

use crate::client::ANSWER_LIMIT;
use crate::configuration::DATABASE;
use crate::tally::{Kind, Tally, Trouble};

/// Between two statements of the long session.
const PACE: Duration = Duration::from_millis(10);
/// Between two short sessions: each is a process.
const CALL_PACE: Duration = Duration::from_millis(100);

/// Lines of `psql` that wait to be read: one answers one statement.
const LINES: usize = 4;

/// Starts the clients, a thread each: they wait for processes.
///
/// # Errors
/// When a thread cannot be made.
pub(super) fn start(
    gateway: SocketAddr,
    tally: &Arc<Tally>,
    stopping: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let psql = Psql::new(DATABASE, gateway.port()).ssl_mode("require");
    let long = {
        let (psql, tally, stopping) = (psql.clone(), Arc::clone(tally), Arc::clone(stopping));
        move || {
            if let Err(error) = one_session(&psql, &tally, &stopping) {
                tally.trouble(Kind::PsqlSession, &Trouble::Closed(error));
            }
        }
    };
    let (tally, stopping) = (Arc::clone(tally), Arc::clone(stopping));
    let short = move || new_sessions(&psql, &tally, &stopping);
    let spawn =
        |body: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name("psql".to_owned()).spawn(body);
    Ok(vec![spawn(Box::new(long))?, spawn(Box::new(short))?])
}

/// One `psql` that is given statement after statement.
fn one_session(psql: &Psql, tally: &Tally, stopping: &AtomicBool) -> anyhow::Result<()> {
    let mut session = Session::begin(psql)?;
    let mut number = 0_u64;
    while !stopping.load(Ordering::Relaxed) {
        let asked = Instant::now();
        session.ask(&format!("select {number};"), &number.to_string())?;
        tally.answered(Kind::PsqlSession, asked);
        number += 1;
        std::thread::sleep(PACE);
    }
    session.end()
}

fn new_sessions(psql: &Psql, tally: &Tally, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Relaxed) {
        let asked = Instant::now();
        match psql.run("select 1") {
            Ok(finished) if finished.code() == 0 && finished.stdout == "1\n" => {
                tally.answered(Kind::Psql, asked);
            }
            Ok(finished) => tally.trouble(Kind::Psql, &Trouble::Failed(anyhow!("psql: {}", finished.stderr))),
            Err(error) => tally.trouble(Kind::Psql, &Trouble::Failed(error)),
        }
        std::thread::sleep(CALL_PACE);
    }
}

/// A running `psql`. Killed when dropped.
struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Session {
    fn begin(psql: &Psql) -> anyhow::Result<Self> {
        let mut command = psql.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("starting psql")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it was asked to be a pipe"));
        let (line, lines) = sync_channel(LINES);
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Ok(Self { child, stdin, lines })
    }

    fn ask(&mut self, statement: &str, expected: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the session has ended")?;
        writeln!(stdin, "{statement}").context("psql takes no more")?;
        stdin.flush()?;
        let answer = self.lines.recv_timeout(ANSWER_LIMIT).context("no answer from psql")?;
        ensure!(answer == expected, "{statement} gave {answer:?}");
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        let end = portcullis_tests::process::exit_within(&mut self.child, ANSWER_LIMIT)?;
        ensure!(end.is_some_and(|status| status.success()), "psql ended with {end:?}");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
