//! The API server goes away and comes back, while clients send requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::cluster::namespace_address;
use portcullis_tests::gateway::{Gateway, LIMIT};
use portcullis_tests::http::{routes, site, to};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

use crate::{api_server, await_answer, await_watches, follow};

/// How long the API server is away, seconds; `PORTCULLIS_TEST_OUTAGE` makes it longer.
const OUTAGE: u64 = 10;
/// Connections that ask all the time.
const CLIENTS: usize = 4;

/// Runs `story` while clients send requests, each on one connection to the end; a request or a connection that fails, fails
/// the test. Gives how many were answered.
pub(crate) fn under_load(gateway: &Gateway, story: impl FnOnce(&AtomicUsize)) -> usize {
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Raw::connect(gateway.address(80));
                while !done.load(Ordering::Relaxed) {
                    let answer = client.get("/", "a.test");
                    assert!(answer.status == 200 && answer.header("connection").is_none(), "{answer:?}");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens in the story, the clients end.
        let end = Ends(&done);
        story(&answers);
        drop(end);
    });
    answers.into_inner()
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_api_server_that_dies_takes_nothing_along() {
    let Some((_turn, mut cluster)) = api_server() else { return };
    let address = namespace_address();
    let upstream = Upstream::serve_on(address, |_| ok("app"));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.apply(&site(upstream.address(), ""));
    let gateway = follow(&cluster, &kubeconfig, &[80]);
    await_answer("the route is live", &gateway, "a.test", |answer| answer.text() == "app");

    let longer = std::env::var("PORTCULLIS_TEST_OUTAGE").ok();
    let outage = Duration::from_secs(longer.map_or(OUTAGE, |text| text.parse().expect("seconds")));
    let answered = under_load(&gateway, |answers| {
        cluster.kill();
        let end = Instant::now() + outage;
        gateway.await_samples("the loss is told", |samples| {
            samples.sum("portcullis_cluster_watches", &[("state", "failing")]) == 11.0
        });
        let before = answers.load(Ordering::Relaxed);
        let more = || (answers.load(Ordering::Relaxed) > before + 10 * CLIENTS).then_some(());
        poll(Instant::now() + LIMIT, more).expect("requests are answered meanwhile");
        assert!(gateway.page("Admin", "/diagnostics").text().contains("WatchFailing"));
        // All that time the gateway is ready and answers.
        while Instant::now() < end {
            assert_eq!(gateway.page("Health", "/healthz/ready").status, 200);
            let before = answers.load(Ordering::Relaxed);
            let more = || (answers.load(Ordering::Relaxed) > before).then_some(());
            poll(Instant::now() + LIMIT, more).expect("requests are answered meanwhile");
        }
        let age = gateway.samples().sum("portcullis_configuration_age_seconds", &[]);
        assert!(age >= outage.as_secs_f64() - 1.0, "the configuration grows old: {age}");
        cluster.start_again();
        gateway.await_samples("the watches are back", |samples| {
            samples.sum("portcullis_cluster_watches", &[("state", "following")]) == 11.0
        });
        // What is written afterwards arrives, and what was there has not been away.
        cluster.apply(&routes("more", &["b.test"], &[to("app", "")]));
        await_answer("news arrive again", &gateway, "b.test", |answer| answer.text() == "app");
    });
    assert!(answered > 0);
    await_watches(&gateway, "failing", 0.0);
    let samples = gateway.samples();
    assert_eq!(samples.sum("istio_requests_total", &[("response_code", "503")]), 0.0);
}
