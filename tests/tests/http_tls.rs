//! HTTPS: certificates by server name, their change while connections live, resumption on any worker, client
//! certificates.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, service, to};
use portcullis_tests::objects::{gateway, server};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::process::{Finished, poll, run};
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

type Secure = Raw<StreamOwned<ClientConnection, TcpStream>>;

fn config(ca: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn connect(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> std::io::Result<Secure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    tls.complete_io(&mut stream)?;
    Ok(Raw::over(StreamOwned::new(tls, stream)))
}

fn certificate_of(client: &Secure) -> Vec<u8> {
    client.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// An HTTPS server for each name, its Secret called like the first label.
fn https(upstream: &Upstream, servers: &[(&str, &str)]) -> String {
    let servers: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(number, (host, tls))| {
            // Names of ports are unique in a Gateway.
            server(443, "HTTPS", &[host], tls).replacen("https-443", &format!("https-{number}"), 1)
        })
        .collect();
    gateway("gw", &servers)
        + &routes("app", &["*"], &[to("app", "")])
        + &service("app", "http", &[upstream.address()])
}

#[test]
fn each_name_has_its_certificate() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let names: Vec<String> = (0..50).map(|number| format!("host-{number}.test")).collect();
    let mut leaves: Vec<(String, Leaf)> =
        names.iter().map(|name| (name.clone(), ca.server(&[name]))).collect();
    leaves.push(("any.wild.test".to_owned(), ca.server(&["*.wild.test"])));
    let modes: Vec<(String, String)> = leaves
        .iter()
        .enumerate()
        .map(|(number, (name, _))| {
            let host = name.replacen("any.", "*.", 1);
            (host, format!("{{mode: SIMPLE, credentialName: secret-{number}}}"))
        })
        .collect();
    // One more, whose Secret is missing: it harms nobody else.
    let mut servers: Vec<(&str, &str)> =
        modes.iter().map(|(host, tls)| (host.as_str(), tls.as_str())).collect();
    servers.push(("missing.test", "{mode: SIMPLE, credentialName: missing}"));
    let secrets: Vec<String> = leaves
        .iter()
        .enumerate()
        .map(|(number, (_, leaf))| match number % 2 {
            0 => leaf.tls_secret("istio-system", &format!("secret-{number}")),
            _ => leaf.generic_secret("istio-system", &format!("secret-{number}")),
        })
        .collect();
    let gateway =
        Setup::new(https(&upstream, &servers), &[443]).file("secrets.yaml", &secrets.join("\n---\n")).start();
    let config = Arc::new(config(&ca, rustls::ALL_VERSIONS));
    for (name, leaf) in &leaves {
        let mut client = connect(&config, gateway.address(443), name).unwrap();
        assert!(certificate_of(&client) == leaf.certificate_der, "{name}");
        assert_eq!(client.get("/", name).text(), "fine");
    }
    for name in ["missing.test", "nobody.test", "a.b.wild.test.nobody"] {
        assert!(connect(&config, gateway.address(443), name).is_err(), "{name}");
    }
}

#[test]
fn certificates_in_files_are_followed() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let (old, new) = (ca.server(&["a.test"]), ca.server(&["a.test"]));
    let folder = tempfile::TempDir::new().unwrap();
    let (certificate, key) = old.write(folder.path(), "a").unwrap();
    let tls = |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{{mode: SIMPLE, serverCertificate: '{certificate}', privateKey: '{key}'}}")
    };
    let late = folder.path().join("b.crt");
    let (here, missing) = (tls(&certificate, &key), tls(&late, &folder.path().join("b.key")));
    let gateway = Setup::new(https(&upstream, &[("a.test", &here), ("b.test", &missing)]), &[443]).start();
    let mut client = config(&ca, rustls::ALL_VERSIONS);
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let mut before = connect(&client, gateway.address(443), "a.test").unwrap();
    assert!(certificate_of(&before) == old.certificate_der);
    assert!(connect(&client, gateway.address(443), "b.test").is_err(), "its file is missing");
    gateway.await_error(&format!("the file {} cannot be used", late.display()));

    // A renewed pair is taken, and so is one that comes late; who is connected stays so.
    let generation = gateway.generation();
    new.write(folder.path(), "a").unwrap();
    ca.server(&["b.test"]).write(folder.path(), "b").unwrap();
    let renewed = poll(Instant::now() + LIMIT, || {
        let a = connect(&client, gateway.address(443), "a.test").ok()?;
        let b = connect(&client, gateway.address(443), "b.test");
        (certificate_of(&a) == new.certificate_der && b.is_ok()).then_some(())
    });
    assert!(renewed.is_some(), "the new files are in use");
    gateway.await_newer(generation);
    assert_eq!(before.get("/", "a.test").status, 200);
}

#[test]
fn a_new_certificate_is_for_new_handshakes() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let (old, new) = (ca.server(&["a.test"]), ca.server(&["a.test"]));
    let config_yaml = https(&upstream, &[("a.test", "{mode: SIMPLE, credentialName: a}")]);
    let setup = Setup::new(config_yaml, &[443]).file("secret.yaml", &old.tls_secret("istio-system", "a"));
    let gateway = setup.start();
    let mut client = config(&ca, rustls::ALL_VERSIONS);
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let mut before = connect(&client, gateway.address(443), "a.test").unwrap();
    assert!(certificate_of(&before) == old.certificate_der);
    assert_eq!(before.get("/", "a.test").status, 200);

    gateway.apply("secret.yaml", &new.tls_secret("istio-system", "a"));
    let mut after = connect(&client, gateway.address(443), "a.test").unwrap();
    assert!(certificate_of(&after) == new.certificate_der);
    assert_eq!((before.get("/", "a.test").status, after.get("/", "a.test").status), (200, 200));

    // A Secret that cannot be used does not take away what is served.
    let broken = portcullis_tests::pki::secret(
        "istio-system",
        "a",
        "kubernetes.io/tls",
        &[("tls.crt", "no"), ("tls.key", "no")],
    );
    gateway.apply("secret.yaml", &broken);
    assert_eq!(before.get("/", "a.test").status, 200);
}

#[test]
fn sessions_are_resumed_by_any_worker() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let secret = ca.server(&["a.test"]).tls_secret("istio-system", "a");
    let yaml = https(&upstream, &[("a.test", "{mode: SIMPLE, credentialName: a}")]);
    let gateway =
        Setup::new(yaml, &[443]).file("secret.yaml", &secret).arguments(&["--workers", "2"]).start();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = config(&ca, &[version]);
        client.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(64)));
        let client = Arc::new(client);
        for number in 0..20 {
            let mut connection = connect(&client, gateway.address(443), "a.test").unwrap();
            // Tickets of TLS 1.3 come behind the handshake.
            assert_eq!(connection.get("/", "a.test").status, 200);
            let kind = connection.stream.conn.handshake_kind();
            let expected = if number == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(kind, Some(expected), "{version:?}, connection {number}");
        }
    }
}

struct Mutual {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Mutual {
    fn start(mode: &str) -> Self {
        let upstream = Upstream::serve(|_| ok("fine"));
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let folder = tempfile::tempdir().unwrap();
        servers.write(folder.path(), "ca").unwrap();
        clients.client("ann", &["ann.test"]).write(folder.path(), "ann").unwrap();
        Authority::new("others").client("eve", &["eve.test"]).write(folder.path(), "eve").unwrap();
        let secret = servers.server(&["a.test"]).mutual_secret("istio-system", "a", &clients);
        let yaml = https(&upstream, &[("a.test", &format!("{{mode: {mode}, credentialName: a}}"))]);
        let gateway = Setup::new(yaml, &[443]).file("secret.yaml", &secret).start();
        // The upstream goes on in its thread for as long as connections to it live.
        std::mem::forget(upstream);
        Self { gateway, folder }
    }

    fn curl(&self, client: Option<&str>) -> Finished {
        curl(&self.gateway, self.folder.path(), client, &[])
    }
}

/// `curl https://a.test/` with a client certificate or none.
fn curl(gateway: &Gateway, folder: &Path, client: Option<&str>, more: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    let address = format!("a.test:443:127.0.0.1:{}", gateway.port(443));
    command.args(["--silent", "--show-error", "--max-time", "20", "--connect-to", &address, "--cacert"]);
    command.arg(folder.join("ca.crt")).args(more);
    if let Some(client) = client {
        command.arg("--cert").arg(folder.join(format!("{client}.crt")));
        command.arg("--key").arg(folder.join(format!("{client}.key")));
    }
    run(command.arg("https://a.test/"), Duration::from_secs(30)).unwrap()
}

#[test]
fn mutual_tls_wants_a_certificate_of_the_right_authority() {
    let mutual = Mutual::start("MUTUAL");
    assert_eq!(mutual.curl(Some("ann")).stdout, "fine");
    for client in [None, Some("eve")] {
        let finished = mutual.curl(client);
        assert!(finished.code() != 0 && finished.stdout.is_empty(), "{client:?}: {finished:?}");
    }
    let failed = || mutual.gateway.counted(&["portcullis_drops_total", "handshake_failed"]);
    poll(Instant::now() + LIMIT, || (failed() == 2).then_some(())).expect("both handshakes are counted");
    assert_eq!(mutual.gateway.samples().sum("istio_requests_total", &[]), 1.0);
}

#[test]
fn optional_mutual_tls_takes_clients_without_a_certificate_too() {
    let mutual = Mutual::start("OPTIONAL_MUTUAL");
    assert_eq!(mutual.curl(Some("ann")).stdout, "fine");
    assert_eq!(mutual.curl(None).stdout, "fine");
    let wrong = mutual.curl(Some("eve"));
    assert!(wrong.code() != 0 && wrong.stdout.is_empty(), "{wrong:?}");
}

#[test]
fn versions_below_the_servers_own_are_refused() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let folder = tempfile::tempdir().unwrap();
    ca.write(folder.path(), "ca").unwrap();
    let yaml =
        https(&upstream, &[("a.test", "{mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_3}")]);
    let secret = ca.server(&["a.test"]).tls_secret("istio-system", "a");
    let gateway = Setup::new(yaml, &[443]).file("secret.yaml", &secret).start();
    assert_eq!(curl(&gateway, folder.path(), None, &["--tlsv1.3"]).stdout, "fine");
    assert_ne!(curl(&gateway, folder.path(), None, &["--tls-max", "1.2"]).code(), 0);
    let version =
        |http: &str| curl(&gateway, folder.path(), None, &[http, "--write-out", " %{http_version}"]).stdout;
    assert_eq!((version("--http1.1"), version("--http2")), ("fine 1.1".to_owned(), "fine 2".to_owned()));
}

#[test]
fn large_bodies_survive_tls_in_both_versions() {
    let upstream = Upstream::serve(|request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
        [head.as_bytes(), &request.body].concat()
    });
    let ca = Authority::new("servers");
    let folder = tempfile::tempdir().unwrap();
    ca.write(folder.path(), "ca").unwrap();
    let (sent, got) = (folder.path().join("sent"), folder.path().join("got"));
    let body: Vec<u8> = (0..8_000_000u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(&sent, &body).unwrap();
    let yaml = https(&upstream, &[("a.test", "{mode: SIMPLE, credentialName: a}")]);
    let secret = ca.server(&["a.test"]).tls_secret("istio-system", "a");
    let gateway = Setup::new(yaml, &[443]).file("secret.yaml", &secret).start();
    let data = format!("@{}", sent.display());
    for version in ["--http1.1", "--http2"] {
        for more in [&[][..], &["--header", "transfer-encoding: chunked"]] {
            if version == "--http2" && !more.is_empty() {
                continue;
            }
            let output = got.to_str().unwrap();
            let all = [&[version, "--data-binary", &data, "--output", output], more].concat();
            let finished = curl(&gateway, folder.path(), None, &all);
            assert!(std::fs::read(&got).unwrap() == body, "{version} {more:?}: {finished:?}");
        }
    }
}

/// A Host that another server of the port holds does not belong on this connection: the client should open another.
#[test]
fn a_host_of_another_server_is_misdirected() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("servers");
    let secrets =
        ["a", "b"].map(|name| ca.server(&[&format!("{name}.test")]).tls_secret("istio-system", name));
    let yaml = https(
        &upstream,
        &[("a.test", "{mode: SIMPLE, credentialName: a}"), ("b.test", "{mode: SIMPLE, credentialName: b}")],
    );
    let gateway = Setup::new(yaml, &[443]).file("secrets.yaml", &secrets.join("\n---\n")).start();
    let folder = tempfile::tempdir().unwrap();
    ca.write(folder.path(), "ca").unwrap();
    let ask = |version: &str, host: &str| {
        let host = format!("host: {host}");
        let more = [version, "--header", &host, "--write-out", "%{http_code}", "--output", "/dev/null"];
        curl(&gateway, folder.path(), None, &more).stdout
    };
    for (host, status) in [("a.test", "200"), ("b.test", "421"), ("c.test", "404")] {
        assert_eq!(ask("--http2", host), status, "{host}");
    }
    assert_eq!(ask("--http1.1", "b.test"), "404", "only HTTP/2 shares connections between hosts");
}

/// Headers tell which of two certificates this client was shown, and who issued its own: known of a resumed session, too.
#[test]
fn headers_tell_both_certificates() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let secrets = [
        servers.server(&["a.test"]).mutual_secret("istio-system", "a", &clients),
        servers.server(&["b.test"]).mutual_secret("istio-system", "b", &clients),
    ];
    let told = "headers: {request: {set: {x-own: '%DOWNSTREAM_LOCAL_DNS_SAN%', x-settled: \
                '[%DOWNSTREAM_HANDSHAKE_DURATION%]', x-issuer: '%DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256%'}}}";
    let tls = "{mode: OPTIONAL_MUTUAL, credentialNames: [a, b]}";
    let yaml = gateway("gw", &[server(443, "HTTPS", &["*.test"], tls)])
        + &routes("app", &["*"], &[to("app", told)])
        + &service("app", "http", &[upstream.address()]);
    let gateway = Setup::new(yaml, &[443]).file("secrets.yaml", &secrets.join("\n---\n")).start();
    let folder = tempfile::tempdir().unwrap();
    servers.write(folder.path(), "ca").unwrap();
    clients.client("ann", &[]).write(folder.path(), "ann").unwrap();
    let tell = |client| {
        assert_eq!(curl(&gateway, folder.path(), client, &["--insecure"]).stdout, "fine");
        let arrival = upstream.arrivals().pop().unwrap().message;
        ["x-own", "x-issuer", "x-settled"].map(|name| arrival.header(name).unwrap_or("absent").to_owned())
    };
    let issuer = digest(&SHA256, &clients.der());
    let issuer: String = issuer.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let [own, issued_by, settled] = tell(Some("ann"));
    assert_eq!((&*own, issued_by), ("a.test", issuer));
    // It lies before the request.
    let settled: i64 = settled.trim_matches(['[', ']']).parse().unwrap();
    assert!(settled <= 0, "{settled}");
    assert_eq!(tell(None)[1], "absent", "without a certificate nobody has issued one");
}
