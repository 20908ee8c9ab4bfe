//! The gateway on a Kubernetes cluster: against a real API server, with the account and the rules it is deployed with.
//!
//! Each test has an API server of its own and runs alone: one takes 300 MiB. Those that need no more than a few names of
//! their own run against any cluster, too (`PORTCULLIS_TEST_KUBECONFIG`).

mod certificates;
mod changes;
mod definitions;
mod deploy;
mod doctor;
mod external_dns;
mod guide;
mod load;
mod outage;
mod reporting;
mod saved;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portcullis_tests::cluster::ApiServer;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::process::poll;
use portcullis_tests::raw::{Answer, Raw};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An API server for one test at a time.
fn api_server() -> Option<(MutexGuard<'static, ()>, ApiServer)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Some((turn, ApiServer::start()?))
}

/// The cluster that the tests were given, else an API server, for one test at a time.
fn any_cluster() -> Option<(MutexGuard<'static, ()>, ApiServer)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Some((turn, ApiServer::any()?))
}

/// A gateway that follows the cluster.
fn follow(cluster: &ApiServer, kubeconfig: &Path, ports: &[u16]) -> Gateway {
    let setup = Setup::new("", ports).arguments(&["--kubernetes"]).variable("KUBECONFIG", kubeconfig);
    cluster.place(setup).start()
}

/// Asks until the answer is as wanted, each time on a connection of its own.
fn await_answer(what: &str, gateway: &Gateway, host: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    let found = poll(Instant::now() + LIMIT, || {
        // The port may not be bound yet.
        let stream = std::net::TcpStream::connect(gateway.address(80)).ok()?;
        let answer = Raw::on(stream).get("/", host);
        last = Some(answer.clone());
        Some(answer).filter(|answer| wanted(answer))
    });
    found.unwrap_or_else(|| panic!("{what}: {last:?}\n{}", gateway.errors()))
}

/// Waits until every kind that is installed is followed.
fn await_following(gateway: &Gateway) {
    gateway.await_samples("everything is followed", |samples| {
        let watches = |state: &str| samples.sum("portcullis_cluster_watches", &[("state", state)]);
        watches("following") >= 11.0 && watches("failing") + watches("forbidden") == 0.0
    });
}

/// Waits until so many watches are in a state.
fn await_watches(gateway: &Gateway, state: &str, count: f64) {
    gateway.await_samples(&format!("{count} watches {state}"), |samples| {
        samples.sum("portcullis_cluster_watches", &[("state", state)]) == count
    });
}
