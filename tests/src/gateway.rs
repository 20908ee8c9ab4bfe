//! A gateway of its own for each test: the built binary on a folder of YAML, with ports that nobody else has.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use crate::process::{exit_within, poll, signal};
use crate::raw::{Answer, Raw};
use crate::samples::Samples;

/// Far more than anything awaited here takes.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What a gateway is started with.
pub struct Setup {
    files: Vec<(String, String)>,
    ports: Vec<u16>,
    settings: String,
    arguments: Vec<String>,
    variables: Vec<(String, PathBuf)>,
}

impl Setup {
    /// One worker, no drain delay, this configuration (the file `config.yaml`), and these Gateway ports to be
    /// reached.
    pub fn new(config: impl Into<String>, ports: &[u16]) -> Self {
        Self {
            files: vec![("config.yaml".to_owned(), config.into())],
            ports: ports.to_vec(),
            settings: String::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Adds a file of the configuration folder.
    pub fn file(mut self, name: &str, yaml: &str) -> Self {
        self.files.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// The text of the settings file.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings = toml.to_owned();
        self
    }

    /// Further arguments of `run`; `--workers` and `--drain` replace the setup's own.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// A variable of its environment that names a file.
    pub fn variable(mut self, name: &str, file: &Path) -> Self {
        self.variables.push((name.to_owned(), file.to_owned()));
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready, with what it said.
    pub fn start(self) -> Gateway {
        let folder = TempDir::with_prefix("portcullis-").expect("a folder for the test");
        let config = folder.path().join("config");
        fs::create_dir(&config).expect("a folder for the configuration");
        for (name, yaml) in &self.files {
            fs::write(config.join(name), yaml).expect("a file of the configuration");
        }
        let settings = folder.path().join("portcullis.toml");
        fs::write(&settings, &self.settings).expect("the settings file");
        let held: BTreeMap<u16, Held> = self.ports.iter().map(|&port| (port, Held::new())).collect();
        let mut command = self.command(&config, &settings, &held);
        let mut child = command.spawn().expect("the gateway starts");
        let log = Lines::follow(child.stderr.take().expect("piped"));
        let access_log = Lines::follow(child.stdout.take().expect("piped"));
        let mut gateway =
            Gateway { child, log, access_log, held, own: BTreeMap::new(), config, _folder: folder };
        gateway.await_ready();
        gateway
    }

    fn command(&self, config: &Path, settings: &Path, held: &BTreeMap<u16, Held>) -> Command {
        let map: Vec<String> = held.iter().map(|(port, held)| format!("{port}:{}", held.port)).collect();
        let given = |flag: &str| self.arguments.iter().any(|argument| argument == flag);
        let mut command = Command::new(binary());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTCULLIS_"))
        {
            command.env_remove(name);
        }
        command.arg("run").arg("--config").arg(config).arg("--settings").arg(settings);
        command.args(["--port-map", &map.join(",")]);
        for flag in ["--admin", "--metrics", "--stats", "--health"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        for (flag, value) in [("--workers", "1"), ("--drain", "0")] {
            if !given(flag) {
                command.args([flag, value]);
            }
        }
        command.envs(self.variables.iter().map(|(name, file)| (name, file)));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running gateway. Killed, and its folder removed, when dropped.
pub struct Gateway {
    child: Child,
    log: Lines,
    access_log: Lines,
    held: BTreeMap<u16, Held>,
    /// The gateway's own ports by name: admin, metrics, stats, health.
    own: BTreeMap<String, SocketAddr>,
    config: PathBuf,
    _folder: TempDir,
}

impl Gateway {
    fn await_ready(&mut self) {
        let own = self.log.await_that(LIMIT, |lines| {
            lines.iter().any(|line| line.contains("ready after=")).then(|| own_ports(lines))
        });
        self.own = own.unwrap_or_else(|| panic!("the gateway is not ready:\n{}", self.log.text()));
    }

    /// Where a Gateway's port is bound.
    ///
    /// # Panics
    /// When the setup did not name the port.
    pub fn address(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(port)).into()
    }

    /// The number of the port where a Gateway's port is bound, on every address.
    ///
    /// # Panics
    /// When the setup did not name the port.
    pub fn port(&self, port: u16) -> u16 {
        self.held[&port].port
    }

    /// The address of one of the gateway's own ports: `Admin`, `Metrics`, `Stats`, `Health`.
    pub fn own(&self, name: &str) -> SocketAddr {
        self.own[name]
    }

    /// Asks one of the gateway's own ports for a page.
    pub fn page(&self, own: &str, path: &str) -> Answer {
        Raw::connect(self.own(own)).get(path, "localhost")
    }

    /// All metrics as they are now.
    pub fn samples(&self) -> Samples {
        Samples::parse(&self.page("Metrics", "/stats/prometheus").text())
    }

    /// Waits until the metrics satisfy a condition, and fails with them when they do not.
    pub fn await_samples(&self, what: &str, condition: impl Fn(&Samples) -> bool) -> Samples {
        let found = poll(Instant::now() + LIMIT, || Some(self.samples()).filter(|found| condition(found)));
        found.unwrap_or_else(|| panic!("{what}: {}", self.samples().counters()))
    }

    /// Number of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.samples().sum("portcullis_config_generation", &[]) as u64
    }

    /// Writes a file of the configuration as a careful writer does, by renaming, and waits until a newer
    /// configuration is in force on every worker.
    pub fn apply(&self, name: &str, yaml: &str) {
        let before = self.generation();
        self.write(name, yaml);
        self.await_newer(before);
    }

    /// Waits until a configuration later than number `generation` is in force on every worker.
    pub fn await_newer(&self, generation: u64) {
        let newer = || (self.generation() > generation).then_some(());
        poll(Instant::now() + LIMIT, newer).expect("a new configuration");
    }

    /// Writes a file of the configuration without waiting.
    pub fn write(&self, name: &str, yaml: &str) {
        // A hidden file is no part of the configuration.
        let draft = self.config.join(format!(".{name}"));
        fs::write(&draft, yaml).expect("a draft of the file");
        fs::rename(draft, self.config.join(name)).expect("the file in its place");
    }

    /// Waits for `count` lines of the access log and gives all there are.
    pub fn log_lines(&self, count: usize) -> Vec<Value> {
        self.log_until(&format!("{count} lines"), |lines| lines.len() >= count)
    }

    /// Waits until the access log satisfies a condition, and gives it; fails with what it is otherwise.
    pub fn log_until(&self, what: &str, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).expect("a line of the access log is JSON");
        let found = self.access_log.await_that(LIMIT, |lines| {
            let lines: Vec<Value> = lines.iter().map(parse).collect();
            condition(&lines).then_some(lines)
        });
        found.unwrap_or_else(|| panic!("no {what} in the access log:\n{}", self.access_log.text()))
    }

    /// The only line of the access log with this path; a test that has asked for it once calls this.
    pub fn log_of(&self, path: &str) -> Value {
        let of_path = |line: &&Value| line["path"] == path;
        let lines = self.log_until(path, |lines| lines.iter().any(|line| of_path(&line)));
        let found: Vec<&Value> = lines.iter().filter(of_path).collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    }

    /// Waits for a line of the access log that satisfies a condition.
    pub fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = self.log_until("such line", |lines| lines.iter().any(&wanted));
        lines.into_iter().find(wanted).expect("found a moment ago")
    }

    /// The access log as it is now; lines may still be on their way.
    pub fn access_log(&self) -> Vec<Value> {
        self.log_lines(0)
    }

    /// The sum over the metrics' lines that hold all of these texts.
    pub fn counted(&self, parts: &[&str]) -> u64 {
        let page = self.page("Metrics", "/stats/prometheus").text();
        let lines = page.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// What the gateway has written on standard error.
    pub fn errors(&self) -> String {
        self.log.text()
    }

    /// Waits for a line on standard error.
    pub fn await_error(&self, part: &str) {
        let found =
            self.log.await_that(LIMIT, |lines| lines.iter().any(|line| line.contains(part)).then_some(()));
        assert!(found.is_some(), "no {part:?} in\n{}", self.errors());
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, KiB.
    pub fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS in status");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// What its workers have had of the processor, as the scheduler counts.
    pub fn processor(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a running process");
        let of_task = |task: fs::DirEntry| {
            let read = |name| fs::read_to_string(task.path().join(name)).ok();
            let is_worker = read("comm")?.starts_with("worker-");
            read("schedstat")?.split(' ').next()?.parse::<u64>().ok().filter(|_| is_worker)
        };
        Duration::from_nanos(tasks.flatten().filter_map(of_task).sum())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(&self.child, Signal::TERM).expect("a running process");
    }

    /// Waits for the end.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let status = exit_within(&mut self.child, limit).expect("a child");
        status.unwrap_or_else(|| panic!("still running after {limit:?}:\n{}", self.errors()))
    }

    /// Waits for the end and gives the whole access log.
    pub fn ended_log(&mut self, limit: Duration) -> (ExitStatus, Vec<Value>) {
        let status = self.ended(limit);
        self.access_log.await_end(LIMIT);
        (status, self.log_lines(0))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("standard error of the gateway:\n{}", self.log.text());
        }
    }
}

/// Reads `port=Admin address=127.0.0.1:41234` out of the log.
fn own_ports(lines: &[String]) -> BTreeMap<String, SocketAddr> {
    let word = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let of_line = |line: &String| Some((word(line, "port=")?, word(line, " address=")?.parse().ok()?));
    lines.iter().filter_map(of_line).collect()
}

/// A port number kept for the gateway: bound, never listening, so that the system gives it to nobody else
/// while the gateway, which shares ports (SO_REUSEPORT), can bind it.
pub struct Held {
    /// The number.
    pub port: u16,
    _socket: Socket,
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// Keeps a port that was free.
    ///
    /// # Panics
    /// When the system has none.
    pub fn new() -> Self {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::bound(v6).or_else(|_| Self::bound(v4)).expect("a free port")
    }

    fn bound(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().expect("an IP socket");
        Ok(Self { port: bound.port(), _socket: socket })
    }
}

/// The lines of a stream, gathered as they come.
struct Lines {
    shared: Arc<(Mutex<Gathered>, Condvar)>,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let shared: Arc<(Mutex<Gathered>, Condvar)> = Arc::default();
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let add = |line: Option<String>| {
                let mut gathered = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.ended |= line.is_none();
                gathered.lines.extend(line);
                writer.1.notify_all();
            };
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                add(Some(line));
            }
            add(None);
        });
        Self { shared }
    }

    fn await_that<T>(&self, limit: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut gathered = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = found(&gathered.lines) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|_| !gathered.ended)?;
            gathered = self.shared.1.wait_timeout(gathered, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn await_end(&self, limit: Duration) {
        let (gathered, changed) = &*self.shared;
        let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(gathered, limit, |gathered| !gathered.ended));
    }

    fn text(&self) -> String {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }
}

/// The gateway's binary: what `PORTCULLIS_TEST_BINARY` names, else the one beside this test, brought up to
/// date once in each test program.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("PORTCULLIS_TEST_BINARY") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a path of this program");
    // target/<profile>/deps/<test>
    let folder = test.ancestors().nth(2).expect("a test stands in a profile's folder");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "portcullis", "--bin", "portcullis"]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the gateway does not build");
    folder.join("portcullis")
}
