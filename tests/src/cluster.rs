//! A Kubernetes API server of its own for a test: the program of `tests/cluster/apiserver`, and a client of it.
//!
//! Objects are written as `kubectl apply --server-side` does, so kubectl need not be there.

mod resource;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::{LIMIT, binary};
use crate::process::{poll, skipped};
use crate::raw::Raw;
use resource::Resource;

/// Names the program.
const PROGRAM: &str = "PORTCULLIS_TEST_APISERVER";
/// Names the address of the network namespace that the tests run in.
const ADDRESS: &str = "PORTCULLIS_TEST_ADDRESS";

/// A running API server; killed, and its folder removed, when dropped.
pub struct ApiServer {
    program: PathBuf,
    child: Child,
    address: SocketAddr,
    token: String,
    tls: Arc<ClientConfig>,
    folder: TempDir,
}

impl ApiServer {
    /// Starts one; none, with a word on standard error, where the program is not there.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start() -> Option<Self> {
        let (program, address) = (std::env::var_os(PROGRAM), std::env::var_os(ADDRESS));
        let Some(program) = program.filter(|_| address.is_some()).map(PathBuf::from) else {
            skipped(&format!(
                "a test with a Kubernetes API server needs {PROGRAM} and {ADDRESS} (cargo xtask test, which runs it apart)"
            ));
            return None;
        };
        let folder = TempDir::with_prefix("kube-").expect("a folder for the cluster");
        let child = launch(&program, folder.path());
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file of the server");
        let port: u16 = read("port").parse().expect("a port");
        let authority = CertificateDer::from_pem_slice(read("ca.crt").as_bytes()).expect("a certificate");
        Some(Self {
            program,
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            token: read("token"),
            tls: trusting(authority),
            folder,
        })
    }

    /// Ends it without a word, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("an ended process");
    }

    /// Starts it again on what it left behind.
    pub fn start_again(&mut self) {
        self.child = launch(&self.program, self.folder.path());
    }

    /// A connection to it.
    pub fn client(&self) -> Client {
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).expect("a TLS client");
        let stream = TcpStream::connect(self.address).expect("a listening API server");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Client { raw: Raw::over(StreamOwned::new(tls, stream)), token: self.token.clone() }
    }

    /// Creates or replaces each document of a text.
    pub fn apply(&self, yaml: &str) {
        self.client().apply(yaml);
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.client().delete(kind, namespace, name);
    }

    /// A kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Installs the kinds that `portcullis crds` prints, and waits until they are served.
    pub fn install_crds(&self) {
        let printed = Command::new(binary()).arg("crds").output().expect("the gateway prints definitions");
        assert!(printed.status.success());
        let mut client = self.client();
        client.apply(&String::from_utf8_lossy(&printed.stdout));
        // They are not all served at once.
        let kinds = ["gateways", "virtualservices", "destinationrules", "serviceentries", "workloadentries"];
        let mut served = |kind: &str| {
            let path = format!("/apis/networking.istio.io/v1/namespaces/default/{kind}");
            client.request("GET", &path, "", "").0 == 200
        };
        let all = || kinds.iter().all(|kind| served(kind)).then_some(());
        poll(Instant::now() + LIMIT, all).expect("the definitions are served");
    }

    /// Applies the project's rules for the gateway's account, and gives a kubeconfig of that account.
    pub fn account(&self) -> PathBuf {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/rbac.yaml");
        self.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}");
        self.apply(&fs::read_to_string(rules).expect("the rules"));
        self.kubeconfig_of("istio-system", "portcullis")
    }

    /// A kubeconfig of an account that is there.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let wish = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600},
        });
        let (status, answer) = self.client().request("POST", &path, "application/json", &wish.to_string());
        assert_eq!(status, 201, "{answer}");
        let token = answer["status"]["token"].as_str().expect("a token");
        let admins = fs::read_to_string(self.kubeconfig()).expect("the kubeconfig");
        let file = self.folder.path().join("gateway.kubeconfig");
        fs::write(&file, admins.replace(&self.token, token)).expect("the gateway's kubeconfig");
        file
    }
}

impl Drop for ApiServer {
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

/// A connection to an API server, as its administrator.
pub struct Client {
    raw: Raw<StreamOwned<ClientConnection, TcpStream>>,
    token: String,
}

impl Client {
    /// Creates or replaces each document of a text.
    ///
    /// # Panics
    /// When one is refused.
    pub fn apply(&mut self, yaml: &str) {
        for document in documents(yaml) {
            let (status, answer) = self.patch(document, "");
            assert!(matches!(status, 200 | 201), "{status} {answer}\n{document}");
        }
    }

    /// What would come of each document of a text: `kubectl apply --server-side --dry-run=server --validate=strict`.
    ///
    /// # Panics
    /// When one would be refused, or has a field that its kind has not.
    pub fn try_out(&mut self, yaml: &str) -> Vec<Value> {
        let answers = documents(yaml).map(|document| {
            let (status, answer) = self.patch(document, "&dryRun=All&fieldValidation=Strict");
            assert!(matches!(status, 200 | 201), "{status} {answer}\n{document}");
            answer
        });
        answers.collect()
    }

    /// Sets the status of an object, as a controller of the cluster would.
    ///
    /// # Panics
    /// When it is refused.
    pub fn set_status(&mut self, kind: &str, namespace: &str, name: &str, status: &Value) {
        let path = format!("{}/status", Resource::named(kind, namespace, name).path());
        let body = json!({ "status": status }).to_string();
        let (code, answer) = self.request("PATCH", &path, "application/merge-patch+json", &body);
        assert_eq!(code, 200, "{answer}");
    }

    fn patch(&mut self, document: &str, options: &str) -> (u16, Value) {
        let path = format!("{}?fieldManager=test&force=true{options}", Resource::of(document).path());
        self.request("PATCH", &path, "application/apply-patch+yaml", document)
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let path = Resource::named(kind, namespace, name).path();
        let (status, answer) = self.request("DELETE", &path, "", "");
        assert_eq!(status, 200, "{answer}");
    }

    /// Asks for anything; gives status and answer.
    pub fn request(&mut self, method: &str, path: &str, content: &str, body: &str) -> (u16, Value) {
        let kind = if content.is_empty() { String::new() } else { format!("content-type: {content}\r\n") };
        self.raw.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: kubernetes\r\nauthorization: Bearer {}\r\naccept: application/json\r\n{kind}content-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        ));
        let answer = self.raw.answer();
        (answer.status, serde_json::from_slice(&answer.message.body).unwrap_or_default())
    }
}

/// The documents of a text that say what they are.
fn documents(yaml: &str) -> impl Iterator<Item = &str> {
    let all = yaml.split("\n---").map(|text| text.trim_start_matches("---"));
    all.filter(|document| document.lines().any(|line| line.starts_with("kind:")))
}

/// The address of the network namespace that was made for these tests: endpoints are there, since a Kubernetes cluster
/// takes none at loopback.
///
/// # Panics
/// Where it is no address.
pub fn namespace_address() -> Ipv4Addr {
    let address = std::env::var(ADDRESS).expect("looked for before an API server is started");
    address.parse().expect("an IPv4 address")
}

/// Starts the program and waits until it serves.
fn launch(program: &Path, folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = Command::new(program);
    // It ends when its standard input does, and so with this test.
    command.arg("--data").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().expect("the API server starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.starts_with("READY "));
    assert!(ready, "{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    child
}

fn trusting(authority: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth())
}
