//! The guide from Traefik to Istio (`config/examples/istio-migration`), typed into kubectl as it stands there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use portcullis_tests::cluster::{ApiServer, has_kubectl, namespace_address};
use portcullis_tests::gateway::{Gateway, LIMIT};
use portcullis_tests::http::slices;
use portcullis_tests::pki::Authority;
use portcullis_tests::process::poll;
use portcullis_tests::upstream::{Upstream, ok};

use crate::changes::over_tls;
use crate::{any_cluster, await_answer, await_following, follow};

const APP: &str = "app.fullstack.pw";
const DATABASE: &str = "dev.postgres.fullstack.pw";
/// How soon what was applied must be served; far more than it takes on an idle machine.
const LIVE: Duration = Duration::from_secs(5);

/// A manifest of the guide, without the EndpointSlices of a developer's machine: here pods have addresses of their own.
fn manifest(cluster: &ApiServer, file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/istio-migration");
    let text = fs::read_to_string(folder.join(file)).expect("the example is there");
    let documents = text.split("\n---\n").filter(|document| !document.contains("kind: EndpointSlice"));
    cluster.name_of(&documents.collect::<Vec<_>>().join("\n---\n"))
}

/// Types it, with a manifest on standard input; gives what it prints.
fn kubectl(cluster: &ApiServer, arguments: &[&str], manifest: &str) -> String {
    let mut command = cluster.kubectl(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl runs");
    child.stdin.take().expect("piped").write_all(manifest.as_bytes()).expect("read to the end");
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// The rows of a table, each with its words.
fn table(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn await_live(what: &str, gateway: &Gateway, since: Instant, host: &str, authority: &Authority, text: &str) {
    let answered = || over_tls(gateway, host, authority).filter(|answer| answer == text);
    poll(since + LIVE, answered).unwrap_or_else(|| panic!("{what}: {}", gateway.errors()));
    println!("{what}: live {:?} after kubectl was asked", since.elapsed());
}

#[test]
fn the_guide_is_followed_with_kubectl() {
    let Some((_turn, cluster)) = any_cluster().filter(|_| has_kubectl()) else { return };
    let (address, authority) = (namespace_address(), Authority::new("guide"));
    let app = Upstream::serve_on(address, |_| ok("the application"));
    cluster.install_crds();
    let gateway = follow(&cluster, &cluster.account(), &[80, 443, 5432]);
    await_following(&gateway);
    let secret = |name: &str, host: &str| authority.server(&[host]).tls_secret("istio-system", name);
    cluster.apply(&secret("wildcard-fullstack-pw", "*.fullstack.pw"));
    cluster.apply(&secret("app-fullstack-pw", APP));
    cluster.apply(&slices("app", "http", &[app.address()]));
    let [default, application, database] =
        ["default-gateway.yaml", "application.yaml", "postgresql.yaml"].map(|file| manifest(&cluster, file));

    // The default gateway: plaintext is sent to https, and every host has a certificate.
    let said = kubectl(&cluster, &["apply", "-f", "-"], &default);
    assert!(said.contains("gateway.networking.istio.io/default-gateway created"), "{said}");
    await_answer("the redirect", &gateway, APP, |answer| answer.status == 301);

    // An application with a Gateway of its own.
    let start = Instant::now();
    let said = kubectl(&cluster, &["apply", "-f", "-"], &application);
    assert!(said.contains("virtualservice.networking.istio.io/app-vs created"), "{said}");
    await_live("the application", &gateway, start, APP, &authority, "the application");
    assert!(kubectl(&cluster, &["apply", "-f", "-"], &application).contains("app-vs unchanged"));

    // The database; `migration.rs` has psql go through.
    kubectl(&cluster, &["apply", "-f", "-"], &database);
    let routed = || gateway.page("Admin", "/config_dump").text().contains(DATABASE).then_some(());
    poll(Instant::now() + LIVE, routed).expect("the database is served");

    // The tables that people know, by the names that they know.
    let (routes, own) = (cluster.name_of("default"), cluster.name_of("istio-system"));
    let shown = table(&kubectl(&cluster, &["get", "gateway", "-n", &own], ""));
    assert_eq!(shown[0], ["NAME", "AGE"]);
    let names: Vec<&str> = shown[1..].iter().map(|row| &*row[0]).collect();
    assert_eq!(names, ["app-gateway", "default-gateway", "testing-postgresql-gateway"]);
    let shown = table(&kubectl(&cluster, &["get", "virtualservice", "-n", &routes], ""));
    assert_eq!(shown[0], ["NAME", "GATEWAYS", "HOSTS", "AGE"]);
    let parents = format!("[\"{own}/app-gateway\"]");
    assert_eq!(shown[1][..3], ["app-vs", &parents, "[\"app.fullstack.pw\"]"]);
    for short in ["gw", "vs", "dr", "se", "we"] {
        kubectl(&cluster, &["get", short, "-n", &routes], "");
    }
    let explained = kubectl(&cluster, &["explain", "virtualservice.spec.http.timeout"], "");
    assert!(explained.contains("FIELD: timeout"), "{explained}");

    // What is taken back is not served.
    kubectl(&cluster, &["delete", "-f", "-"], &application);
    let gone = || over_tls(&gateway, APP, &authority).filter(String::is_empty);
    poll(Instant::now() + LIMIT, gone).expect("the route is gone");
}
