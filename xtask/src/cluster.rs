//! Tests in a network namespace of their own: against a Kubernetes cluster, and behind a load balancer.
//!
//! An API server takes no loopback address for an endpoint, and the addresses of this machine are no targets for
//! tests under load. So the tests get a network in which there is nothing but loopback and one address on it, kept for
//! documentation (RFC 5737).

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
/// Tells tests that they may build a network.
const NETWORK: &str = "PORTCULLIS_TEST_NETWORK";
/// Brings loopback up, then becomes what is asked for.
const LOOPBACK: &str = "ip link set lo up && exec \"$0\" \"$@\"";
/// Makes the network, then becomes what is asked for.
const INSIDE: &str = "ip link set lo up && ip address add \"$0/32\" dev lo && exec \"$@\"";

/// Runs the tests whose name contains one of `filters`, or all; nothing, loudly, where the system makes no namespace or
/// there is no API server.
pub(crate) fn test(filters: &[String], parts: &Parts) -> Result<Tally> {
    step("tests against a cluster, in a network namespace");
    if parts.apiserver.is_none() {
        // The setup has said why.
        return Ok(Tally::default());
    }
    if find("ip").is_none() || run_quietly(namespace().arg("true")).is_err() {
        loud("no network namespace can be made here: tests against a cluster are skipped");
        return Ok(Tally::default());
    }
    let command = |arguments: &[&str]| {
        let mut command = namespace();
        command.args(["sh", "-c", INSIDE, ADDRESS]).arg(cargo().get_program());
        command.args(["test", "--offline", "--package", "portcullis-tests", "--test", "cluster", "--"]);
        command.args(arguments).current_dir(root()).env(TOLD, ADDRESS);
        parts.tell(&mut command);
        command
    };
    libtest::run(command, &words(filters))
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
