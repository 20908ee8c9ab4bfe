//! Starts the built gateway on a folder with many hosts, each with its own file, Service and EndpointSlice, and tells
//! how long that takes, what it keeps in memory, and how soon after a file is renamed into place requests see it.
//!
//! `PORTCULLIS_TEST_BINARY` names the gateway.

use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http;
use portcullis_tests::raw::Raw;

#[derive(Parser)]
struct Arguments {
    /// Numbers of hosts, one run for each.
    #[arg(long, default_values_t = [10, 1_000, 10_000])]
    hosts: Vec<usize>,
    /// Changes in each run.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

fn main() {
    let arguments = Arguments::parse();
    println!(
        "{:>8} {:>12} {:>12} {:>12} | {:>10} {:>10} {:>10}",
        "hosts", "ready", "resident", "afterwards", "median", "99 of 100", "longest"
    );
    for hosts in arguments.hosts {
        run(hosts, arguments.changes);
    }
}

fn run(hosts: usize, changes: usize) {
    let setup = (0..hosts).fold(Setup::new(http::gateway(), &[80]), |setup, number| {
        setup.file(&format!("app-{number}.yaml"), &application(number, 0))
    });
    let gateway = setup.start();
    let ready = ready(&gateway);
    let resident = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    let mut times: Vec<Duration> =
        (1..=changes).map(|turn| change(&gateway, &mut client, turn * 7919 % hosts, turn)).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times[(times.len() * percent / 100).min(times.len() - 1)];
        format!("{:.2} ms", time.as_secs_f64() * 1e3)
    };
    let mebibytes = |kibibytes: u64| format!("{:.1} MiB", kibibytes as f64 / 1024.0);
    println!(
        "{hosts:>8} {ready:>12} {:>12} {:>12} | {:>10} {:>10} {:>10}",
        mebibytes(resident),
        mebibytes(gateway.resident()),
        at(50),
        at(99),
        at(100)
    );
}

/// What the gateway says of its start.
fn ready(gateway: &Gateway) -> String {
    let log = gateway.errors();
    let after = log.lines().find_map(|line| line.split_once("ready after=")).map(|(_, after)| after);
    after.and_then(|after| after.split(' ').next()).unwrap_or("unknown").to_owned()
}

/// From the moment the file is in its place until a request sees it.
fn change(gateway: &Gateway, client: &mut Raw, number: usize, turn: usize) -> Duration {
    let host = format!("app-{number}.test");
    gateway.write(&format!("app-{number}.yaml"), &application(number, turn));
    let begun = Instant::now();
    while client.get("/turn", &host).text() != turn.to_string() {}
    begun.elapsed()
}

fn application(number: usize, turn: usize) -> String {
    let name = format!("app-{number}");
    let (high, low) = (number / 250 % 250, number % 250);
    let members: Vec<_> = (1..=5).map(|last| ([10, high as u8, low as u8, last], 8080).into()).collect();
    let turn = format!(
        "{{match: [{{uri: {{prefix: /turn}}}}], directResponse: {{status: 200, body: {{string: '{turn}'}}}}}}"
    );
    let rules = [turn, http::prefix("/api/", &name, "timeout: 5s"), http::to(&name, "")];
    http::routes(&name, &[&format!("{name}.test")], &rules) + &http::service(&name, "http", &members)
}
