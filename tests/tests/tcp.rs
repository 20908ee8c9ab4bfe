//! TCP and TLS whose bytes pass through: ends, limits, what the log and the metrics say.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::objects::{
    NAMESPACE, destination_rule, gateway, passthrough, server, service, tcp_route, tls_routes,
};
use portcullis_tests::pki::Authority;
use portcullis_tests::upstream::tls_server;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PORT: u16 = 9000;
const SERVICE: (&str, &str) = ("destination_service", "echo.default.svc.cluster.local");

/// A server that answers with what it got once the client has finished, and says hello first.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.write_all(b"hello ").and_then(|()| stream.read_to_end(&mut bytes));
                let _ = stream.write_all(&bytes);
            });
        }
    });
    address
}

fn plain(to: SocketAddr, policy: &str) -> Gateway {
    let tcp = server(PORT, "TCP", &["*"], "{}").replace(", tls: {}", "");
    let rule = if policy.is_empty() { String::new() } else { destination_rule("echo", policy) };
    let objects = gateway("tcp", &[tcp])
        + &tcp_route("tcp", "tcp", PORT, "echo.test", "echo")
        + &service("echo", PORT, "tcp", to)
        + &rule;
    Setup::new(objects, &[PORT]).start()
}

fn client(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address(PORT)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn read_exactly(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// What comes up to the end of the stream; a reset counts as one.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
    }
    bytes
}

#[test]
fn either_side_may_speak_first_and_finish_first() {
    let gateway = plain(echo(), "");
    let mut stream = client(&gateway);
    assert_eq!(read_exactly(&mut stream, 6), b"hello ");
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), b"question");

    let line = &gateway.log_lines(1)[0];
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&8.into(), &14.into()));
    assert_eq!((&line["response_flags"], &line["response_code"]), (&"-".into(), &0.into()));
    assert_eq!(line["upstream_cluster"], "outbound|9000||echo.default.svc.cluster.local");
    assert!(line["requested_server_name"].is_null());
    let samples = gateway.samples();
    for (family, expected) in [
        ("istio_tcp_connections_opened_total", 1.0),
        ("istio_tcp_connections_closed_total", 1.0),
        ("istio_tcp_received_bytes_total", 8.0),
        ("istio_tcp_sent_bytes_total", 14.0),
    ] {
        assert_eq!(samples.sum(family, &[SERVICE, ("response_flags", "-")]), expected, "{family}");
    }
}

#[test]
fn bytes_of_a_long_connection_are_counted_while_it_lasts() {
    let gateway = plain(echo(), "");
    let mut stream = client(&gateway);
    assert_eq!(read_exactly(&mut stream, 6), b"hello ");
    gateway.await_samples("counted after five seconds", |samples| {
        samples.sum("istio_tcp_sent_bytes_total", &[SERVICE]) == 6.0
    });
    assert_eq!(gateway.samples().sum("istio_tcp_connections_closed_total", &[SERVICE]), 0.0);
    assert_eq!(gateway.access_log().len(), 0);
}

#[test]
fn limits_end_a_connection_and_the_log_says_which() {
    for (limit, flags, details) in [
        ("idleTimeout: 1s", "-", "tcp_session_idle_timeout"),
        ("maxConnectionDuration: 1s", "DT", "max_connection_duration_reached"),
    ] {
        let gateway = plain(echo(), &format!("{{connectionPool: {{tcp: {{{limit}}}}}}}"));
        let begun = Instant::now();
        assert_eq!(rest(&mut client(&gateway)), b"hello ");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{limit}: {:?}", begun.elapsed());
        let line = &gateway.log_lines(1)[0];
        assert_eq!(
            (&line["response_flags"], &line["connection_termination_details"]),
            (&flags.into(), &details.into())
        );
    }
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let gateway = plain(echo(), "{connectionPool: {tcp: {maxConnections: 1}}}");
    let mut first = client(&gateway);
    assert_eq!(read_exactly(&mut first, 6), b"hello ");
    assert_eq!(rest(&mut client(&gateway)), b"");
    let line = gateway.logged(|line| line["response_flags"] == "UO");
    assert!(line["upstream_host"].is_null(), "{line}");
    drop(first);
    gateway.logged(|line| line["response_flags"] == "-");
    assert_eq!(read_exactly(&mut client(&gateway), 6), b"hello ");
}

#[test]
fn a_client_that_resets_and_a_server_that_is_away_are_told_apart() {
    let gateway = plain(([127, 0, 0, 1], 9).into(), "");
    assert_eq!(rest(&mut client(&gateway)), b"");
    let line = gateway.logged(|line| line["response_flags"] == "URX,UF");
    assert_eq!(line["upstream_host"], "127.0.0.1:9");
    let reason =
        "VirtualService default/tcp: remote connection failure: delayed connect error: Connection refused";
    assert_eq!(line["portcullis_reason"], reason);
    drop(gateway);

    let gateway = plain(echo(), "");
    let mut stream = client(&gateway);
    assert_eq!(read_exactly(&mut stream, 3), b"hel");
    // Closing with bytes unread resets.
    drop(stream);
    gateway.logged(|line| line["response_flags"] == "DC");
}

#[test]
fn a_name_is_passed_through_or_ended_here_on_one_port() {
    let ca = Authority::new("everyone");
    let behind = tls_server(&ca.server(&["passed.test"]), "from behind");
    let objects = gateway(
        "tls",
        &[
            passthrough(PORT, &["passed.test"]),
            server(PORT, "TLS", &["ended.test"], "{mode: SIMPLE, credentialName: ended}"),
            server(PORT, "TLS", &["missing.test"], "{mode: SIMPLE, credentialName: nowhere}"),
        ],
    ) + &tls_routes("tls", "tls", PORT, &[("passed.test", "behind")])
        + &tcp_route("tcp", "tls", PORT, "ended.test", "echo")
        + &tcp_route("missing", "tls", PORT, "missing.test", "echo")
        + &service("echo", PORT, "tcp", echo())
        + &service("behind", PORT, "tcp", behind)
        + "\n---\n"
        + &ca.server(&["ended.test"]).tls_secret(NAMESPACE, "ended");
    let gateway = Setup::new(objects, &[PORT]).start();
    // A protocol that the gateway's list does not have is no reason to refuse, here as in Istio.
    for alpn in [&[][..], &[&b"h2"[..]][..], &[&b"mqtt"[..]][..]] {
        let mut stream = tls_client(&gateway, &ca, "ended.test", alpn);
        assert_eq!(read_exactly(&mut stream, 6), b"hello ");
        let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(agreed, alpn.first().filter(|name| **name == b"h2").map(|name| name.to_vec()));
        stream.write_all(b"question").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(rest(&mut stream), b"question");
    }
    let mut stream = tls_client(&gateway, &ca, "passed.test", &[]);
    assert_eq!(rest(&mut stream), b"from behind");
    drop(stream);
    gateway.logged(|line| line["requested_server_name"] == "passed.test" && line["response_flags"] == "-");

    for (name, alert) in [("unknown.test", "UnrecognisedName"), ("missing.test", "InternalError")] {
        let mut stream = tls_client(&gateway, &ca, name, &[]);
        let error = stream.read(&mut [0]).unwrap_err().to_string();
        assert!(error.contains(alert), "{name}: {error}");
        let line = gateway.logged(|line| line["requested_server_name"] == name);
        assert_eq!(line["response_flags"], "NR", "{line}");
    }
    gateway.logged(|line| line["portcullis_reason"].as_str().is_some_and(|why| why.contains("nowhere")));
}

fn tls_client(
    gateway: &Gateway,
    ca: &Authority,
    name: &str,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let connection = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    StreamOwned::new(connection, client(gateway))
}
