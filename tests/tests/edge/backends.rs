//! Servers that are not ours, each of which tells what requests it has seen.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis_tests::gateway::{Held, LIMIT};
use portcullis_tests::process::{poll, program, skipped};
use tempfile::TempDir;

/// A request that a backend has seen to its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) length: u64,
}

/// A running server. Killed when dropped.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    _port: Option<Held>,
    _folder: Option<TempDir>,
}

impl Backend {
    /// Every backend whose program is there; the others are named on standard error.
    pub(crate) fn all() -> Vec<Self> {
        let python = || installed("PORTCULLIS_TEST_PYTHON");
        let programs = [
            ("node", program("node").map(|node| script(node, "node.js"))),
            ("go", installed("PORTCULLIS_TEST_GO_BACKEND")),
            ("python", python().map(|python| script(python, "stdlib.py"))),
            ("aiohttp", python().map(|python| script(python, "aiohttp_server.py"))),
        ];
        let started = programs.into_iter().filter_map(|(name, program)| Some(Self::start(name, program?)));
        started.chain(program("nginx").map(Self::nginx)).collect()
    }

    fn start(name: &'static str, mut program: Command) -> Self {
        let (child, lines) = follow(&mut program);
        let said = || lines.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        let first = poll(Instant::now() + LIMIT, said).unwrap_or_else(|| panic!("{name} says nothing"));
        let port = first.strip_prefix("port ").and_then(|port| port.parse().ok());
        let address = (Ipv4Addr::LOCALHOST, port.unwrap_or_else(|| panic!("{name}: {first}"))).into();
        Self { name, address, child, lines, _port: None, _folder: None }
    }

    /// nginx in front of nginx: the first reads the whole body, as one that proxies does, and tells its length.
    fn nginx(mut command: Command) -> Self {
        let folder = TempDir::with_prefix("portcullis-nginx-").expect("a folder for nginx");
        let port = Held::new();
        let config = folder.path().join("nginx.conf");
        let text =
            NGINX.replace("FOLDER", &folder.path().to_string_lossy()).replace("PORT", &port.port.to_string());
        std::fs::write(&config, text).expect("the configuration of nginx");
        command.arg("-c").arg(&config).arg("-p").arg(folder.path()).args(["-e", "stderr"]);
        let (child, lines) = follow(&mut command);
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port.port).into();
        let up = || TcpStream::connect(address).ok().map(drop);
        poll(Instant::now() + LIMIT, up).expect("nginx listens");
        Self { name: "nginx", address, child, lines, _port: Some(port), _folder: Some(folder) }
    }

    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(|line| seen(line)).collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seen(line: &str) -> Option<Seen> {
    let [method, target, length] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    // nginx writes `-` where there is no length.
    let length = if length == "-" { 0 } else { length.parse().ok()? };
    Some(Seen { method: method.to_owned(), target: target.to_owned(), length })
}

/// A program that the setup has told of.
fn installed(variable: &str) -> Option<Command> {
    let found = std::env::var_os(variable);
    if found.is_none() {
        skipped(&format!("{variable} is not set (cargo xtask test)"));
    }
    found.map(Command::new)
}

fn script(mut program: Command, file: &str) -> Command {
    program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("backends").join(file));
    program
}

fn follow(command: &mut Command) -> (Child, Arc<Mutex<Vec<String>>>) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("a backend starts");
    let output = child.stdout.take().expect("piped");
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let gathered = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            gathered.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (child, lines)
}

const NGINX: &str = "
daemon off;
master_process off;
pid FOLDER/pid;
events {}
http {
    log_format seen '$request_method $request_uri $http_content_length';
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    keepalive_requests 1000000;
    client_max_body_size 0;
    server {
        listen 127.0.0.1:PORT reuseport;
        access_log off;
        location / {
            proxy_http_version 1.1;
            proxy_pass http://unix:FOLDER/inner;
        }
    }
    server {
        listen unix:FOLDER/inner;
        access_log /dev/stdout seen;
        location / { return 200 seen; }
    }
}
";
