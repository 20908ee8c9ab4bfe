//! The last good state on disk: a gateway that starts while the API server is away serves what it served before.

use std::path::Path;
use std::time::Instant;

use portcullis_tests::cluster::namespace_address;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, server, service, to};
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::process::poll;
use portcullis_tests::upstream::{Upstream, ok};
use tempfile::TempDir;

use crate::changes::over_tls;
use crate::{api_server, await_answer};

fn start(kubeconfig: &Path, folder: &TempDir, key: Option<&str>) -> Gateway {
    let cache = folder.path().join("cache");
    let key_file = folder.path().join("key");
    let mut arguments = vec!["--kubernetes", "--cache-dir", cache.to_str().expect("text")];
    if let Some(key) = key {
        std::fs::write(&key_file, key).expect("a key");
        arguments.extend(["--cache-key-file", key_file.to_str().expect("text")]);
    }
    Setup::new("", &[80, 443]).arguments(&arguments).variable("KUBECONFIG", kubeconfig).start()
}

fn await_source(gateway: &Gateway, source: &str) {
    gateway.await_samples(source, |samples| {
        samples.sum("portcullis_configuration_source", &[("source", source)]) == 1.0
    });
}

#[test]
fn a_gateway_that_starts_without_the_api_server_serves_what_was_saved() {
    let Some((_turn, mut cluster)) = api_server() else { return };
    let upstream = Upstream::serve_on(namespace_address(), |_| ok("app"));
    let (kubeconfig, folder) = (cluster.account(), TempDir::new().expect("a folder"));
    cluster.install_crds();
    let authority = Authority::new("root");
    let https = objects::server(443, "HTTPS", &["a.test"], "{mode: SIMPLE, credentialName: a}");
    cluster.apply(&authority.server(&["a.test"]).tls_secret("istio-system", "a"));
    cluster.apply(&objects::gateway("gw", &[server(80, &["*"]), https]));
    cluster
        .apply(&(service("app", "http", &[upstream.address()]) + &routes("app", &["*"], &[to("app", "")])));

    let key = Some("0123456789abcdef0123456789abcdef");
    let gateway = start(&kubeconfig, &folder, key);
    await_answer("the route is live", &gateway, "a.test", |answer| answer.text() == "app");
    await_source(&gateway, "cluster");
    gateway.await_error("the state of the cluster is kept");
    // Both die without a word.
    drop(gateway);
    cluster.kill();

    // The key opens the Secrets; without it TLS is as without them, and said to be so.
    let begin = Instant::now();
    let gateway = start(&kubeconfig, &folder, key);
    println!("ready without the API server after {:?}", begin.elapsed());
    await_answer("http", &gateway, "a.test", |answer| answer.text() == "app");
    assert_eq!(
        poll(Instant::now() + LIMIT, || over_tls(&gateway, "a.test", &authority)).as_deref(),
        Some("app")
    );
    assert_eq!(gateway.page("Health", "/healthz/ready").status, 200);
    await_source(&gateway, "cache");
    assert!(gateway.page("Admin", "/server_info").text().contains("\"configurationSource\": \"cache\""));
    let said = || gateway.page("Admin", "/diagnostics").text().contains("ServedAsSaved").then_some(());
    poll(Instant::now() + LIMIT, said).expect("it is said that the state is a saved one");
    drop(gateway);

    let gateway = start(&kubeconfig, &folder, None);
    await_answer("http", &gateway, "a.test", |answer| answer.text() == "app");
    let said =
        || Some(gateway.page("Admin", "/diagnostics").text()).filter(|page| page.contains("without Secrets"));
    let said = poll(Instant::now() + LIMIT, said).expect("it is said that Secrets are missing");
    assert!(said.contains("IST0101"), "{said}");
    assert_eq!(over_tls(&gateway, "a.test", &authority), None);

    // The API server comes back, and so does everything else; what was saved is not served any longer.
    cluster.start_again();
    await_source(&gateway, "cluster");
    assert_eq!(
        poll(Instant::now() + LIMIT, || over_tls(&gateway, "a.test", &authority)).as_deref(),
        Some("app")
    );
    let said = || (!gateway.page("Admin", "/diagnostics").text().contains("ServedAsSaved")).then_some(());
    poll(Instant::now() + LIMIT, said).expect("it is not said any more");
    cluster.delete("VirtualService", "default", "app");
    await_answer("the route is gone", &gateway, "a.test", |answer| answer.status == 404);
    drop(gateway);

    // A file that somebody has damaged is told of and not believed.
    let file = folder.path().join("cache/cluster");
    let text = std::fs::read(&file).expect("the file");
    std::fs::write(&file, &text[..text.len() / 2]).expect("written");
    let gateway = start(&kubeconfig, &folder, None);
    gateway.await_error("the saved state of the cluster is ignored");
    await_source(&gateway, "cluster");
}
