//! Tests in a network namespace of their own: against a Kubernetes cluster, and behind a load balancer.
//!
//! An API server takes no loopback address for an endpoint, and the addresses of this machine are no targets for
//! tests under load. So the tests get a network in which there is nothing but loopback and one address on it, kept for
//! documentation (RFC 5737).

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::libtest;
use crate::process::{cargo, find, loud, run_quietly, step};
use crate::setup::Parts;
use crate::tally::Tally;
use crate::test::words;
use crate::workspace::root;

/// Where endpoints are, and what tells the tests.
const ADDRESS: &str = "192.0.2.77";
const TOLD: &str = "PORTCULLIS_TEST_ADDRESS";
/// Tells the tests which store is wanted.
const STORE: &str = "PORTCULLIS_TEST_STORE";
/// Gives the tests a cluster, which then is not started for them.
const KUBECONFIG: &str = "PORTCULLIS_TEST_KUBECONFIG";
/// What runs on K3s's datastore each time: where watches begin and begin again, and where several write. The others ask the
/// API server for nothing that a store could answer in another way.
const ON_KINE: [&str; 3] = ["changes::what", "outage::", "reporting::findings"];
/// Tells tests that they may build a network.
const NETWORK: &str = "PORTCULLIS_TEST_NETWORK";
/// Brings loopback up, then becomes what is asked for.
const LOOPBACK: &str = "ip link set lo up && exec \"$0\" \"$@\"";
/// Makes the network, then becomes what is asked for.
const INSIDE: &str = "ip link set lo up && ip address add \"$0/32\" dev lo && exec \"$@\"";

/// What keeps the state of the API servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// As Kubernetes has it everywhere else.
    Etcd,
    /// As K3s has it.
    Kine,
}

/// Runs the tests whose name contains one of `filters`, or all: on etcd, and some of them once more on K3s's datastore.
/// Nothing, loudly, where the system makes no namespace or there is no API server.
pub(crate) fn test(filters: &[String], parts: &Parts) -> Result<Tally> {
    let mut tally = test_on(Store::Etcd, filters, parts)?;
    // Somebody's cluster has the store that it has.
    if filters.is_empty() && env::var_os(KUBECONFIG).is_none() {
        let some = ON_KINE.map(str::to_owned);
        tally += test_on(Store::Kine, &some, parts)?;
    }
    Ok(tally)
}

/// Runs the tests whose name contains one of `filters`, or all, with one kind of store, or on the cluster that was given.
pub(crate) fn test_on(store: Store, filters: &[String], parts: &Parts) -> Result<Tally> {
    if env::var_os(KUBECONFIG).is_some() {
        step(&format!("tests against the cluster of {KUBECONFIG}"));
        return libtest::run(|arguments| suite(cargo(), arguments, parts), &words(filters));
    }
    step(&format!("tests against a cluster on {store:?}, in a network namespace"));
    let missing = parts.apiserver.is_none() || store == Store::Kine && parts.kine.is_none();
    if missing {
        // The setup has said why.
        return Ok(Tally::default());
    }
    if find("ip").is_none() || run_quietly(namespace().arg("true")).is_err() {
        loud("no network namespace can be made here: tests against a cluster are skipped");
        return Ok(Tally::default());
    }
    let command = |arguments: &[&str]| {
        let mut command = namespace();
        command.args(["sh", "-c", INSIDE, ADDRESS]).arg(cargo().get_program()).env(TOLD, ADDRESS);
        if store == Store::Kine {
            command.env(STORE, "kine");
        }
        suite(command, arguments, parts)
    };
    libtest::run(command, &words(filters))
}

/// What cargo is asked for.
fn suite(mut cargo: Command, arguments: &[&str], parts: &Parts) -> Command {
    cargo.args(["test", "--offline", "--package", "portcullis-tests", "--test", "cluster", "--"]);
    cargo.args(arguments).current_dir(root());
    parts.tell(&mut cargo);
    cargo
}

/// Runs the tests that build a network, as those against a cluster. They make namespaces of their own, and start servers that
/// root may not: so only root runs them, as itself.
pub(crate) fn test_network(filters: &[String], parts: &Parts) -> Result<Tally> {
    step("tests behind a load balancer, in network namespaces");
    let mut own = Command::new("unshare");
    own.args(["--net", "true"]);
    if ["ip", "iptables", "nsenter"].into_iter().any(|program| find(program).is_none())
        || run_quietly(&mut own).is_err()
    {
        loud(
            "no network can be built here: tests behind a load balancer are skipped (they want root, ip and iptables)",
        );
        return Ok(Tally::default());
    }
    let command = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", LOOPBACK]).arg(cargo().get_program());
        command.args(["test", "--offline", "--package", "portcullis-tests", "--test", "servicelb", "--"]);
        command.args(arguments).current_dir(root()).env(NETWORK, "own");
        parts.tell(&mut command);
        command
    };
    libtest::run(command, &words(filters))
}

/// `unshare` with a network of its own, as root or as a user who becomes it there.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user"]);
    command
}
