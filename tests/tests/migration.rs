//! The resources of the guide from Traefik to Istio (`config/examples/istio-migration`), as they are,
//! end to end with curl, psql and openssl. Only where the backends listen is the test's own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::slices;
use portcullis_tests::pki::Authority;
use portcullis_tests::postgres::{Postgres, Psql, Which};
use portcullis_tests::process::{Finished, run};
use portcullis_tests::upstream::{Upstream, ok};

const APP: &str = "app.fullstack.pw";
const DATABASE: &str = "dev.postgres.fullstack.pw";

/// A file of the example without its EndpointSlices, which say where backends of a developer's machine listen.
fn example(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/istio-migration");
    let text = fs::read_to_string(folder.join(file)).expect("the example is there");
    let documents = text.split("\n---\n").filter(|document| !document.contains("kind: EndpointSlice"));
    documents.collect::<Vec<_>>().join("\n---\n")
}

/// The gateway on the example, its certificates made by `authority`.
fn gateway(authority: &Authority, app: SocketAddr, database: SocketAddr) -> Gateway {
    let secret = |name: &str, host: &str| authority.server(&[host]).tls_secret("istio-system", name);
    let secrets = format!(
        "{}\n---\n{}",
        secret("wildcard-fullstack-pw", "*.fullstack.pw"),
        secret("app-fullstack-pw", APP)
    );
    let members =
        slices("app", "http", &[app]) + &slices("testing-postgresql", "tcp-postgresql", &[database]);
    Setup::new(example("default-gateway.yaml"), &[80, 443, 5432])
        .file("application.yaml", &example("application.yaml"))
        .file("postgresql.yaml", &example("postgresql.yaml"))
        .file("secrets.yaml", &secrets)
        .file("members.yaml", &members)
        .start()
}

fn curl(gateway: &Gateway, root: &Path, url: &str) -> Finished {
    let port = if url.starts_with("https:") { 443 } else { 80 };
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "20", "--cacert"]).arg(root);
    command.args(["--connect-to", &format!("::127.0.0.1:{}", gateway.port(port)), url]);
    run(&mut command, Duration::from_secs(30)).expect("curl runs")
}

#[test]
fn the_application_is_served_and_plaintext_redirected() {
    let authority = Authority::new("guide");
    let app = Upstream::serve(|_| ok("the application"));
    let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let gateway = gateway(&authority, app.address(), unused);
    let folder = tempfile::tempdir().expect("a folder");
    let root = authority.write(folder.path(), "root").expect("the root certificate");

    let page = curl(&gateway, &root, &format!("https://{APP}/any/path"));
    assert!(
        page.stdout.contains(" 200") && page.stdout.ends_with("the application"),
        "{}{}",
        page.stdout,
        page.stderr
    );
    assert_eq!(app.targets(), ["/any/path"]);

    let moved = curl(&gateway, &root, &format!("http://{APP}/x?y"));
    assert!(moved.stdout.starts_with("HTTP/1.1 301"), "{}", moved.stdout);
    assert!(moved.stdout.contains(&format!("location: https://{APP}/x?y")), "{}", moved.stdout);

    // The default gateway's wildcard certificate, and nothing routed there.
    let nothing = curl(&gateway, &root, "https://other.fullstack.pw/");
    assert!(nothing.stdout.contains(" 404"), "{}{}", nothing.stdout, nothing.stderr);
}

#[test]
fn the_database_is_reached_by_name() {
    let authority = Authority::new("guide");
    let Some(database) = Postgres::start(Which::System, "testing", &authority.server(&[DATABASE])) else {
        return;
    };
    let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let gateway = gateway(&authority, unused, database.address());
    let folder = tempfile::tempdir().expect("a folder");
    let root = authority.write(folder.path(), "root").expect("the root certificate");

    let psql = Psql::new(DATABASE, gateway.port(5432)).ssl_mode("verify-full").root(&root);
    let answer = psql.run("select current_setting('cluster_name')").expect("psql runs");
    assert_eq!((answer.code(), answer.stdout.trim()), (0, "testing"), "{}", answer.stderr);

    let address = gateway.address(5432).to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-starttls", "postgres", "-connect", &address, "-servername", DATABASE]);
    openssl.arg("-CAfile").arg(&root).stdin(Stdio::null());
    let shown = run(&mut openssl, Duration::from_secs(20)).expect("openssl runs");
    for part in [&format!("subject=CN = {DATABASE}"), "Verification: OK"] {
        assert!(shown.stdout.contains(part), "{part} in {}", shown.stdout);
    }
}
