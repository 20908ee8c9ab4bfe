//! Peers that break the protocol, stall, or answer with something else. No PostgreSQL is needed here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::objects::{NAMESPACE, destination_rule, gateway, server, service, tcp_route};
use portcullis_tests::pki::Authority;
use rustls::crypto::aws_lc_rs;

use crate::rig::{PORT, by_name, drops, reasoned, serving};

const SSL: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0ann\0\0";
/// Nobody listens there: the port of the discard service.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A ClientHello of some 1,500 bytes: a post-quantum key share is in it.
fn hello(name: &str) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut bytes = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    assert!(bytes.len() > 1200);
    bytes
}

/// The same ClientHello in records of `size` bytes each.
fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
    let record =
        |piece: &[u8]| [&[22, 3, 1], &u16::try_from(piece.len()).unwrap().to_be_bytes()[..], piece].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

fn client(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address(PORT)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn read_exactly<const N: usize>(mut stream: &TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything up to the end of the stream; a reset counts as one.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    bytes
}

/// Asks for TLS and sends a ClientHello once allowed.
fn ask(gateway: &Gateway, hello: &[u8]) -> TcpStream {
    let mut stream = client(gateway);
    stream.write_all(&SSL).unwrap();
    assert_eq!(&read_exactly::<1>(&stream), b"S");
    stream.write_all(hello).unwrap();
    stream
}

/// A server that handles each connection like this, and tells what that gave.
fn fake<T: Send + 'static>(handle: impl Fn(TcpStream) -> T + Send + 'static) -> (SocketAddr, Receiver<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            if tell.send(handle(stream)).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// A server that takes SSLRequest, answers, and gives everything that follows.
fn answering(answer: &'static [u8]) -> (SocketAddr, Receiver<Vec<u8>>) {
    fake(move |mut stream| {
        assert_eq!(read_exactly::<8>(&stream), SSL);
        stream.write_all(answer).unwrap();
        rest(&stream)
    })
}

#[test]
fn the_hello_goes_on_unchanged_however_it_came() {
    let (server, received) = answering(b"S");
    let gateway = serving(&by_name(&[("a.test", server)]));
    let whole = hello("a.test");
    for sent in [whole.clone(), fragmented(&whole, 1), fragmented(&whole, 100)] {
        for drip in [false, true] {
            let mut stream = ask(&gateway, &[]);
            match drip {
                true => sent.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap()),
                false => stream.write_all(&sent).unwrap(),
            }
            stream.write_all(b"what follows").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(received.recv_timeout(LIMIT).unwrap(), [&sent[..], b"what follows"].concat());
        }
    }
}

#[test]
fn encryption_by_gssapi_is_declined_and_the_connection_goes_on() {
    let (server, received) = answering(b"S");
    let gateway = serving(&by_name(&[("a.test", server)]));
    let mut stream = client(&gateway);
    stream.write_all(&GSS).unwrap();
    assert_eq!(&read_exactly::<1>(&stream), b"N");
    stream.write_all(&SSL).unwrap();
    assert_eq!(&read_exactly::<1>(&stream), b"S");
    let hello = hello("a.test");
    stream.write_all(&hello).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(received.recv_timeout(LIMIT).unwrap(), hello);

    // After `N` a client may also go on in clear, and is answered; after `S` there is only TLS.
    let mut stream = client(&gateway);
    stream.write_all(&GSS).unwrap();
    assert_eq!(&read_exactly::<1>(&stream), b"N");
    stream.write_all(STARTUP).unwrap();
    assert!(String::from_utf8_lossy(&rest(&stream)).contains("sslmode=require"));
    assert_eq!(rest(&ask(&gateway, &GSS)), b"");
    reasoned(&gateway, "no ClientHello after the answer");
}

#[test]
fn bytes_stuffed_behind_a_request_are_refused() {
    let (server, received) = answering(b"S");
    let gateway = serving(&by_name(&[("a.test", server)]));
    for request in [SSL, GSS] {
        let mut stream = client(&gateway);
        stream.write_all(&[&request[..], &hello("a.test")[..]].concat()).unwrap();
        assert_eq!(rest(&stream), b"", "not even an answer");
    }
    reasoned(&gateway, "bytes behind an encryption request");
    assert_eq!(drops(&gateway, "postgres_stuffed"), 2.0);
    assert!(received.try_recv().is_err(), "nothing reached the server");
}

#[test]
fn a_server_that_does_not_begin_tls_is_told_by_alert_and_in_the_log() {
    const HANDSHAKE_FAILURE: u8 = 40;
    const INTERNAL_ERROR: u8 = 80;
    let answers: [(&[u8], u8, &str); 5] = [
        (b"N", HANDSHAKE_FAILURE, "does not offer TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n", INTERNAL_ERROR, "does not speak PostgreSQL"),
        (b"S\x16\x03\x03", INTERNAL_ERROR, "bytes behind its answer"),
        (b"Esorry, too many clients\0", INTERNAL_ERROR, "with an error when asked for TLS: sorry, too many"),
        (b"", INTERNAL_ERROR, "closed the connection when asked for TLS"),
    ];
    for (answer, alert, reason) in answers {
        let (server, _received) = fake(move |mut stream| {
            assert_eq!(read_exactly::<8>(&stream), SSL);
            stream.write_all(answer).unwrap();
        });
        fails(server, alert, reason);
    }
    fails(NOBODY, INTERNAL_ERROR, "Connection refused");
    let (silent, _received) = answering(b"");
    fails(silent, INTERNAL_ERROR, "connection timeout");
}

fn fails(server: SocketAddr, alert: u8, reason: &str) {
    let limit = destination_rule("a", "{connectionPool: {tcp: {connectTimeout: 1s}}}");
    let gateway = serving(&(by_name(&[("a.test", server)]) + &limit));
    assert_eq!(rest(&ask(&gateway, &hello("a.test"))), [21, 3, 3, 0, 2, 2, alert], "{reason}");
    let line = reasoned(&gateway, reason);
    assert_eq!(line["response_flags"], "URX,UF", "{line}");
    assert_eq!(
        (&line["requested_server_name"], &line["upstream_host"]),
        (&"a.test".into(), &server.to_string().into())
    );
    assert!(
        line["upstream_transport_failure_reason"].as_str().is_some_and(|text| text.contains(reason)),
        "{line}"
    );
    let labels = [("destination_service_name", "a"), ("response_flags", "URX,UF")];
    assert_eq!(gateway.samples().sum("istio_tcp_connections_closed_total", &labels), 1.0);
}

#[test]
fn no_state_can_be_held_open() {
    let (behind, _received) = answering(b"S");
    let ca = Authority::new("gateway");
    let objects = by_name(&[("a.test", behind)])
        + &gateway("ended", &[server(PORT, "TLS", &["ended.test"], "{mode: SIMPLE, credentialName: ended}")])
        + &tcp_route("ended", "ended", PORT, "ended.test", "a")
        + "\n---\n"
        + &ca.server(&["ended.test"]).tls_secret(NAMESPACE, "ended");
    let gateway = Setup::new(objects, &[PORT])
        .settings("[limits]\npeek_timeout_seconds = 1\nhandshake_timeout_seconds = 1\n")
        .start();
    let begun = Instant::now();
    let hello = hello("ended.test");
    let stalled = [&b""[..], &SSL[..3], &SSL, &GSS, &STARTUP[..10], &hello[..700], &hello].map(|sent| {
        let mut stream = client(&gateway);
        stream.write_all(sent).unwrap();
        stream
    });
    assert!(drips(client(&gateway), &hello), "byte by byte is no way to stay: the limit is for the whole");
    stalled.iter().for_each(|stream| drop(rest(stream)));
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    reasoned(&gateway, "TLS handshake not finished within 1s");
    gateway.await_samples("counted", |samples| {
        samples.sum("portcullis_drops_total", &[("reason", "preface_timeout")]) == 7.0
            && samples.sum("portcullis_drops_total", &[("reason", "handshake_timeout")]) == 1.0
    });
}

/// Sends a byte about every 50 ms; tells whether the peer puts an end to it.
fn drips(mut stream: TcpStream, bytes: &[u8]) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    bytes.iter().any(|byte| {
        let sent = stream.write_all(&[*byte]);
        let heard = sent.and_then(|()| stream.read(&mut [0]));
        !heard.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    })
}

#[test]
fn a_port_for_http_says_that_it_is_no_database() {
    let ca = Authority::new("gateway");
    let objects =
        gateway("web", &[server(PORT, "HTTPS", &["web.test"], "{mode: SIMPLE, credentialName: web}")])
            + "\n---\n"
            + &ca.server(&["web.test"]).tls_secret(NAMESPACE, "web")
            + &service("a", PORT, "tcp", NOBODY);
    let gateway = serving(&objects);
    for question in [&SSL[..], STARTUP] {
        let mut stream = client(&gateway);
        stream.write_all(question).unwrap();
        let answer = rest(&stream);
        assert_eq!(answer.first(), Some(&b'E'));
        assert!(String::from_utf8_lossy(&answer).contains("this port does not serve PostgreSQL"));
    }
    let mut stream = client(&gateway);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web.test\r\n\r\n").unwrap();
    assert_eq!(rest(&stream), b"");
    reasoned(&gateway, "no server of this port takes plaintext");
}

#[test]
fn a_request_to_cancel_goes_to_the_only_route_or_nowhere() {
    const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x30\x39\x5e\x5e\x5e\x5e";
    let (first, heard) = fake(|stream| rest(&stream));
    let gateway = serving(&by_name(&[("a.test", first)]));
    let mut stream = client(&gateway);
    stream.write_all(CANCEL).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), b"");
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), CANCEL);
    drop(gateway);

    let gateway = serving(&by_name(&[("a.test", first), ("b.test", first)]));
    let mut stream = client(&gateway);
    stream.write_all(CANCEL).unwrap();
    assert_eq!(rest(&stream), b"");
    reasoned(&gateway, "cancel process 12345 from an address without sessions");
    assert_eq!(drops(&gateway, "cancel_dropped"), 1.0);
    assert!(heard.try_recv().is_err());
}
