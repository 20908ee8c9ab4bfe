//! Debian packages, installed when their program is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::is_root;
use crate::process::{find, run_quietly, step};

/// Installs what is missing; gives the packages that could not be had, each with the reason.
pub(super) fn install_missing() -> Vec<(&'static str, String)> {
    install_those_missing(wanted())
}

/// The same for what only `bench` needs, on top of what the tests do.
pub(super) fn install_missing_for_bench() -> Vec<(&'static str, String)> {
    install_those_missing(wanted_for_bench())
}

/// Installs the package that only `dist` needs.
pub(crate) fn install_for_dist(package: &str) -> Result<()> {
    install(&[package])
}

fn install_those_missing(wanted: impl Iterator<Item = (bool, &'static str)>) -> Vec<(&'static str, String)> {
    let missing: Vec<&'static str> = wanted.filter(|(present, _)| !present).map(|(_, name)| name).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    match install(&missing) {
        Ok(()) => Vec::new(),
        Err(error) => missing.into_iter().map(|name| (name, format!("{error:#}"))).collect(),
    }
}

/// The folder of the newest PostgreSQL server that Debian installed; it is not on the search path.
pub(super) fn postgres_folder() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("postgres").is_file()).max()
}

/// Each package, and whether what we want of it is there.
fn wanted() -> impl Iterator<Item = (bool, &'static str)> {
    let programs = PROGRAMS.iter().map(|(program, package)| (find(program).is_some(), *package));
    programs.chain([
        (postgres_folder().is_some(), "postgresql"),
        (has_venv(), "python3-venv"),
        (Path::new("/usr/sbin/nginx").is_file() || find("nginx").is_some(), "nginx"),
    ])
}

/// Load generators, and the peers that Debian has.
fn wanted_for_bench() -> impl Iterator<Item = (bool, &'static str)> {
    [
        (find("h2load").is_some(), "nghttp2-client"),
        (find("haproxy").is_some(), "haproxy"),
        (find("nginx").is_some(), "nginx"),
        (Path::new(NGINX_STREAM).is_file(), "libnginx-mod-stream"),
        (postgres_folder().is_some() && find("pgbench").is_some(), "postgresql"),
        (has_venv(), "python3-venv"),
    ]
    .into_iter()
}

/// Where Debian puts nginx's module for TCP and TLS.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Debian's Python comes without the parts that make an environment.
fn has_venv() -> bool {
    let probe = ["-c", "import venv, ensurepip"];
    find("python3").is_some_and(|python| run_quietly(Command::new(python).args(probe)).is_ok())
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = || format!("install by hand: apt-get install {list}");
    if !is_root() || find("apt-get").is_none() {
        anyhow::bail!("{}", by_hand());
    }
    step(&format!("installing {list}"));
    keep_postgres_stopped().with_context(by_hand)?;
    run_quietly(apt().arg("update")).with_context(by_hand)?;
    let _stopped = Stopped::begin().with_context(by_hand)?;
    run_quietly(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .with_context(by_hand)
}

/// As long as this lives, packages do not start the services that they bring: the tests start their own nginx. A policy
/// that the machine has already is left alone.
struct Stopped {
    own: bool,
}

impl Stopped {
    fn begin() -> Result<Self> {
        let policy = Path::new(POLICY);
        if policy.exists() {
            return Ok(Self { own: false });
        }
        // 101 is "forbidden" (Debian's policy for invoke-rc.d).
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("writing policy-rc.d")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).context("writing policy-rc.d")?;
        Ok(Self { own: true })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.own {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// What Debian's packages ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive").env("UCF_FORCE_CONFFOLD", "1");
    apt
}

/// Debian starts a server of its own unless told before the package comes; the tests start theirs.
fn keep_postgres_stopped() -> Result<()> {
    let file = Path::new("/etc/postgresql-common/createcluster.conf");
    if postgres_folder().is_some() || file.exists() {
        return Ok(());
    }
    let folder = file.parent().expect("the path above has a folder");
    fs::create_dir_all(folder).context("creating /etc/postgresql-common")?;
    fs::write(file, "create_main_cluster = false\n").context("writing createcluster.conf")
}

/// A program, and the package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("psql", "postgresql-client"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("c++", "g++"),
    ("go", "golang-go"),
    ("npm", "npm"),
    ("podman", "podman"),
    ("runc", "runc"),
];
