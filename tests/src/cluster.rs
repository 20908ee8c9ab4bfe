//! A Kubernetes API server for a test: the program of `tests/cluster/apiserver`, or any cluster there is.
//!
//! Objects are written as `kubectl apply --server-side` does.

mod access;
mod client;
mod names;
mod own;
mod resource;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;

pub use self::client::Client;

use self::access::Access;
use self::names::Names;
use self::own::Own;
use crate::gateway::{LIMIT, Setup, binary};
use crate::process::{poll, skipped};

/// Names the address of the network namespace that the tests run in.
const ADDRESS: &str = "PORTCULLIS_TEST_ADDRESS";
/// Names the kubeconfig of a cluster that tests may use instead of one of their own.
const KUBECONFIG: &str = "PORTCULLIS_TEST_KUBECONFIG";
/// Names kubectl.
const KUBECTL: &str = "PORTCULLIS_TEST_KUBECTL";

/// A running API server. One that was started for the test ends with it; on any other what the test made is removed.
pub struct ApiServer {
    /// None where it is somebody's.
    own: Option<Own>,
    kubeconfig: PathBuf,
    access: Access,
    names: Names,
    folder: TempDir,
}

impl ApiServer {
    /// Starts one; none, with a word on standard error, where it cannot be, or where the tests were given a cluster: that
    /// one is nobody's to stop, and may have more in it than was put there.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start() -> Option<Self> {
        if std::env::var_os(KUBECONFIG).is_some() {
            skipped(&format!("this test wants a cluster of its own, and {KUBECONFIG} is somebody's"));
            return None;
        }
        let own = Own::start()?;
        let (access, kubeconfig) = (Access::own(own.folder()), own.folder().join("kubeconfig"));
        Some(Self { own: Some(own), kubeconfig, access, names: Names::AS_WRITTEN, folder: folder() })
    }

    /// The cluster that the tests were given, else one that is started.
    ///
    /// # Panics
    /// When it cannot be reached, or does not become ready.
    pub fn any() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os(KUBECONFIG) else { return Self::start() };
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let tag = format!("{:x}-{}", now.as_secs(), TURN.fetch_add(1, Ordering::Relaxed));
        let (kubeconfig, names) = (PathBuf::from(kubeconfig), Names::unique(&tag));
        let cluster =
            Self { own: None, access: Access::read(&kubeconfig), kubeconfig, names, folder: folder() };
        for namespace in ["default", "istio-system"] {
            let name = cluster.name_of(namespace);
            cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}"));
        }
        Some(cluster)
    }

    /// Whether it was started for this test, and has nothing in it but what the test puts there.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Ends it without a word, as a crash does.
    pub fn kill(&mut self) {
        self.own.as_mut().expect("a server of its own").kill();
    }

    /// Starts it again on what it left behind.
    pub fn start_again(&mut self) {
        self.own.as_mut().expect("a server of its own").start_again();
    }

    /// What something that tests write is called on this cluster: a namespace, or a whole manifest.
    pub fn name_of(&self, written: &str) -> String {
        self.names.localize(written).into_owned()
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn client(&self) -> Client {
        self.try_client().expect("a listening API server")
    }

    fn try_client(&self) -> Option<Client> {
        Some(Client {
            raw: self.access.connect()?,
            authorization: self.access.authorization(),
            host: self.access.host(),
            names: self.names.clone(),
        })
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
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What users type, as they type it.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl());
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.folder.path());
        command
    }

    /// Makes a gateway that of this test.
    #[must_use]
    pub fn place(&self, gateway: Setup) -> Setup {
        if !self.names.differ() {
            return gateway;
        }
        let (namespace, label) = (self.name_of("istio-system"), format!("istio={}", self.names.label()));
        // The mesh's settings are looked for there, and may not be seen elsewhere.
        let gateway = gateway.settings(&format!("[gateway]\nroot_namespace = \"{namespace}\""));
        gateway.arguments(&["--namespace", &namespace, "--label", &label])
    }

    /// Installs the kinds that `portcullis crds` prints, and waits until they are served. On somebody's cluster those that
    /// are there stay as they are, and those that are not stay afterwards.
    ///
    /// # Panics
    /// When they do not come to be served.
    pub fn install_crds(&self) {
        // They are not all served at once.
        let kinds = ["gateways", "virtualservices", "destinationrules", "serviceentries", "workloadentries"];
        let mut client = self.client();
        let mut served = || {
            kinds.iter().all(|kind| {
                let path = format!("/apis/networking.istio.io/v1/namespaces/default/{kind}");
                client.request("GET", &path, "", "").0 == 200
            })
        };
        if !self.is_own() && served() {
            return;
        }
        let printed = Command::new(binary()).arg("crds").output().expect("the gateway prints definitions");
        assert!(printed.status.success());
        self.apply(&String::from_utf8_lossy(&printed.stdout));
        poll(Instant::now() + LIMIT, || served().then_some(())).expect("the definitions are served");
    }

    /// Applies the project's rules for the gateway's account, and gives a kubeconfig of that account.
    ///
    /// # Panics
    /// When they are refused.
    pub fn account(&self) -> PathBuf {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/rbac.yaml");
        let namespace = self.name_of("istio-system");
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}"));
        self.apply(&fs::read_to_string(rules).expect("the rules"));
        self.kubeconfig_of("istio-system", "portcullis")
    }

    /// A kubeconfig of an account that is there.
    ///
    /// # Panics
    /// When it gets no token.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let wish = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600},
        });
        let (status, answer) = self.client().request("POST", &path, "application/json", &wish.to_string());
        assert_eq!(status, 201, "{answer}");
        let token = answer["status"]["token"].as_str().expect("a token");
        let file = self.folder.path().join("gateway.kubeconfig");
        fs::write(&file, self.access.kubeconfig(token)).expect("the gateway's kubeconfig");
        file
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if self.is_own() {
            return;
        }
        let Some(mut client) = self.try_client() else { return };
        for (place, name) in [
            ("/api/v1/namespaces", "default"),
            ("/api/v1/namespaces", "istio-system"),
            ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "portcullis"),
            ("/apis/rbac.authorization.k8s.io/v1/clusterroles", "portcullis"),
        ] {
            // What the test did not make is not there.
            let _ = client.request("DELETE", &format!("{place}/{}", self.name_of(name)), "", "");
        }
    }
}

/// Whether there is a kubectl; said on standard error where there is none.
pub fn has_kubectl() -> bool {
    let found = Command::new(kubectl()).args(["version", "--client"]).output().is_ok();
    if !found {
        skipped(&format!("a test that types into kubectl needs {KUBECTL} (cargo xtask test)"));
    }
    found
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder for kubeconfigs")
}

/// The kubectl program.
fn kubectl() -> PathBuf {
    std::env::var_os(KUBECTL).map_or_else(|| "kubectl".into(), PathBuf::from)
}

/// An address of this machine that endpoints may have: a Kubernetes cluster takes none at loopback. It is that of the
/// network namespace that was made for these tests; with a cluster that belongs to somebody, that by which this machine
/// would reach others.
///
/// # Panics
/// Where there is none.
pub fn namespace_address() -> Ipv4Addr {
    if let Ok(address) = std::env::var(ADDRESS) {
        return address.parse().expect("an IPv4 address");
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    // Nothing is sent: the system only looks for the way to an address that is nobody's.
    socket
        .connect((Ipv4Addr::new(192, 0, 2, 1), 9))
        .unwrap_or_else(|_| panic!("name an address of this machine by {ADDRESS}"));
    match socket.local_addr().expect("an address").ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("the socket is one of IPv4"),
    }
}
