//! Network namespaces that a test makes for itself, and what is needed to put a network into them.
//!
//! The process of the test is in a namespace of its own already (`cargo xtask test` has put it there), so nothing here is
//! ever part of the machine's network.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{poll, run};

/// Tells that the network is the test's own.
const OWN: &str = "PORTCULLIS_TEST_NETWORK";
/// How long a single step takes at most.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether the test may change its network; says so, past the runner, if not.
pub fn is_own() -> bool {
    let own = std::env::var_os(OWN).is_some();
    if !own {
        crate::process::skipped("no network of its own (cargo xtask test makes one)");
    }
    own
}

/// A namespace with nothing in it but loopback. It goes, with what is in it, when this is dropped.
pub struct Namespace {
    /// What keeps it.
    keeper: Child,
}

impl Namespace {
    /// A new one.
    ///
    /// # Panics
    /// When the system makes none.
    pub fn new() -> Self {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "sleep", "600"]).stdin(Stdio::null());
        let keeper = keeper.spawn().expect("a namespace");
        let place = |process: &str| std::fs::read_link(PathBuf::from(format!("/proc/{process}/ns/net"))).ok();
        let (own, id) = (place("self"), keeper.id().to_string());
        // Its namespace is the test's until the program is that far.
        let moved = || place(&id).filter(|found| Some(found) != own.as_ref());
        poll(Instant::now() + LIMIT, moved).expect("a namespace");
        let made = Self { keeper };
        made.shell("ip link set lo up");
        made
    }

    /// The process that keeps it: where `ip link set … netns` sends a link.
    pub fn id(&self) -> u32 {
        self.keeper.id()
    }

    /// A command inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.id().to_string(), "--", program]);
        command
    }

    /// Runs a script inside, which must hold.
    ///
    /// # Panics
    /// When it does not, with what it said.
    pub fn shell(&self, script: &str) {
        let mut command = self.command("sh");
        finish(command.args(["-e", "-c", script]), script);
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Runs a script in the test's own namespace, which must hold.
///
/// # Panics
/// When it does not, with what it said.
pub fn shell(script: &str) {
    finish(Command::new("sh").args(["-e", "-c", script]), script);
}

fn finish(command: &mut Command, script: &str) {
    let finished = run(command, LIMIT).expect("a script");
    assert_eq!(finished.code(), 0, "{script}\n{}{}", finished.stdout, finished.stderr);
}
