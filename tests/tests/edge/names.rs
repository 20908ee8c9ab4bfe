//! Names: of hosts in every spelling, of servers in TLS. Whoever writes one in another way gets no further than with the
//! plain one, above all not past a server that wants a client certificate.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;

use portcullis_tests::frames::{END_STREAM, headers, kind};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, service, site, to};
use portcullis_tests::objects::{destination_rule, gateway, server};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::process::{exit_within, program};
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// CVE-2021-39155: a host is the same in any case and with any port; CVE-2022-23632: with a dot behind it, it is
/// another name, for HTTP/1 and HTTP/2 alike.
#[test]
fn hosts_are_compared_in_one_form() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let denied = "{directResponse: {status: 403}}".to_owned();
    let yaml = portcullis_tests::http::gateway()
        + &routes("denied", &["a.test"], &[denied])
        + &routes("app", &["b.test"], &[to("app", "")])
        + &service("app", "http", &[upstream.address()]);
    let gateway = Setup::new(yaml, &[80]).start();
    for (host, status) in [
        ("a.test", 403),
        ("A.TEST", 403),
        ("a.Test:80", 403),
        ("A.test:65535", 403),
        ("b.test", 200),
        ("B.TEST:8080", 200),
        ("a.test.", 404),
        ("A.TEST.:80", 404),
        ("b.test.", 404),
        (".a.test", 404),
        ("a.test..", 404),
        ("a%2etest", 404),
        ("[a.test]", 404),
        ("a.test:80:80", 404),
        ("xn--a.test", 404),
        ("127.0.0.1", 404),
        ("[::1]:80", 404),
    ] {
        assert_eq!(Raw::connect(gateway.address(80)).get("/", host).status, status, "{host}");
        let whole = format!("http://{host}/");
        assert_eq!(Raw::connect(gateway.address(80)).get(&whole, "b.test").status, status, "{whole}");
        let mut client = Raw::http2(gateway.address(80));
        client.send(headers(
            1,
            END_STREAM,
            &[(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", "/")],
        ));
        let last = client.frame_that(|frame| {
            frame.kind == kind::GOAWAY
                || frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)
        });
        let served = last.and_then(|frame| frame.status()) == Some(200);
        assert_eq!(served, status == 200, "{host} over HTTP/2");
    }
}

/// CVE-2024-32475: an authority that is longer than any name, where it becomes the name in TLS to the upstream.
#[test]
fn an_authority_beyond_any_name_is_no_server_name() {
    // What comes is no request: the upstream ends the connection.
    let upstream = Upstream::script(drop);
    let yaml = site(upstream.address(), "retries: {attempts: 0}")
        + &destination_rule("app", "{tls: {mode: SIMPLE, insecureSkipVerify: true}}");
    let gateway = Setup::new(yaml, &[80]).start();
    let labels = "a.".repeat(150) + "test";
    for host in
        [&"a".repeat(64), &"a".repeat(256), &labels, &"a".repeat(5_000), "-", "a_b.test", "1.2.3", "[::"]
    {
        let status = Raw::connect(gateway.address(80)).get("/", host).status;
        assert!(matches!(status, 400 | 503), "{status} for {} bytes", host.len());
    }
    assert_eq!(gateway.log_lines(8).len(), 8);
}

/// `m.test` wants a client certificate, `s.test` and `*.wild.test` do not, `m.wild.test` does.
struct Rig {
    gateway: Gateway,
    authority: Authority,
    ann: Leaf,
    _upstream: Upstream,
}

impl Rig {
    fn start() -> Self {
        let upstream = Upstream::serve(|request| ok(request.header("host").unwrap_or_default()));
        let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
        let hosts = ["m.test", "s.test", "*.wild.test", "m.wild.test"];
        let modes = ["MUTUAL", "SIMPLE", "SIMPLE", "MUTUAL"];
        let servers: Vec<String> = (0..4)
            .map(|number| {
                let tls = format!("{{mode: {}, credentialName: c{number}}}", modes[number]);
                server(443, "HTTPS", &[hosts[number]], &tls)
            })
            .collect();
        let secrets: Vec<String> = (0..4)
            .map(|number| {
                let leaf = authority.server(&[hosts[number]]);
                leaf.mutual_secret("istio-system", &format!("c{number}"), &clients)
            })
            .collect();
        let yaml = gateway("gw", &servers)
            + &routes("app", &["*"], &[to("app", "")])
            + &service("app", "http", &[upstream.address()]);
        let gateway = Setup::new(yaml, &[443]).file("secrets.yaml", &secrets.join("\n---\n")).start();
        let ann = clients.client("ann", &["ann.test"]);
        Self { gateway, authority, ann, _upstream: upstream }
    }

    /// A handshake whose ClientHello comes in records of so many bytes, and an HTTP/1 answer over it.
    fn fragmented(&self, name: &str, size: usize, certificate: bool) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = match certificate {
            true => {
                let key = PrivateKeyDer::Pkcs8(self.ann.key_der.clone().into());
                builder.with_client_auth_cert(vec![self.ann.certificate_der.clone().into()], key).unwrap()
            }
            false => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let host = name.to_str().into_owned();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        let records = hello[5..].chunks(size).flat_map(|piece| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&hello[..3], &length, piece].concat()
        });
        let mut stream = TcpStream::connect(self.gateway.address(443)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&records.collect::<Vec<u8>>()).unwrap();
        let mut client = Raw::over(StreamOwned::new(tls, stream));
        client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        client.answer_or_end().map(|answer| answer.text())
    }

    /// What `openssl s_client` is answered, which sends any server name as it is; no client certificate.
    fn openssl(&self, server_name: Option<&str>, host: &str) -> String {
        let mut openssl = program("openssl").expect("asked for before");
        let address = self.gateway.address(443).to_string();
        openssl.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &address]);
        match server_name {
            Some(name) => openssl.args(["-servername", name]),
            None => openssl.arg("-noservername"),
        };
        let mut child = openssl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let mut input = child.stdin.take().unwrap();
        // The connection may have been refused by now.
        let _ = write!(input, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut said = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        drop(input);
        let _ = exit_within(&mut child, LIMIT);
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// CVE-2026-32305: the server name is found in a ClientHello in however many records, and with it what it asks for.
#[test]
fn a_fragmented_hello_is_no_way_around_a_client_certificate() {
    let rig = Rig::start();
    for size in [1, 7, 43, 200, 4096] {
        for (name, mutual) in
            [("m.test", true), ("s.test", false), ("x.wild.test", false), ("m.wild.test", true)]
        {
            let without = rig.fragmented(name, size, false);
            assert_eq!(without.is_none(), mutual, "{name} in records of {size} bytes");
            assert_eq!(rig.fragmented(name, size, true).as_deref(), Some(name), "{size}");
        }
    }
}

/// CVE-2022-23632, CVE-2026-48491, CVE-2026-53622: no spelling of a server name, and no host behind another one, gets to
/// a host that wants a client certificate.
#[test]
fn no_spelling_of_a_name_is_a_way_around_a_client_certificate() {
    if program("openssl").is_none() {
        return;
    }
    let rig = Rig::start();
    let asks = ["m.test", "M.TEST", "m.test.", "m.test:443", "m.wild.test", "M.Wild.Test", "m.wild.test."];
    let names = [
        "s.test",
        "S.TEST",
        "s.test.",
        "x.wild.test",
        "m.test",
        "M.TEST",
        "m.test.",
        "M.WILD.TEST",
        "m.wild.test.",
    ];
    let served = |said: &str| said.starts_with("HTTP/1.1 200");
    assert!(served(&rig.openssl(Some("s.test"), "s.test")));
    assert!(served(&rig.openssl(Some("S.Test"), "S.TEST")));
    assert!(served(&rig.openssl(Some("x.WILD.test"), "x.wild.test")));
    // The wildcard's own routes would take the host, too: the client is sent to the server it belongs to.
    assert!(rig.openssl(Some("x.wild.test"), "m.wild.test").starts_with("HTTP/1.1 421"));
    assert!(served(&rig.openssl(Some("x.wild.test"), "y.wild.test")));
    for name in names.into_iter().map(Some).chain([None]) {
        for host in asks {
            let said = rig.openssl(name, host);
            assert!(!served(&said), "{name:?} and {host}: {said}");
        }
    }
}
