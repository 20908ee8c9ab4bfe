//! What is measured: a gateway between the load and the backend.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portcullis_tests::gateway::Held;
use portcullis_tests::objects::{gateway, server, service};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::process::poll;
use tempfile::TempDir;

/// The host that is asked for.
pub(crate) const HOST: &str = "bench.test";
/// How long a subject may take to listen.
const LIMIT: Duration = Duration::from_secs(20);

/// What every subject is told: the backend and a certificate.
pub(crate) struct Site {
    backend: SocketAddr,
    leaf: Leaf,
    folder: TempDir,
}

impl Site {
    /// A folder of its own, a new certificate.
    pub(crate) fn new(backend: SocketAddr) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-bench-").context("a folder")?;
        Ok(Self { backend, leaf: Authority::new("bench").server(&[HOST]), folder })
    }
}

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub(crate) enum Choice {
    Portcullis { name: String, path: PathBuf },
    Nginx,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) => Ok(Self::Portcullis { name: name.to_owned(), path: path.into() }),
            None if text == "nginx" => Ok(Self::Nginx),
            None => Err("neither NAME=PATH nor nginx".to_owned()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Portcullis { name, .. } => name,
            Self::Nginx => "nginx",
        })
    }
}

impl Choice {
    /// Starts it on one core and waits until it listens.
    pub(crate) fn start(&self, site: &Site, core: usize) -> Result<Subject> {
        let name = self.to_string();
        let folder = site.folder.path().join(&name);
        fs::create_dir(&folder).context("two subjects have the same name")?;
        let (plain, tls) = (Held::new(), Held::new());
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]);
        match self {
            Self::Portcullis { path, .. } => {
                fs::write(folder.join("config.yaml"), objects(site))?;
                command.arg(path).arg("run").arg("--config").arg(folder.join("config.yaml"));
                command.args(["--workers", "1", "--drain", "0"]);
                command.arg("--port-map").arg(format!("80:{},443:{}", plain.port, tls.port));
                for flag in ["--admin", "--metrics", "--stats", "--health"] {
                    command.args([flag, "127.0.0.1:0"]);
                }
            }
            Self::Nginx => {
                let file = folder.join("nginx.conf");
                site.leaf.write(&folder, "tls")?;
                fs::write(&file, nginx(&folder, site.backend, plain.port, tls.port))?;
                command.arg("nginx").arg("-c").arg(file).arg("-p").arg(&folder);
            }
        }
        let log = |file: &str| File::create(folder.join(file)).context("a file for what it says");
        command.stdin(Stdio::null()).stdout(log("stdout")?).stderr(log("stderr")?);
        let child = command.spawn().context("taskset (util-linux) cannot be started")?;
        let subject = Subject { name, plain, tls, child };
        for port in [subject.plain_port(), subject.tls_port()] {
            let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
            poll(Instant::now() + LIMIT, listens).with_context(|| {
                let said = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
                format!("it does not listen; it said:\n{said}")
            })?;
        }
        Ok(subject)
    }
}

/// A running subject; ends when dropped.
pub(crate) struct Subject {
    name: String,
    plain: Held,
    tls: Held,
    child: Child,
}

impl Subject {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The process whose time counts, with its children.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn plain_port(&self) -> u16 {
        self.plain.port
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls.port
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // nginx's master ends its workers only when asked.
        let _ = portcullis_tests::process::signal(&self.child, rustix::process::Signal::TERM);
        let _ = portcullis_tests::process::exit_within(&mut self.child, Duration::from_secs(5));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway's configuration: one host on plaintext and TLS, one route.
fn objects(site: &Site) -> String {
    let servers = [
        format!("{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['{HOST}']}}"),
        server(443, "HTTPS", &[HOST], "{mode: SIMPLE, credentialName: bench}"),
    ];
    let route = format!(
        "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bench, namespace: default}}
spec:
  hosts: ['{HOST}']
  gateways: [istio-system/bench]
  http: [{{route: [{{destination: {{host: backend, port: {{number: 80}}}}}}]}}]"
    );
    let secret = site.leaf.tls_secret("istio-system", "bench");
    gateway("bench", &servers) + &route + &service("backend", 80, "http", site.backend) + "\n---\n" + &secret
}

/// The same for nginx, with connections to the backend kept and the access log in JSON.
fn nginx(folder: &Path, backend: SocketAddr, plain: u16, tls: u16) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format json escape=json '{{"start_time":"$time_iso8601","method":"$request_method","path":"$request_uri",'
        '"protocol":"$server_protocol","response_code":$status,"bytes_sent":$body_bytes_sent,'
        '"bytes_received":$request_length,"duration":$request_time,"upstream_host":"$upstream_addr",'
        '"upstream_service_time":"$upstream_response_time","x_forwarded_for":"$http_x_forwarded_for",'
        '"user_agent":"$http_user_agent","request_id":"$request_id","authority":"$host",'
        '"downstream_remote_address":"$remote_addr:$remote_port"}}';
    access_log {folder}/access.log json;
    keepalive_requests 1000000;
    upstream backend {{ server {backend}; keepalive 128; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{plain} reuseport;
        listen 127.0.0.1:{tls} ssl http2 reuseport;
        server_name {HOST};
        ssl_certificate {folder}/tls.crt;
        ssl_certificate_key {folder}/tls.key;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}
}}
"#
    )
}
