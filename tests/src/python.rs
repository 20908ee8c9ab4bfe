//! Clients and servers in Python, which are the real thing where Rust has only our own libraries.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::process::{exit_within, skipped};

/// Far more than any of the scripts takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A script of `tests/clients` at work. Killed when dropped.
pub struct Script {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Script {
    /// Starts a script; `None`, with a word on standard error, where there is no Python for it
    /// (`PORTCULLIS_TEST_PYTHON`).
    ///
    /// # Panics
    /// When Python cannot be started.
    pub fn start(name: &str) -> Option<Self> {
        let Some(python) = std::env::var_os("PORTCULLIS_TEST_PYTHON") else {
            skipped(&format!("{name} needs PORTCULLIS_TEST_PYTHON (cargo xtask test)"));
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name);
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, input, lines })
    }

    /// The number in the script's next line, `<word> <number>`.
    ///
    /// # Panics
    /// When it says something else, or nothing.
    pub fn number(&self, word: &str) -> u16 {
        let line = self.lines.recv_timeout(LIMIT).expect("a line of the script");
        let number = line.strip_prefix(word).and_then(|number| number.trim().parse().ok());
        number.unwrap_or_else(|| panic!("not {word}: {line}"))
    }

    /// Tells the script something.
    ///
    /// # Panics
    /// When it has ended.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("a script that reads");
    }

    /// Waits for the script's good end.
    ///
    /// # Panics
    /// When it ends badly; what it complained about stands on standard error.
    pub fn done(mut self) {
        let status = exit_within(&mut self.child, LIMIT).expect("a child");
        let lines: Vec<String> = self.lines.try_iter().collect();
        assert!(status.is_some_and(|status| status.success()), "{status:?}, last said {lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("done"));
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
