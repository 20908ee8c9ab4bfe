//! What the tests need beyond cargo: programs, a Python environment, a PostgreSQL 18 server, clients for
//! node, a server in Go, h2spec, gRPC's interoperability tests, a Kubernetes API server with what belongs to it, sources of
//! Istio and of the Prometheus operator.
//!
//! [`setup`] installs only what is missing and says each step in a line; a second run finds everything in
//! place and asks no network. What cannot be had is named with the way to install it by hand, and the
//! tests that need it skip themselves. They learn where the parts stand from the environment:
//!
//! | variable | is |
//! |---|---|
//! | `PORTCULLIS_TEST_PYTHON` | a Python with the packages of `tests/conformance/requirements.txt` |
//! | `PORTCULLIS_TEST_POSTGRES18` | the folder of a PostgreSQL 18 server with TLS: `bin`, `lib`, `share` |
//! | `PORTCULLIS_TEST_NODE_MODULES` | a folder of node packages, those of `tests/conformance/node/package.json` |
//! | `PORTCULLIS_TEST_H2SPEC` | the h2spec program |
//! | `PORTCULLIS_TEST_GO_BACKEND` | the server of `tests/backends/go` |
//! | `PORTCULLIS_TEST_GRPC_INTEROP` | a folder with the `client` and `server` of gRPC's interoperability tests |
//! | `PORTCULLIS_TEST_APISERVER` | the API server of `tests/cluster/apiserver` |
//! | `PORTCULLIS_TEST_KUBECTL` | the kubectl program |
//! | `PORTCULLIS_TEST_KINE` | the store of `tests/cluster/kine` |
//! | `PORTCULLIS_TEST_EXTERNAL_DNS` | the program of `tests/cluster/external-dns` |
//! | `PORTCULLIS_TEST_HELM` | the Helm program |
//! | `PORTCULLIS_TEST_ISTIO` | the folder of Istio's sources |
//! | `PORTCULLIS_TEST_PROMETHEUS_OPERATOR` | the folder of the Prometheus operator's sources |
//!
//! and `PATH`, which is extended by the folder of Debian's PostgreSQL server.

mod apiserver;
mod debian;
mod external_dns;
mod go;
mod go_backend;
mod grpc_interop;
mod h2spec;
mod helm;
mod inferno;
mod istio;
mod kine;
mod kubectl;
mod node;
mod peers;
mod postgres;
mod prometheus_operator;
mod python;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::process::loud;

pub(crate) use debian::install_for_dist;
pub(crate) use peers::peers;

/// Where the parts stand; `None` for one that could not be had.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) python: Option<PathBuf>,
    pub(crate) postgres18: Option<PathBuf>,
    pub(crate) node_modules: Option<PathBuf>,
    pub(crate) h2spec: Option<PathBuf>,
    pub(crate) go_backend: Option<PathBuf>,
    pub(crate) grpc_interop: Option<PathBuf>,
    pub(crate) apiserver: Option<PathBuf>,
    pub(crate) kubectl: Option<PathBuf>,
    pub(crate) kine: Option<PathBuf>,
    pub(crate) external_dns: Option<PathBuf>,
    pub(crate) helm: Option<PathBuf>,
    pub(crate) istio: Option<PathBuf>,
    pub(crate) prometheus_operator: Option<PathBuf>,
}

impl Parts {
    /// Tells `command` where the parts stand.
    pub(crate) fn tell(&self, command: &mut Command) {
        let parts = [
            ("PORTCULLIS_TEST_PYTHON", &self.python),
            ("PORTCULLIS_TEST_POSTGRES18", &self.postgres18),
            ("PORTCULLIS_TEST_NODE_MODULES", &self.node_modules),
            ("PORTCULLIS_TEST_H2SPEC", &self.h2spec),
            ("PORTCULLIS_TEST_GO_BACKEND", &self.go_backend),
            ("PORTCULLIS_TEST_GRPC_INTEROP", &self.grpc_interop),
            ("PORTCULLIS_TEST_APISERVER", &self.apiserver),
            ("PORTCULLIS_TEST_KUBECTL", &self.kubectl),
            ("PORTCULLIS_TEST_KINE", &self.kine),
            ("PORTCULLIS_TEST_EXTERNAL_DNS", &self.external_dns),
            ("PORTCULLIS_TEST_HELM", &self.helm),
            ("PORTCULLIS_TEST_ISTIO", &self.istio),
            ("PORTCULLIS_TEST_PROMETHEUS_OPERATOR", &self.prometheus_operator),
        ];
        for (name, path) in parts {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
        command.env("PATH", search_path());
    }
}

/// Installs what is missing, but for the API server and what belongs to it, which few need and which take long.
pub(crate) fn setup() -> Result<Parts> {
    Ok(install(&cache()?))
}

/// Installs what is missing, and does something else while the API server is built, and behind it what belongs to it.
pub(crate) fn setup_all(meanwhile: impl FnOnce()) -> Result<Parts> {
    let cache = cache()?;
    // Two parts must not install Go at the same time; without it, each says so itself.
    let _ = go::toolchain(&cache);
    Ok(thread::scope(|scope| {
        let building = scope.spawn(|| CLUSTER.map(|(name, ensure)| part(name, ensure(&cache))));
        let parts = install(&cache);
        meanwhile();
        let [apiserver, kubectl, helm, kine, external_dns] = building.join().unwrap_or_else(|_| {
            loud("building the Kubernetes API server panicked");
            [const { None }; CLUSTER.len()]
        });
        Parts { apiserver, kubectl, helm, kine, external_dns, ..parts }
    }))
}

/// What tests of a cluster need, in the order in which it is built: one takes from Go's cache what the one before it has
/// compiled.
const CLUSTER: [Built; 5] = [
    ("the Kubernetes API server", apiserver::ensure),
    ("kubectl", kubectl::ensure),
    ("Helm", helm::ensure),
    ("kine", kine::ensure),
    ("external-dns", external_dns::ensure),
];

/// A part's name, and what builds it in a cache.
type Built = (&'static str, fn(&Path) -> Result<PathBuf>);

fn install(cache: &Path) -> Parts {
    for (package, why) in debian::install_missing() {
        loud(&format!("{package} is missing ({why}): tests that need it are skipped"));
    }
    Parts {
        python: part("the Python environment", python::ensure(cache)),
        postgres18: part("PostgreSQL 18", postgres::ensure(cache)),
        node_modules: part("the clients for node", node::ensure(cache)),
        h2spec: part("h2spec", h2spec::ensure(cache)),
        go_backend: part("the server in Go", go_backend::ensure(cache)),
        grpc_interop: part("gRPC's interoperability tests", grpc_interop::ensure(cache)),
        istio: part("Istio's sources", istio::ensure(cache)),
        prometheus_operator: part("the Prometheus operator's sources", prometheus_operator::ensure(cache)),
        apiserver: None,
        kubectl: None,
        kine: None,
        external_dns: None,
        helm: None,
    }
}

/// The Python environment alone, for commands that need nothing else.
pub(crate) fn python() -> Result<PathBuf> {
    python::ensure(&cache()?)
}

/// The h2spec program alone.
pub(crate) fn h2spec() -> Result<PathBuf> {
    h2spec::ensure(&cache()?)
}

/// The folder of inferno's programs.
pub(crate) fn inferno() -> Result<PathBuf> {
    inferno::ensure(&cache()?)
}

/// The Kubernetes API server alone; none, loudly, where it cannot be had.
pub(crate) fn apiserver() -> Result<Option<PathBuf>> {
    let cache = cache()?;
    Ok(part("the Kubernetes API server", apiserver::ensure(&cache)))
}

fn part(name: &str, found: Result<PathBuf>) -> Option<PathBuf> {
    found
        .inspect_err(|error| loud(&format!("{name} is missing, tests that need it are skipped: {error:#}")))
        .ok()
}

/// Tells `command` where Debian's PostgreSQL is.
pub(crate) fn tell_path(command: &mut Command) {
    command.env("PATH", search_path());
}

/// Where downloaded parts are kept: `PORTCULLIS_CACHE`, else the customary place.
///
/// For root that is below `/var/cache`: PostgreSQL refuses to run as root, and whoever runs it instead
/// must be able to read it.
fn cache() -> Result<PathBuf> {
    let chosen = env::var_os("PORTCULLIS_CACHE").map(PathBuf::from);
    let customary = || {
        if is_root() {
            return Some(PathBuf::from("/var/cache/portcullis"));
        }
        let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(base.join("portcullis"))
    };
    let Some(cache) = chosen.or_else(customary) else {
        bail!("neither HOME nor PORTCULLIS_CACHE says where to keep downloaded parts");
    };
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    Ok(cache)
}

/// Whether this process may install packages.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}

fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        env::split_paths(&path).chain(debian::postgres_folder()).chain([PathBuf::from("/usr/sbin")]);
    env::join_paths(folders).unwrap_or(path)
}
