//! Streams whose reader is slow: the sender is held back, nothing is lost, and memory stays flat.
//!
//! Uploads and downloads of HTTP/1 stand in `http_limits`, uploads over HTTP/2 in `http_h2`, PostgreSQL in
//! `postgres`.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, site, to};
use portcullis_tests::objects;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Conn, Gate, Upstream};
use tokio::net::TcpListener;

const MIB: usize = 1 << 20;
/// Streams at a time.
const STREAMS: usize = 8;
/// Bytes of each: far more than all buffers on its way.
const SIZE: usize = 48 * MIB;
/// What the gateway may grow by, KiB. A stream may hold a window of 256 KiB on each side.
const GROWTH: u64 = 16 * 1024;
/// How long nothing must move for a stream to count as held back.
const STILL: Duration = Duration::from_millis(300);

fn block<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * LIMIT, test).await.expect("the test ends") })
}

fn assert_flat(gateway: &Gateway, before: u64) {
    let now = gateway.resident();
    assert!(now.saturating_sub(before) < GROWTH, "{before} KiB grew to {now} KiB");
}

/// Sends `size` bytes, and opens `stalled` once nothing is taken for a while.
fn send(stream: &mut TcpStream, size: usize, stalled: &Gate) {
    stream.set_write_timeout(Some(STILL)).unwrap();
    let piece = vec![b'x'; MIB];
    let mut left = size;
    while left > 0 {
        match stream.write(&piece[..left.min(MIB)]) {
            Ok(count) => left -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => stalled.open(),
            Err(error) => panic!("sending: {error}"),
        }
    }
}

/// Reads `size` bytes once `go` is open.
fn receive(stream: &mut TcpStream, size: usize, go: &Gate) {
    go.pass();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut piece = vec![0; MIB];
    let mut left = size;
    while left > 0 {
        let most = left.min(MIB);
        let count = stream.read(&mut piece[..most]).unwrap();
        assert!(count > 0, "the stream ended {left} bytes too early");
        left -= count;
    }
}

/// Both ways at once through whatever has been set up: nobody reads until both senders are held back.
fn both_ways(mut client: TcpStream, gateway: &Gateway, before: u64, held: &Gate, go: &Gate) {
    let sent = Gate::new();
    let mut sender = client.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| send(&mut sender, SIZE, &sent));
        sent.pass();
        held.pass();
        assert_flat(gateway, before);
        go.open();
        receive(&mut client, SIZE, go);
        assert_flat(gateway, before);
    });
}

/// The upstream's half of it.
fn answer_both_ways(conn: &mut Conn, held: &Gate, go: &Gate) {
    let mut reader = conn.raw.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| receive(&mut reader, SIZE, go));
        send(&mut conn.raw.stream, SIZE, held);
    });
}

#[test]
fn a_websocket_is_held_back_both_ways() {
    let (held, go) = (Gate::new(), Gate::new());
    let (their_held, their_go) = (held.clone(), go.clone());
    let upstream = Upstream::script(move |mut conn| {
        if conn.raw.head().is_some() {
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            conn.raw.send(answer);
            answer_both_ways(&mut conn, &their_held, &their_go);
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let before = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.line.contains("101"), "{}", head.line);
    // What came with the head is read already.
    let rest = SIZE - client.buffered();
    let sent = Gate::new();
    let mut sender = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| send(&mut sender, SIZE, &sent));
        sent.pass();
        held.pass();
        assert_flat(&gateway, before);
        go.open();
        receive(&mut client.stream, rest, &go);
    });
    assert_flat(&gateway, before);
}

#[test]
fn a_tcp_session_is_held_back_both_ways() {
    let (held, go) = (Gate::new(), Gate::new());
    let (their_held, their_go) = (held.clone(), go.clone());
    let upstream = Upstream::script(move |mut conn| answer_both_ways(&mut conn, &their_held, &their_go));
    let server = "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}".to_owned();
    let yaml = objects::gateway("gw", &[server])
        + &objects::tcp_route("app", "gw", 9000, "*", "app")
        + &objects::service("app", 9000, "tcp", upstream.address());
    let gateway = Setup::new(yaml, &[9000]).start();
    let before = gateway.resident();
    let client = TcpStream::connect(gateway.address(9000)).unwrap();
    both_ways(client, &gateway, before, &held, &go);
}

/// Downloads over one HTTP/2 connection whose client gives no window for a while.
async fn download(gateway: &Gateway, before: u64, held_back: impl Future<Output = ()>) {
    let stream = tokio::net::TcpStream::connect(gateway.address(80)).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..STREAMS {
        send = send.ready().await.unwrap();
        let request = http::Request::get("http://a.test/download").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        bodies.push(response.await.unwrap().into_body());
    }
    held_back.await;
    assert_flat(gateway, before);
    // All at once, as the connection's window is shared: one that waits may hold what another needs.
    let readers: Vec<_> = bodies.into_iter().map(|body| tokio::spawn(length(body))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), SIZE);
    }
    assert_flat(gateway, before);
    drop(send);
    connection.abort();
}

async fn length(mut body: h2::RecvStream) -> usize {
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        length += piece.len();
    }
    length
}

#[test]
fn downloads_over_http2_are_held_back_by_their_client() {
    let gates: Vec<Gate> = (0..STREAMS).map(|_| Gate::new()).collect();
    let their_gates = gates.clone();
    let upstream = Upstream::script(move |mut conn| {
        while conn.request().is_some() {
            conn.raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"));
            send(&mut conn.raw.stream, SIZE, &their_gates[conn.number]);
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let before = gateway.resident();
    block(download(&gateway, before, async {
        let wait = move || gates.iter().for_each(Gate::pass);
        tokio::task::spawn_blocking(wait).await.unwrap();
    }));
}

/// HTTP/2 on both sides, as a gRPC stream of large messages has it.
#[test]
fn downloads_from_an_http2_upstream_are_held_back_by_their_client() {
    block(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (still, mut stalled) = tokio::sync::mpsc::unbounded_channel();
        let server = std::thread::spawn(move || {
            let listener = listener.into_std().unwrap();
            block(serve_h2(listener, still));
        });
        let yaml =
            gateway() + &routes("app", &["*"], &[to("app", "")]) + &service("app", "http2", &[address]);
        let gateway = tokio::task::spawn_blocking(|| Setup::new(yaml, &[80]).start()).await.unwrap();
        let before = gateway.resident();
        download(&gateway, before, async {
            for _ in 0..STREAMS {
                stalled.recv().await.unwrap();
            }
        })
        .await;
        drop(gateway);
        tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
    });
}

/// Answers every request of one connection with `SIZE` bytes, and tells of each stream that gets no window.
async fn serve_h2(listener: std::net::TcpListener, still: tokio::sync::mpsc::UnboundedSender<()>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let still = still.clone();
        tokio::spawn(async move {
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            let (mut left, mut told) = (SIZE, false);
            while left > 0 {
                body.reserve_capacity(left.min(MIB));
                match tokio::time::timeout(STILL, poll_fn(|cx| body.poll_capacity(cx))).await {
                    Ok(Some(Ok(room))) => {
                        let count = room.min(left);
                        left -= count;
                        body.send_data(Bytes::from(vec![b'x'; count]), left == 0).unwrap();
                    }
                    Ok(_) => return,
                    Err(_) if !told => {
                        told = true;
                        still.send(()).unwrap();
                    }
                    Err(_) => {}
                }
            }
        });
    }
}
