//! Load balancers that say who the client is: PROXY protocol headers in front of every protocol, required, optional
//! or from some peers alone.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::site;
use portcullis_tests::objects::{gateway, passthrough, server, service, tcp_route, tls_routes};
use portcullis_tests::pki::Authority;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// Version 2 with a value behind the addresses: 198.51.100.9:4660 to 192.0.2.1:443.
fn binary(command: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, 0x11, 0, 17, 198, 51, 100, 9, 192, 0, 2, 1, 0x12, 0x34, 1, 187]);
    header.extend_from_slice(&[0xea, 0, 2, 1, 2]);
    header
}

fn start(upstream: &Upstream, arguments: &[&str], mesh: &str) -> Gateway {
    Setup::new(site(upstream.address(), "") + mesh, &[80]).arguments(arguments).start()
}

/// The address that the upstream is told after these bytes, or `None` if the connection is closed instead.
fn told(gateway: &Gateway, upstream: &Upstream, bytes: &[u8]) -> Option<String> {
    let before = upstream.arrivals().len();
    let mut client = Raw::connect(gateway.address(80));
    client.send([bytes, GET.as_bytes()].concat());
    client.answer_or_end().filter(|answer| answer.status == 200)?;
    let arrival = &upstream.await_arrivals(before + 1)[before];
    arrival.message.header("x-forwarded-for").map(str::to_owned)
}

/// Version 2 with the addresses of IPv6: 2001:db8::7 at 4660 to 2001:db8::1 at 443.
fn binary6() -> Vec<u8> {
    let address = |last: u8| [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    let start = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x21, 0, 36]].concat();
    [start, address(7), address(1), vec![0x12, 0x34, 1, 187]].concat()
}

const MESH: &str = "
---
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
defaultConfig: {gatewayTopology: {proxyProtocol: {}}}";

#[test]
fn the_mesh_configuration_requires_a_header() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, &[], MESH);
    let local = Some("127.0.0.1".to_owned());
    assert_eq!(told(&gateway, &upstream, LINE.as_bytes()).as_deref(), Some("203.0.113.7"));
    assert_eq!(told(&gateway, &upstream, &binary(0x21)).as_deref(), Some("198.51.100.9"));
    // The balancer speaks for itself.
    assert_eq!(told(&gateway, &upstream, &binary(0x20)), local);
    assert_eq!(told(&gateway, &upstream, b"PROXY UNKNOWN\r\n"), local);
    let served = upstream.arrivals().len();
    for refused in ["", "PROXY TCP4 1.2.3.4\r\n", "PROXY UNKNOWN\n", "proxy "] {
        assert_eq!(told(&gateway, &upstream, refused.as_bytes()), None, "{refused:?}");
    }
    // Only the first header is one.
    assert_eq!(told(&gateway, &upstream, LINE.repeat(2).as_bytes()), None);
    assert_eq!(upstream.arrivals().len(), served);

    let of_line = gateway.log_until("the first client", |lines| {
        lines.iter().any(|line| line["downstream_remote_address"] == "203.0.113.7:51234")
    });
    let line = of_line.iter().find(|line| line["downstream_remote_address"] == "203.0.113.7:51234").unwrap();
    assert_eq!(line["downstream_local_address"], "192.0.2.1:443");
    gateway.await_samples("each refusal is counted", |samples| {
        samples.sum("portcullis_drops_total", &[("reason", "proxy_header_refused")]) == 4.0
    });
}

/// A client of IPv6 is told on as it was told: in a header field, in the log, and in a header of either version.
#[test]
fn clients_of_ipv6_are_told_on() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, &[], MESH);
    assert_eq!(told(&gateway, &upstream, &binary6()).as_deref(), Some("2001:db8::7"));
    let line = gateway.log_of("/");
    assert_eq!(line["downstream_remote_address"], "[2001:db8::7]:4660");
    assert_eq!(line["downstream_local_address"], "[2001:db8::1]:443");
    for (version, header) in
        [("V1", b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 443\r\n".to_vec()), ("V2", binary6())]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let policy = format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: app, namespace: \
             default}}\nspec: {{host: app, trafficPolicy: {{proxyProtocol: {{version: {version}}}}}}}{MESH}"
        );
        let gateway = Setup::new(site(listener.local_addr().unwrap(), "") + &policy, &[80]).start();
        let mut client = Raw::connect(gateway.address(80));
        client.send([&binary6()[..], GET.as_bytes()].concat());
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut first = vec![0; header.len()];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first, header, "{version}");
        Raw::on(stream).send(ok("fine"));
        assert_eq!(client.answer().status, 200, "{version}");
    }
}

#[test]
fn a_header_arrives_in_any_pieces() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, &["--proxy-protocol", "80:tolerant"], "");
    for header in [LINE.as_bytes(), &binary(0x21)] {
        let mut client = Raw::connect(gateway.address(80));
        for byte in [header, GET.as_bytes()].concat() {
            client.stream.set_nodelay(true).unwrap();
            client.send([byte]);
            thread::yield_now();
        }
        assert_eq!(client.answer().status, 200);
    }
    let told: Vec<_> = upstream.arrivals();
    assert_eq!(told[0].message.header("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(told[1].message.header("x-forwarded-for"), Some("198.51.100.9"));
}

#[test]
fn where_headers_are_optional_a_client_may_come_without() {
    let upstream = Upstream::serve(|_| ok("fine"));
    // The own setting wins over the mesh's.
    let gateway = start(&upstream, &["--proxy-protocol", "tolerant"], MESH);
    assert_eq!(told(&gateway, &upstream, b"").as_deref(), Some("127.0.0.1"));
    assert_eq!(told(&gateway, &upstream, LINE.as_bytes()).as_deref(), Some("203.0.113.7"));
    // What begins like a header is never read as anything else.
    assert_eq!(told(&gateway, &upstream, b"PROXY UNKNOWN\n"), None);
    assert_eq!(told(&gateway, &upstream, &binary(0x31)), None);
}

#[test]
fn only_trusted_peers_are_believed() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let only = |range| {
        let arguments = ["--proxy-protocol", "strict", "--proxy-protocol-trusted", range];
        start(&upstream, &arguments, "")
    };
    let strangers = only("10.0.0.0/8,2001:db8::/32");
    assert_eq!(told(&strangers, &upstream, b"").as_deref(), Some("127.0.0.1"));
    assert_eq!(told(&strangers, &upstream, LINE.as_bytes()), None);
    let balancers = only("10.0.0.0/8,127.0.0.0/8");
    assert_eq!(told(&balancers, &upstream, b""), None);
    assert_eq!(told(&balancers, &upstream, LINE.as_bytes()).as_deref(), Some("203.0.113.7"));
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for_without_end() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let setup = Setup::new(site(upstream.address(), ""), &[80]);
    let settings = "[proxy_protocol]\nmode = \"strict\"\n[limits]\npeek_timeout_seconds = 1\n";
    let gateway = setup.settings(settings).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send("PROXY TCP4 1.2");
    assert!(client.is_closed());
    let line = &gateway.log_lines(1)[0];
    assert!(line["portcullis_reason"].to_string().contains("no complete PROXY header"), "{line}");
}

/// A service that says what it gets, once there is some.
fn repeats() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut raw = Raw::on(stream);
            let got = raw.some(4);
            raw.send(got);
        }
    });
    address
}

#[test]
fn every_protocol_is_reached_through_a_header() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let ca = Authority::new("test");
    let tcp = server(9000, "TCP", &["*"], "{}").replace(", tls: {}", "");
    let objects = site(upstream.address(), "")
        + &gateway(
            "all",
            &[
                server(443, "HTTPS", &["a.test"], "{mode: SIMPLE, credentialName: a}"),
                passthrough(443, &["p.test"]),
                tcp,
            ],
        )
        + &tls_routes("tls", "all", 443, &[("p.test", "sealed")])
        + &tcp_route("tcp", "all", 9000, "repeats.test", "repeats")
        + &service("sealed", 443, "tls", repeats())
        + &service("repeats", 9000, "tcp", repeats())
        + "\n---\n"
        + &ca.server(&["a.test"]).tls_secret("istio-system", "a");
    let objects = objects.replace("istio-system/gw", "istio-system/all");
    let gateway = Setup::new(objects, &[443, 9000]).arguments(&["--proxy-protocol", "strict"]).start();

    let mut plain = Raw::connect(gateway.address(9000));
    plain.send([LINE.as_bytes(), b"ping"].concat());
    assert_eq!(plain.exactly(4), b"ping");

    let hello = |name: &str| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.der())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    };
    let mut passed = TcpStream::connect(gateway.address(443)).unwrap();
    passed.set_read_timeout(Some(LIMIT)).unwrap();
    passed.write_all(&binary(0x21)).unwrap();
    hello("p.test").write_tls(&mut passed).unwrap();
    let mut first = [0; 4];
    passed.read_exact(&mut first).unwrap();
    assert_eq!(first[..2], [0x16, 3], "the service sees a ClientHello first");

    let mut ended = TcpStream::connect(gateway.address(443)).unwrap();
    ended.set_read_timeout(Some(LIMIT)).unwrap();
    ended.write_all(LINE.as_bytes()).unwrap();
    let mut ended = Raw::over(StreamOwned::new(hello("a.test"), ended));
    assert_eq!(ended.get("/", "a.test").status, 200);
    assert_eq!(upstream.arrivals()[0].message.header("x-forwarded-for"), Some("203.0.113.7"));
}
