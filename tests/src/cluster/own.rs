//! The program of `tests/cluster/apiserver`, which is an API server of a test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::skipped;

/// Names the program.
const PROGRAM: &str = "PORTCULLIS_TEST_APISERVER";
/// Names kine.
const KINE: &str = "PORTCULLIS_TEST_KINE";
/// Says that kine is the store, where it is `kine`.
const STORE: &str = "PORTCULLIS_TEST_STORE";

/// A running one; killed, and its folder removed, when dropped.
pub(super) struct Own {
    program: PathBuf,
    child: Child,
    folder: TempDir,
}

impl Own {
    /// Starts one; none, with a word on standard error, where the program is not there.
    pub(super) fn start() -> Option<Self> {
        let (program, address) = (std::env::var_os(PROGRAM), std::env::var_os(super::ADDRESS));
        let Some(program) = program.filter(|_| address.is_some()).map(PathBuf::from) else {
            skipped(&format!(
                "a test with a Kubernetes API server needs {PROGRAM} and {} (cargo xtask test, which runs it apart)",
                super::ADDRESS
            ));
            return None;
        };
        let folder = TempDir::with_prefix("kube-").expect("a folder for the cluster");
        let child = launch(&program, folder.path());
        Some(Self { program, child, folder })
    }

    /// Ends it without a word, as a crash does.
    pub(super) fn kill(&mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("an ended process");
    }

    /// Starts it again on what it left behind.
    pub(super) fn start_again(&mut self) {
        self.child = launch(&self.program, self.folder.path());
    }

    /// Where it keeps keys, port and state.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let last = log.lines().rev().take(20).collect::<Vec<_>>();
            eprintln!("the API server's last words, newest first:\n{}", last.join("\n"));
        }
    }
}

/// Starts the program and waits until it serves.
fn launch(program: &Path, folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = Command::new(program);
    // It ends when its standard input does, and so with this test.
    command.arg("--data").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    if std::env::var_os(STORE).is_some_and(|store| store == "kine") {
        let kine =
            std::env::var_os(KINE).unwrap_or_else(|| panic!("{STORE} asks for kine, and {KINE} is not set"));
        command.arg("--store").arg(kine);
    }
    let mut child = command.spawn().expect("the API server starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.starts_with("READY "));
    assert!(ready, "{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    child
}
