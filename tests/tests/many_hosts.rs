//! One change among many hosts: it is served whatever else there is, alone, and what is wrong with it is said in the
//! end.

use std::fmt::Write as _;
use std::time::Instant;

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, slices, to};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

/// Enough for findings to be looked for after what they are about is served.
const HOSTS: usize = 600;

/// Waits for this answer to a request for the host, on a connection that was there before.
fn await_answer(gateway: &Gateway, client: &mut Raw, host: &str, status: u16, body: &str) {
    let answer = || {
        let answer = client.get("/", host);
        (answer.status == status && answer.text() == body).then_some(())
    };
    let found = poll(Instant::now() + LIMIT, answer);
    assert!(found.is_some(), "{host} does not answer {status} {body:?}:\n{}", gateway.errors());
}

fn await_finding(gateway: &Gateway, part: &str, there: bool) {
    let found = || (gateway.page("Admin", "/diagnostics").text().contains(part) == there).then_some(());
    let found = poll(Instant::now() + LIMIT, found);
    assert!(
        found.is_some(),
        "{part}: {there} is not said:\n{}",
        gateway.page("Admin", "/diagnostics").text()
    );
}

#[test]
fn what_changes_among_many_hosts_is_served_and_the_others_stay() {
    let (old, new) = (Upstream::serve(|_| ok("old")), Upstream::serve(|_| ok("new")));
    let mut many = String::new();
    for number in 0..HOSTS {
        let rule = format!("{{directResponse: {{status: 200, body: {{string: '{number}'}}}}}}");
        let _ =
            write!(many, "{}", routes(&format!("many-{number}"), &[&format!("many-{number}.test")], &[rule]));
    }
    let app = routes("app", &["app.test"], &[to("app", "")]) + &service("app", "http", &[old.address()]);
    let gateway = Setup::new(gateway() + &many, &[80]).file("app.yaml", &app).start();
    let mut client = Raw::connect(gateway.address(80));
    await_answer(&gateway, &mut client, "app.test", 200, "old");

    // Another endpoint, and nothing else.
    let moved =
        app.replace(&slices("app", "http", &[old.address()]), &slices("app", "http", &[new.address()]));
    gateway.write("app.yaml", &moved);
    await_answer(&gateway, &mut client, "app.test", 200, "new");

    // A host that was not there, with a service that was not there.
    let added =
        routes("added", &["added.test"], &[to("added", "")]) + &service("added", "http", &[old.address()]);
    assert_eq!(client.get("/", "added.test").status, 404);
    gateway.write("added.yaml", &added);
    await_answer(&gateway, &mut client, "added.test", 200, "old");

    // It names a service that is not there: it is served so at once, and reported.
    gateway.write("added.yaml", &added.replace("host: added", "host: nobody"));
    await_answer(&gateway, &mut client, "added.test", 503, "");
    await_finding(&gateway, "nobody", true);
    gateway.write("added.yaml", &added);
    await_answer(&gateway, &mut client, "added.test", 200, "old");
    await_finding(&gateway, "nobody", false);

    for number in [0, HOSTS / 2, HOSTS - 1] {
        let answer = client.get("/", &format!("many-{number}.test"));
        assert_eq!((answer.status, answer.text()), (200, number.to_string()));
    }
    await_answer(&gateway, &mut client, "app.test", 200, "new");
}
