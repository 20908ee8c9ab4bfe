//! gRPC-Web from browsers to a real gRPC server and back, on a port declared for it.

use std::net::SocketAddr;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{prefix, routes, service};
use portcullis_tests::objects;
use portcullis_tests::python::Script;
use portcullis_tests::raw::{Answer, Raw};
use portcullis_tests::upstream::{Upstream, ok};

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckRequest {}`, framed.
const QUESTION: &[u8] = &[0, 0, 0, 0, 0];
/// `HealthCheckResponse { status: SERVING }`, framed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// A gateway whose port 80 is for gRPC-Web, in front of a gRPC server and another that speaks HTTP.
fn start(grpc: SocketAddr, plain: SocketAddr) -> Gateway {
    let server = "{port: {number: 80, name: web, protocol: GRPC-WEB}, hosts: ['*']}".to_owned();
    let rules = [prefix("/plain", "plain", ""), prefix("/grpc", "grpc", "")];
    let objects = objects::gateway("gw", &[server])
        + &routes("app", &["*"], &rules)
        + &service("grpc", "grpc", &[grpc])
        + &service("plain", "http", &[plain]);
    Setup::new(objects, &[80]).start()
}

fn ask(gateway: &Gateway, path: &str, kind: &str, more: &str, body: &[u8]) -> Answer {
    let mut client = Raw::connect(gateway.address(80));
    client.send(format!(
        "POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/{kind}\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    ));
    client.send(body);
    client.answer()
}

fn serving(server: &mut Script) -> SocketAddr {
    let port = server.number("port");
    server.tell("- SERVING");
    assert_eq!(server.number("set"), 1);
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The message, then the trailers as a frame of their own.
fn check_body(body: &[u8]) {
    let (message, frame) = body.split_at(SERVING.len());
    assert_eq!(message, SERVING);
    let [0x80, a, b, c, d, text @ ..] = frame else { panic!("no trailers: {body:?}") };
    assert_eq!(u32::from_be_bytes([*a, *b, *c, *d]) as usize, text.len());
    let text = String::from_utf8_lossy(text);
    assert!(text.split("\r\n").any(|line| line == "grpc-status:0"), "{text}");
}

#[test]
fn a_browser_speaks_with_a_grpc_server() {
    let Some(mut server) = Script::start("health_server.py") else { return };
    let plain = Upstream::serve(|_| ok("plain"));
    let gateway = start(serving(&mut server), plain.address());

    let answer = ask(&gateway, CHECK, "grpc-web+proto", "", QUESTION);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/grpc-web+proto")));
    check_body(&answer.message.body);

    // In base64 one way, the other, or both.
    let text = b"AAAAAAA=";
    let accept = "accept: application/grpc-web-text\r\n";
    check_body(&ask(&gateway, CHECK, "grpc-web-text", "", text).message.body);
    let answer = ask(&gateway, CHECK, "grpc-web-text", accept, text);
    assert_eq!(answer.header("content-type"), Some("application/grpc-web-text+proto"));
    let encoded = answer.text();
    let (message, trailers) = encoded.split_at(12);
    assert_eq!((message, &trailers[..4]), ("AAAAAAIIAQ==", "gAAA"));

    // Another status.
    let unknown = ask(&gateway, CHECK, "grpc-web", "", b"\0\0\0\0\x04\x0a\x02no");
    assert!(unknown.text().contains("grpc-status:5\r\n"), "{unknown:?}");
    let grpc = [("request_protocol", "grpc"), ("destination_service_name", "grpc")];
    let samples =
        gateway.await_samples("every request", |samples| samples.sum("istio_requests_total", &grpc) == 4.0);
    assert_eq!(samples.sum("istio_requests_total", &[("grpc_response_status", "0")]), 3.0);
}

#[test]
fn what_is_no_grpc_is_explained_in_its_words() {
    let plain = Upstream::serve(|request| match request.target() {
        "/plain/long" => ok(&"x".repeat(40_000)),
        "/plain/grpc" => {
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 7\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        "/plain/none" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 503 Busy\r\ncontent-length: 8\r\n\r\nt\u{e9}st %!".to_owned(),
    });
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let gateway = start(nobody, plain.address());
    let busy = ask(&gateway, "/plain/busy", "grpc-web", "", QUESTION);
    assert_eq!((busy.status, busy.header("grpc-status")), (503, Some("14")));
    assert_eq!(busy.header("grpc-message"), Some("t%C3%A9st %25!"));
    assert_eq!(busy.header("content-length"), Some("0"));
    let long = ask(&gateway, "/plain/long", "grpc-web", "", QUESTION);
    assert_eq!((long.status, long.header("grpc-status")), (200, Some("2")));
    assert_eq!(long.header("grpc-message").map(str::len), Some(16 * 1024));
    let none = ask(&gateway, "/plain/none", "grpc-web", "", QUESTION);
    assert_eq!((none.status, none.header("grpc-status")), (404, None));

    // gRPC whose trailers are in its head needs no words.
    let short = ask(&gateway, "/plain/grpc", "grpc-web", "", QUESTION);
    assert_eq!((short.status, short.header("grpc-status")), (200, Some("7")));
    assert_eq!(short.header("content-type"), Some("application/grpc-web+proto"));

    // The gateway's own answers.
    let refused = ask(&gateway, CHECK, "grpc-web", "", QUESTION);
    assert_eq!((refused.status, refused.header("grpc-status")), (503, Some("14")));
    assert!(refused.header("grpc-message").is_some_and(|text| text.contains("reset reason")), "{refused:?}");
    let lost = ask(&gateway, "/nowhere", "grpc-web", "", QUESTION);
    assert_eq!((lost.status, lost.header("content-type")), (404, Some("application/grpc-web+proto")));
    // Who does not speak it is left alone.
    let other = ask(&gateway, "/plain/busy", "json", "", QUESTION);
    assert_eq!((other.status, other.text().as_str()), (503, "t\u{e9}st %!"));
}

#[test]
fn text_that_is_no_base64_is_refused() {
    let Some(mut server) = Script::start("health_server.py") else { return };
    let plain = Upstream::serve(|_| ok("plain"));
    let gateway = start(serving(&mut server), plain.address());
    let answer = ask(&gateway, CHECK, "grpc-web-text", "", b"AAAAAA!");
    assert_eq!((answer.status, answer.header("grpc-status")), (400, Some("13")));
    assert_eq!(answer.header("grpc-message"), Some("Bad gRPC-web request, invalid base64 data."));
    assert_eq!(gateway.log_of(CHECK)["response_code_details"], "grpc_base_64_decode_failed");
}
