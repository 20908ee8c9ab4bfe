//! TCP through another proxy (`tunnel` of a DestinationRule): CONNECT and POST, over HTTP/1.1 and HTTP/2, in plaintext
//! and in TLS.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::objects::{destination_rule, gateway, server, service, tcp_route};
use portcullis_tests::pki::Authority;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const PORT: u16 = 9000;

/// What a proxy saw of requests.
type Heads = Arc<Mutex<Vec<String>>>;

/// A proxy that answers with `answer` and then behaves as the server behind it, which sends back what it gets.
fn proxy<S: Read + Write + 'static>(
    answer: &'static str,
    wrap: impl Fn(TcpStream) -> S + Send + 'static,
) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = wrap(stream);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let _ = stream.write_all(&buffer[..count]).and_then(|()| stream.flush());
            }
        }
    });
    (address, heads)
}

fn start(proxy: SocketAddr, port_name: &str, policy: &str, more: &str) -> Gateway {
    let tcp = server(PORT, "TCP", &["*"], "{}").replace(", tls: {}", "");
    let objects = gateway("tcp", &[tcp])
        + &tcp_route("tcp", "tcp", PORT, "echo.test", "proxy")
        + &service("proxy", PORT, port_name, proxy)
        + &destination_rule("proxy", policy)
        + more;
    Setup::new(objects, &[PORT]).start()
}

fn client(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address(PORT)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Says something twice and hears it again, then ends and hears the end.
fn converse(gateway: &Gateway) {
    let mut stream = client(gateway);
    for text in ["question", "another"] {
        stream.write_all(text.as_bytes()).unwrap();
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, text.as_bytes());
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\n";

#[test]
fn bytes_go_through_connect() {
    let (address, heads) = proxy(OPEN, |stream| stream);
    let gateway = start(address, "tcp", "{tunnel: {targetHost: far.test, targetPort: 5432}}", "");
    converse(&gateway);
    let expected = ["CONNECT far.test:5432 HTTP/1.1\r\nhost: far.test:5432\r\n\r\n"];
    assert_eq!(*heads.lock().unwrap(), expected);
    let line = &gateway.log_lines(1)[0];
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&15.into(), &15.into()));
    assert_eq!(line["response_flags"], "-");
}

#[test]
fn tls_is_the_proxys() {
    let ca = Authority::new("proxies");
    let leaf = ca.server(&["proxy.test"]);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key_der.clone()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf.certificate_der)], key)
        .unwrap();
    let config = Arc::new(config);
    let (address, heads) = proxy(OPEN, move |stream| {
        StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
    });
    let policy = "{tunnel: {protocol: CONNECT, targetHost: '2001:db8::1', targetPort: 80}, \
                  tls: {mode: SIMPLE, credentialName: proxies}}";
    let gateway =
        start(address, "tcp", policy, &("\n---\n".to_owned() + &ca.secret("istio-system", "proxies")));
    converse(&gateway);
    let expected = ["CONNECT [2001:db8::1]:80 HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n"];
    assert_eq!(*heads.lock().unwrap(), expected);
}

#[test]
fn a_proxy_that_refuses_or_makes_no_sense_is_a_failure_to_connect() {
    for (answer, reason) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "the proxy answered 403"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy answered 101"),
        ("hello\r\n\r\n", "tunnel: http1.codec_error"),
    ] {
        let (address, _) = proxy(answer, |stream| stream);
        let gateway = start(address, "tcp", "{tunnel: {targetHost: far.test, targetPort: 1}}", "");
        let mut rest = Vec::new();
        let _ = client(&gateway).read_to_end(&mut rest);
        assert_eq!(rest, b"");
        let line = &gateway.log_lines(1)[0];
        assert_eq!(line["response_flags"], "URX,UF", "{answer}");
        assert_eq!(line["upstream_transport_failure_reason"], reason);
    }
}

#[test]
fn post_carries_bytes_in_chunks() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut proxy = portcullis_tests::raw::Raw::on(stream);
        let mut request = proxy.head().unwrap();
        proxy.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        proxy.body(&mut request, false);
        proxy.send("3\r\nbye\r\n0\r\n\r\n");
        request
    });
    let policy = "{tunnel: {protocol: POST, targetHost: far.test, targetPort: 7}}";
    let gateway = start(address, "tcp", policy, "");
    let mut stream = client(&gateway);
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let request = served.join().unwrap();
    assert_eq!((request.line.as_str(), request.header("host")), ("POST / HTTP/1.1", Some("far.test:7")));
    assert_eq!((request.body.as_slice(), rest.as_slice()), (&b"question"[..], &b"bye"[..]));
}

#[test]
fn http2_carries_bytes_on_a_stream() {
    for (protocol, line) in [("CONNECT", "CONNECT far.test:7"), ("POST", "POST http://far.test:7/")] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Heads::default();
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(echo_h2(listener, seen));
        });
        let policy = format!("{{tunnel: {{protocol: {protocol}, targetHost: far.test, targetPort: 7}}}}");
        let gateway = start(address, "http2", &policy, "");
        converse(&gateway);
        assert_eq!(*heads.lock().unwrap(), [line]);
    }
}

/// Sends back what comes on each stream.
async fn echo_h2(listener: TcpListener, heads: Heads) {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        heads.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                send.send_data(piece, false).unwrap();
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
    }
}
