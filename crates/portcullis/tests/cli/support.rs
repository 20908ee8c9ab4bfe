//! Runs the binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A command that has ended.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
pub(crate) fn portcullis(arguments: &[&str]) -> Run {
    with_input(arguments, "")
}

/// Runs the binary to its end with this text on standard input.
pub(crate) fn with_input(arguments: &[&str], input: &str) -> Run {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().expect("binary");
    // A command that does not read its input has closed it: no reason to fail.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("output");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let status = output.status.code().expect("no signal");
    Run { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the binary to its end with these variables that name files.
pub(crate) fn with_environment(arguments: &[&str], variables: &[(&str, &Path)]) -> Run {
    let mut command = command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("output");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let status = output.status.code().expect("no signal");
    Run { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTCULLIS_")) {
        command.env_remove(name);
    }
    command
}

/// A port that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("port").port()
}

/// Sends `request` and reads until the connection ends.
pub(crate) fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    stream.write_all(request.as_bytes()).expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

/// Asks for a page of one of the gateway's own ports.
pub(crate) fn page(address: &str, method: &str, path: &str) -> String {
    get(address, &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

/// A gateway that runs, with its own ports where the system chose; it is killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    printed: Receiver<String>,
}

impl Gateway {
    /// Runs the gateway on this folder.
    pub(crate) fn start(config: &str) -> Self {
        let any = "127.0.0.1:0";
        let run = ["run", "--config", config, "--drain", "0", "--workers", "2"];
        let ports = ["--admin", any, "--metrics", any, "--stats", any, "--health", any];
        Self::start_with(&[&run[..], &ports[..]].concat())
    }

    /// Runs a command that goes on until it is told to end.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdin(Stdio::null()).spawn().expect("binary");
        let log = lines(child.stderr.take().expect("piped"));
        let printed = lines(child.stdout.take().expect("piped"));
        Self { child, log, seen: Vec::new(), printed }
    }

    /// Waits for a log line with this text.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no {part:?} ({error}) in {:#?}", self.seen),
            }
        }
    }

    /// The address of one of the gateway's own ports.
    pub(crate) fn own_port(&mut self, name: &str) -> String {
        let line = self.wait_for(&format!("port={name}"));
        let (_, address) = line.split_once("address=").expect("address");
        address.split_whitespace().next().expect("address").to_owned()
    }

    /// The next line of the access log.
    pub(crate) fn access_log_line(&self) -> String {
        self.printed.recv_timeout(DEADLINE).expect("a line")
    }

    /// The next printed line with this text.
    pub(crate) fn printed(&self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.printed.recv_timeout(left).unwrap_or_else(|error| panic!("no {part:?}: {error}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for the end.
    pub(crate) fn exit_status(&mut self) -> i32 {
        self.child.wait().expect("end").code().expect("no signal")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
