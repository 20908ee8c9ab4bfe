//! HTTP/2 on both sides and gRPC, with clients and servers that are not ours.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use portcullis_tests::frames::{END_HEADERS, END_STREAM, PREFACE, frame, kind};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, site, to};
use portcullis_tests::process::{program, run};
use portcullis_tests::python::Script;
use portcullis_tests::raw::{Message, Raw};
use portcullis_tests::upstream::{Gate, Upstream, ok};
use tokio::net::{TcpListener, TcpStream};

/// Runs a test's own side of HTTP/2; it fails when that does not end.
fn block<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * LIMIT, test).await.expect("the test ends") })
}

/// A client with prior knowledge; its connection is driven until it ends.
async fn client(address: SocketAddr) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    (send.ready().await.unwrap(), tokio::spawn(connection))
}

fn request(path: &str) -> http::Request<()> {
    http::Request::get(format!("http://a.test{path}")).body(()).unwrap()
}

async fn text(mut body: h2::RecvStream) -> Result<String, h2::Error> {
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        text.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(text).unwrap())
}

async fn get(send: &SendRequest<Bytes>, path: &str) -> Result<(u16, String), h2::Error> {
    let mut send = send.clone().ready().await?;
    let (response, _) = send.send_request(request(path), true)?;
    let response = response.await?;
    Ok((response.status().as_u16(), text(response.into_body()).await?))
}

/// Waits for a gate while the client's connection goes on.
async fn passed(gate: Gate) {
    tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
}

#[test]
fn curl_speaks_http2_with_prior_knowledge() {
    let Some(mut curl) = program("curl") else { return };
    let upstream = Upstream::serve(|request| ok(&request.target().len().to_string()));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let url = format!("http://{}/abc", gateway.address(80));
    curl.args(["--silent", "--show-error", "--max-time", "20", "--http2-prior-knowledge"]);
    let finished = run(curl.args(["--write-out", " %{http_version} %{http_code}", &url]), LIMIT).unwrap();
    assert_eq!(finished.stdout, "4 2 200", "{}", finished.stderr);
    let line = gateway.log_of("/abc");
    assert_eq!((line["protocol"].as_str(), line["response_code"].as_u64()), (Some("HTTP/2"), Some(200)));
    // Upstream it was HTTP/1.1, as the port's name says.
    assert!(upstream.arrivals()[0].message.line.ends_with("HTTP/1.1"));
}

#[test]
fn h2load_loses_no_request() {
    let Some(mut h2load) = program("h2load") else { return };
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let url = format!("http://{}/", gateway.address(80));
    let finished = run(h2load.args(["-n", "2000", "-c", "4", "-m", "10", &url]), LIMIT).unwrap();
    let all = "2000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(finished.stdout.contains(all), "{}{}", finished.stdout, finished.stderr);
    let samples =
        gateway.await_samples("every request", |samples| samples.sum("istio_requests_total", &[]) == 2000.0);
    assert_eq!(samples.sum("istio_requests_total", &[("response_code", "200")]), 2000.0);
    assert!(upstream.connections() <= 40, "{} connections", upstream.connections());
}

/// A client that negotiates everything itself: several streams with weights, padding, an upload, continuation.
#[test]
fn nghttp_speaks_http2() {
    if program("nghttp").is_none() {
        return;
    }
    let upstream = Upstream::serve(|request| ok(&format!("{} {}", request.target(), request.body.len())));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, vec![b'x'; 300_000]).unwrap();
    let long = "y".repeat(20_000);
    let url = |path: &str| format!("http://{}{path}", gateway.address(80));
    let nghttp = |arguments: &[&str]| {
        let mut command = Command::new("nghttp");
        let finished = run(command.args(arguments), LIMIT).unwrap();
        assert_eq!(finished.code(), 0, "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    };
    assert_eq!(nghttp(&["--multiply=3", "--padding=100", &url("/a"), &url("/b")]).matches(" 0").count(), 6);
    let upload = nghttp(&["--data", body.to_str().unwrap(), "--expect-continue", &url("/upload")]);
    assert_eq!(upload, "/upload 300000");
    let header = format!("x-long: {long}");
    // Header blocks in several frames, both ways of compression, small windows.
    let small = ["--continuation", "--window-bits=10", "--connection-window-bits=12", "--header", &header];
    assert_eq!(nghttp(&[&small[..], &[&url("/long")]].concat()), "/long 0");
    assert_eq!(upstream.await_arrivals(8)[7].message.header("x-long"), Some(&*long));
}

/// What the gateway takes must not grow with what its upstream is slow to take.
#[test]
fn an_upload_over_http2_is_held_back_by_its_upstream() {
    let go = Gate::new();
    let pass = go.clone();
    let upstream = Upstream::script(move |mut conn| {
        let Some(mut head) = conn.raw.head() else { return };
        conn.arrived(head.clone());
        pass.pass();
        conn.raw.body(&mut head, false);
        conn.raw.send(ok(&head.body.len().to_string()));
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    block(async {
        let (mut send, _connection) = client(gateway.address(80)).await;
        let post = http::Request::post("http://a.test/upload").body(()).unwrap();
        let (response, mut body) = send.send_request(post, false).unwrap();
        let (total, mut sent) = (64 << 20, 0usize);
        let before = gateway.resident();
        while sent < total {
            body.reserve_capacity(1 << 16);
            let room = tokio::time::timeout(
                Duration::from_millis(500),
                std::future::poll_fn(|cx| body.poll_capacity(cx)),
            );
            match room.await {
                Ok(room) => {
                    let room = room.unwrap().unwrap();
                    body.send_data(Bytes::from(vec![b'x'; room]), false).unwrap();
                    sent += room;
                }
                // Nothing is taken any more: now the upstream begins to read.
                Err(_) => {
                    assert!(sent < 32 << 20, "{sent} bytes are taken for an upstream that reads nothing");
                    let grown = gateway.resident().saturating_sub(before);
                    assert!(grown < 8192, "{grown} KiB");
                    go.open();
                }
            }
        }
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), sent.to_string());
    });
}

/// Streams of one connection do not wait for each other.
#[test]
fn a_stream_that_waits_holds_up_no_other() {
    let go = Gate::new();
    let pass = go.clone();
    let upstream = Upstream::serve(move |request| {
        if request.target() == "/slow" {
            pass.pass();
        }
        ok("fine")
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    block(async {
        let (send, _connection) = client(gateway.address(80)).await;
        let slow = tokio::spawn({
            let send = send.clone();
            async move { get(&send, "/slow").await }
        });
        for _ in 0..20 {
            assert_eq!(get(&send, "/fast").await.unwrap(), (200, "fine".to_owned()));
        }
        go.open();
        assert_eq!(slow.await.unwrap().unwrap().0, 200);
    });
    assert_eq!(gateway.log_lines(21).len(), 21);
}

/// A client that resets its stream frees the upstream and leaves one line.
#[test]
fn a_reset_stream_ends_upstream() {
    let (arrived, given_up) = (Gate::new(), Gate::new());
    let tell = (arrived.clone(), given_up.clone());
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_some() {
            tell.0.open();
            if conn.raw.is_closed() {
                tell.1.open();
            }
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    block(async {
        let (mut send, _connection) = client(gateway.address(80)).await;
        let (response, mut stream) = send.send_request(request("/reset"), true).unwrap();
        passed(arrived).await;
        stream.send_reset(h2::Reason::CANCEL);
        assert!(response.await.is_err());
        passed(given_up).await;
    });
    let line = gateway.log_of("/reset");
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(0), Some("DC")));
}

/// SIGTERM: GOAWAY, what runs finishes, no new stream, exit 0.
#[test]
fn the_end_is_told_by_goaway() {
    let (arrived, go) = (Gate::new(), Gate::new());
    let (tell, pass) = (arrived.clone(), go.clone());
    let upstream = Upstream::serve(move |_| {
        tell.open();
        pass.pass();
        ok("fine")
    });
    let mut gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    block(async {
        let stream = TcpStream::connect(gateway.address(80)).await.unwrap();
        let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let connection = tokio::spawn(connection);
        let (response, _) = send.send_request(request("/long"), true).unwrap();
        passed(arrived).await;
        gateway.terminate();
        // No stream can be opened any more once GOAWAY is there.
        let refused = async {
            loop {
                if let Err(error) = send.clone().ready().await {
                    return error;
                }
                // What comes back with a ping comes behind what was sent before.
                let _ = pings.ping(h2::Ping::opaque()).await;
            }
        };
        let error = tokio::time::timeout(LIMIT, refused).await.expect("GOAWAY comes");
        assert!(error.is_go_away(), "{error}");
        go.open();
        let response = response.await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "fine");
        drop(send);
        connection.await.unwrap().unwrap();
    });
    let (status, lines) = gateway.ended_log(LIMIT);
    assert_eq!(status.code(), Some(0));
    let long: Vec<_> = lines.iter().filter(|line| line["path"] == "/long").collect();
    assert_eq!((long.len(), long[0]["response_code"].as_u64()), (1, Some(200)));
}

/// An HTTP/2 server in plaintext that allows so many streams; counts connections and the most streams at once.
struct H2Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl H2Upstream {
    fn start(streams: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve_h2(stream, streams));
                }
            });
        });
        Self { address, connections }
    }
}

async fn serve_h2(stream: TcpStream, streams: u32) {
    let mut settings = h2::server::Builder::new();
    let Ok(mut connection) = settings.max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await
    else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            if path == "/refuse" {
                return respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            // Long enough for others to come meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut trailers = http::HeaderMap::new();
            trailers.insert("t", http::HeaderValue::from_static("1"));
            if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
                let _ = body.send_data(Bytes::from(path), false);
                let _ = body.send_trailers(trailers);
            }
        });
    }
}

fn h2c(upstream: &H2Upstream, port_name: &str) -> Gateway {
    let yaml = gateway()
        + &routes("app", &["*"], &[to("app", "")])
        + &service("app", port_name, &[upstream.address]);
    Setup::new(yaml, &[80]).start()
}

#[test]
fn a_ports_name_makes_its_upstream_http2() {
    for name in ["http2", "grpc", "http2-web", "grpc-api"] {
        let upstream = H2Upstream::start(100);
        let gateway = h2c(&upstream, name);
        // From HTTP/1.1.
        assert_eq!(Raw::connect(gateway.address(80)).get("/one", "a.test").text(), "/one", "{name}");
        // From HTTP/2, with trailers all the way.
        block(async {
            let (mut send, _connection) = client(gateway.address(80)).await;
            let (response, _) = send.send_request(request("/two"), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "/two");
            assert_eq!(body.trailers().await.unwrap().unwrap()["t"], "1");
        });
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "{name}");
    }
}

/// More requests at once than an upstream's connection takes streams.
#[test]
fn streams_beyond_the_upstreams_limit_find_a_way() {
    for streams in [1, 3] {
        let upstream = H2Upstream::start(streams);
        let gateway = h2c(&upstream, "http2");
        block(async {
            let (send, _connection) = client(gateway.address(80)).await;
            let asked: Vec<_> = (0..12)
                .map(|number| {
                    let send = send.clone();
                    tokio::spawn(async move { get(&send, &format!("/{number}")).await })
                })
                .collect();
            for (number, answer) in asked.into_iter().enumerate() {
                assert_eq!(answer.await.unwrap().unwrap(), (200, format!("/{number}")), "{streams} streams");
            }
        });
    }
}

fn limited(upstream: &H2Upstream, pool: &str) -> Gateway {
    let rule = format!(
        "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: default}}
spec: {{host: app, trafficPolicy: {{connectionPool: {pool}}}}}"
    );
    let yaml = gateway()
        + &routes("app", &["*"], &[to("app", "")])
        + &service("app", "http2", &[upstream.address])
        + &rule;
    Setup::new(yaml, &[80]).start()
}

/// At the limit of connections requests wait for a stream.
#[test]
fn requests_wait_for_a_stream_of_the_only_connection() {
    let upstream = H2Upstream::start(100);
    let gateway = limited(&upstream, "{tcp: {maxConnections: 1}, http: {maxConcurrentStreams: 2}}");
    block(async {
        let (send, _connection) = client(gateway.address(80)).await;
        let asked: Vec<_> = (0..12)
            .map(|number| {
                let send = send.clone();
                tokio::spawn(async move { get(&send, &format!("/{number}")).await })
            })
            .collect();
        for (number, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap(), (200, format!("/{number}")));
        }
    });
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may() {
    for (most, connections) in [(1, 6), (2, 3)] {
        let upstream = H2Upstream::start(100);
        let gateway = limited(&upstream, &format!("{{http: {{maxRequestsPerConnection: {most}}}}}"));
        let mut client = Raw::connect(gateway.address(80));
        for number in 0..6 {
            assert_eq!(client.get(&format!("/{number}"), "a.test").status, 200);
        }
        assert_eq!(upstream.connections.load(Ordering::SeqCst), connections, "{most} each");
        // With its last stream each of them ends.
        gateway.await_samples("none is left open", |samples| {
            samples.sum("portcullis_upstream_connections_active", &[]) == 0.0
        });
    }
}

#[test]
fn a_refused_stream_is_told_as_a_reset() {
    let upstream = H2Upstream::start(10);
    let gateway = h2c(&upstream, "http2");
    let answer = Raw::connect(gateway.address(80)).get("/refuse", "a.test");
    assert_eq!(answer.status, 503);
    let reason = "retried and the latest reset reason: remote refused stream reset";
    assert!(answer.text().ends_with(reason), "{}", answer.text());
    assert_eq!(gateway.log_of("/refuse")["response_flags"], "URX,UR");
}

/// A request that a connection going away has not processed is sent on another one, whatever its method.
#[test]
fn a_request_that_meets_goaway_is_sent_again() {
    let upstream = Upstream::script(|mut conn| {
        assert_eq!(conn.raw.exactly(PREFACE.len()), PREFACE);
        conn.raw.send(frame(kind::SETTINGS, 0, 0, &[]));
        if conn.raw.frame_that(|frame| frame.kind == kind::HEADERS).is_none() {
            return;
        }
        conn.arrived(Message::default());
        let goaway = frame(kind::GOAWAY, 0, 0, &[0; 8]);
        let head = frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0x88]);
        conn.raw.send(if conn.number == 0 { goaway } else { head });
        conn.raw.rest();
    });
    let yaml = gateway()
        + &routes("app", &["*"], &[to("app", "retries: {attempts: 1, retryOn: '599'}")])
        + &service("app", "http2", &[upstream.address()]);
    let gateway = Setup::new(yaml, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST /goaway HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.answer().status, 200);
    assert_eq!((upstream.arrivals().len(), upstream.connections()), (2, 2));
    assert_eq!(gateway.log_of("/goaway")["response_flags"], "-");
}

#[test]
fn grpc_calls_of_every_kind_pass() {
    let Some(mut script) = Script::start("grpc_echo.py") else { return };
    let server = SocketAddr::from(([127, 0, 0, 1], script.number("port")));
    let yaml = gateway()
        + &routes("grpc", &["grpc.test"], &[to("grpc", "")])
        + &service("grpc", "grpc", &[server])
        + &routes("empty", &["empty.test"], &[to("empty", "")])
        + &service("empty", "grpc", &[]);
    let gateway = Setup::new(yaml, &[80]).start();
    script.tell(&format!("gateway {}", gateway.port(80)));
    script.done();
    let line = gateway
        .log_until("a unary call", |lines| lines.iter().any(|line| line["path"] == "/test.Echo/Unary"));
    assert!(line.iter().all(|line| line["protocol"] == "HTTP/2"));
    let samples = gateway.samples();
    for (status, path) in
        [("0", "served"), ("5", "NOT_FOUND"), ("12", "UNIMPLEMENTED"), ("14", "UNAVAILABLE")]
    {
        let labels = [("request_protocol", "grpc"), ("grpc_response_status", status)];
        assert!(samples.sum("istio_requests_total", &labels) >= 1.0, "{path}: {}", samples.counters());
    }
}
