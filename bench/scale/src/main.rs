//! Starts the built gateway on large configurations and tells how long that takes, what it keeps in memory, how soon
//! after a file is renamed into place requests see it, and what a request costs.
//!
//! `PORTCULLIS_TEST_BINARY` names the gateway. On a machine with other work the times say more about that; memory and
//! the processor's time of a request do not.

mod configuration;

use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::raw::Raw;

use configuration::Configuration;

/// Requests of one measurement.
const REQUESTS: usize = 2_000;
/// Measurements, of which the least counts: the others were disturbed.
const ROUNDS: usize = 7;
/// After this long, what a start needed is given back to the system, and findings are known.
const SETTLED: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Arguments {
    /// Numbers of hosts, one run for each; five endpoints each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 10_000])]
    hosts: Vec<usize>,
    /// Numbers of hosts with an EndpointSlice for each of their endpoints: more objects than Kubernetes makes.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000])]
    apart: Vec<usize>,
    /// Numbers of routes of one host.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000])]
    routes: Vec<usize>,
    /// Numbers of certificates.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000])]
    certificates: Vec<usize>,
    /// Changes in each run.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

fn main() {
    let Arguments { hosts, apart, routes, certificates, changes } = Arguments::parse();
    println!(
        "{:<24} {:>12} {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10} | {:>10}",
        "", "ready", "at ready", "settled", "changed", "median", "99 of 100", "longest", "a request"
    );
    let hosts = hosts.into_iter().map(|count| Configuration::Hosts { count, apart: false });
    let apart = apart.into_iter().map(|count| Configuration::Hosts { count, apart: true });
    let routes = routes.into_iter().map(Configuration::Routes);
    let certificates = certificates.into_iter().map(Configuration::Certificates);
    hosts
        .chain(apart)
        .chain(routes)
        .chain(certificates)
        .for_each(|configuration| run(configuration, changes));
}

fn run(configuration: Configuration, changes: usize) {
    let gateway = configuration.setup().start();
    let ready = ready(&gateway);
    let first = gateway.resident();
    std::thread::sleep(SETTLED);
    let settled = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    let mut times: Vec<Duration> =
        (1..=changes).map(|turn| change(configuration, &gateway, &mut client, turn)).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        time.map_or("-".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
    };
    let changed = gateway.resident();
    let request = request(configuration, &gateway, &mut client);
    let mebibytes = |kibibytes: u64| format!("{:.1} MiB", kibibytes as f64 / 1024.0);
    println!(
        "{:<24} {ready:>12} {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10} | {:>7.2} us",
        configuration.name(),
        mebibytes(first),
        mebibytes(settled),
        mebibytes(changed),
        at(50),
        at(99),
        at(100),
        request.as_secs_f64() * 1e6,
    );
}

/// What the gateway says of its start.
fn ready(gateway: &Gateway) -> String {
    let log = gateway.errors();
    let after = log.lines().find_map(|line| line.split_once("ready after=")).map(|(_, after)| after);
    after.and_then(|after| after.split(' ').next()).unwrap_or("unknown").to_owned()
}

/// From the moment the file is in its place until a request sees it.
fn change(configuration: Configuration, gateway: &Gateway, client: &mut Raw, turn: usize) -> Duration {
    let asked = configuration.question(turn * 7919);
    gateway.write(&asked.file, &configuration.file(turn * 7919, turn));
    let begun = Instant::now();
    while client.get(&asked.path, &asked.host).text() != turn.to_string() {}
    begun.elapsed()
}

/// What a request costs of the processor, the look-up being all that differs among configurations.
fn request(configuration: Configuration, gateway: &Gateway, client: &mut Raw) -> Duration {
    let questions: Vec<_> = (0..64).map(|turn| configuration.question(turn * 104_729)).collect();
    let round = |_| {
        let before = gateway.processor();
        for asked in questions.iter().cycle().take(REQUESTS) {
            client.get(&asked.path, &asked.host);
        }
        gateway.processor().saturating_sub(before) / u32::try_from(REQUESTS).unwrap_or(u32::MAX)
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}
