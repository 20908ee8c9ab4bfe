//! Endpoints that come and go under load, and many routes.

use std::sync::atomic::Ordering;
use std::time::Instant;

use portcullis_tests::cluster::namespace_address;
use portcullis_tests::gateway::LIMIT;
use portcullis_tests::http::{gateway, routes, service, slices, to};
use portcullis_tests::process::poll;
use portcullis_tests::upstream::{Upstream, ok};

use crate::outage::under_load;
use crate::{any_cluster, await_answer, follow};

/// Changes of the endpoints.
const SWAPS: usize = 15;
/// Routes of the larger cluster.
const ROUTES: usize = 2_000;
/// Connections that write them.
const WRITERS: usize = 4;

#[test]
fn endpoints_come_and_go_without_a_lost_request() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let address = namespace_address();
    let members: Vec<Upstream> = (0..3).map(|_| Upstream::serve_on(address, |_| ok("app"))).collect();
    let addresses: Vec<_> = members.iter().map(Upstream::address).collect();
    let kubeconfig = cluster.account();
    cluster.install_crds();
    let service_alone = service("app", "http", &[]);
    cluster.apply(&(gateway() + &routes("app", &["*"], &[to("app", "")]) + &service_alone));
    cluster.apply(&slices("app", "http", &addresses[..2]));
    let gateway = follow(&cluster, &kubeconfig, &[80]);
    await_answer("the route is live", &gateway, "a.test", |answer| answer.text() == "app");
    under_load(&gateway, |answers| {
        for number in 0..SWAPS {
            let generation = gateway.generation();
            cluster.apply(&slices(
                "app",
                "http",
                &[addresses[(number + 1) % 3], addresses[(number + 2) % 3]],
            ));
            let newer = || (gateway.generation() > generation).then_some(());
            poll(Instant::now() + LIMIT, newer).expect("the change arrives");
            let before = answers.load(Ordering::Relaxed);
            let more = || (answers.load(Ordering::Relaxed) > before + 8).then_some(());
            poll(Instant::now() + LIMIT, more).expect("requests go on");
        }
    });
    assert!(members.iter().all(|member| !member.arrivals().is_empty()));
}

#[test]
fn thousands_of_routes() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let address = namespace_address();
    let upstream = Upstream::serve_on(address, |_| ok("app"));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.apply(&(gateway() + &service("app", "http", &[upstream.address()])));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut client = cluster.client();
            scope.spawn(move || {
                for number in (writer..ROUTES).step_by(WRITERS) {
                    let host = format!("r{number}.test");
                    client.apply(&routes(&format!("r{number}"), &[&host], &[to("app", "")]));
                }
            });
        }
    });
    let start = Instant::now();
    let gateway = follow(&cluster, &kubeconfig, &[80]);
    let ready = start.elapsed();
    // Ready means with all of them: no page of the list is served alone.
    let last = format!("r{}.test", ROUTES - 1);
    await_answer("the last one is served", &gateway, &last, |answer| answer.text() == "app");
    let change = Instant::now();
    cluster.delete("VirtualService", "default", "r7");
    await_answer("one of many is gone", &gateway, "r7.test", |answer| answer.status == 404);
    println!(
        "{ROUTES} VirtualServices: ready after {ready:?}, {} MiB, a change after {:?} (unoptimised build)",
        gateway.resident() / 1024,
        change.elapsed()
    );
}
