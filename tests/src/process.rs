//! Runs other programs with a time limit, and waits for conditions with a deadline.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A program of the search path; `None`, with a word on standard error, where it is not installed: a test that needs it
/// skips itself.
pub fn program(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{name} is not installed (cargo xtask test)"));
    }
    found.map(Command::new)
}

/// Says that a test does not run, past the macros, whose output the test runner hides from a test that passes.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// What a program that ran to its end left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Finished {
    /// The exit code; -1 when a signal ended the program.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Runs a program to its end. Fails when it can't be started or takes longer than `limit`, and then kills it.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    Running::spawn(command.stdin(Stdio::null()))?.finish(limit)
}

/// A program at work. Its output is read all the time, so it never waits for its reader. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    program: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a program, its standard input being what the command says.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self { program, child, stdout, stderr })
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        signal(&self.child, Signal::INT)
    }

    /// Waits for the end, `limit` at most; after that the program is killed and the call fails.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let Some(status) = exit_within(&mut self.child, limit)? else {
            bail!("{} still ran after {limit:?}", self.program);
        };
        let text = |reader: Option<JoinHandle<String>>| {
            reader.map(|reader| reader.join().unwrap_or_default()).unwrap_or_default()
        };
        Ok(Finished { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(child), signal).context("sending a signal")
}

/// The status of a child that ends within `limit`.
pub fn exit_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    poll(deadline, || child.try_wait().transpose()).transpose().context("waiting for a process")
}

/// Asks again and again until there is an answer or the deadline has passed.
///
/// For conditions outside this process, which send no event.
pub fn poll<T>(deadline: Instant, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_code_are_reported() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run(&mut command, Duration::from_secs(10)).unwrap();
        assert_eq!(
            (finished.code(), finished.stdout.as_str(), finished.stderr.as_str()),
            (3, "out\n", "err\n")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().starts_with("sleep still ran"), "{error}");
    }

    #[test]
    fn an_interrupt_arrives() {
        let running = Running::spawn(Command::new("sleep").arg("60")).unwrap();
        running.interrupt().unwrap();
        assert_eq!(running.finish(Duration::from_secs(10)).unwrap().code(), -1);
    }
}
