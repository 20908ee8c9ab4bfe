//! One health check: a question to an endpoint, and whether its answer is a good one.

use std::future::poll_fn;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{Address, UpstreamProtocol};
use portcullis_snapshot::health_check::Probe;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stream::Stream;
use crate::upstream::connect::{self, Dial, Purpose};

/// Longest status line looked for, and longest gRPC message taken, in bytes.
const MAX_ANSWER: usize = 4096;
/// How the gateway calls itself to endpoints.
const USER_AGENT: &str = "portcullis-health-check";

/// Asks `address`; the caller bounds the time. Dropping the future closes the connection.
///
/// # Errors
/// What speaks against the endpoint, for the log.
pub(super) async fn ask(cluster: &Cluster, address: &Address, probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Tcp => open(cluster, address, None, Purpose::Bytes).await.map(|_| ()),
        Probe::Http { path, host, statuses } => {
            let status = if cluster.protocol == UpstreamProtocol::Http2 {
                let stream = open(cluster, address, Some(host), Purpose::Http2).await?;
                over_http2(cluster, stream, host, path).await?
            } else {
                let stream = open(cluster, address, Some(host), Purpose::Http).await?;
                over_http1(stream, host, path).await?
            };
            let good = statuses.iter().any(|range| range.contains(&status));
            if good { Ok(()) } else { Err(format!("status {status}")) }
        }
        Probe::Grpc { service, host } => {
            let stream = open(cluster, address, Some(host), Purpose::Http2).await?;
            grpc(cluster, stream, host, service).await
        }
    }
}

async fn open(
    cluster: &Cluster,
    address: &Address,
    host: Option<&str>,
    purpose: Purpose,
) -> Result<Stream, String> {
    let host = host.map(without_port);
    // No client stands behind it, which the PROXY protocol has a word for.
    let dial = Dial { address, host, client: None };
    let connected = connect::open(cluster, dial, purpose).await.map_err(|error| error.to_string())?;
    if purpose == Purpose::Http2 && cluster.tls.is_some() && !connected.http2 {
        return Err("it does not offer HTTP/2 (ALPN h2)".to_owned());
    }
    Ok(connected.stream)
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

async fn over_http1(mut stream: Stream, host: &str, path: &str) -> Result<u16, String> {
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = BytesMut::with_capacity(MAX_ANSWER);
    loop {
        if let Some(end) = memchr::memchr(b'\n', &answer) {
            return status_of(&answer[..end]).ok_or_else(|| "it does not speak HTTP/1.1".to_owned());
        }
        if answer.len() >= MAX_ANSWER {
            return Err("it does not speak HTTP/1.1".to_owned());
        }
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
    }
}

/// The status in `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, behind) = rest.split_at_checked(3)?;
    let ends = matches!(behind.first(), None | Some(b' ' | b'\r'));
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (ends && digits.iter().all(u8::is_ascii_digit) && status >= 100).then_some(status)
}

async fn over_http2(cluster: &Cluster, stream: Stream, host: &str, path: &str) -> Result<u16, String> {
    let request = request(cluster, "GET", host, path).body(()).map_err(|error| error.to_string())?;
    let (mut sender, _driving) = begin(stream).await?;
    let (response, _) = sender.send_request(request, true).map_err(|error| error.to_string())?;
    Ok(response.await.map_err(|error| error.to_string())?.status().as_u16())
}

fn request(cluster: &Cluster, method: &str, host: &str, path: &str) -> http::request::Builder {
    let scheme = if cluster.tls.is_some() { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    Request::builder().method(method).uri(uri.unwrap_or_default()).header("user-agent", USER_AGENT)
}

/// Ends the task that drives a connection.
struct Driving(tokio::task::JoinHandle<()>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn begin(stream: Stream) -> Result<(SendRequest<Bytes>, Driving), String> {
    let (sender, driver) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    let driving = Driving(tokio::task::spawn_local(async move {
        // Its failure reaches the request, too.
        let _ = driver.await;
    }));
    Ok((sender.ready().await.map_err(|error| error.to_string())?, driving))
}

/// `grpc.health.v1.Health/Check` (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
async fn grpc(cluster: &Cluster, stream: Stream, host: &str, service: &str) -> Result<(), String> {
    let text = |error: h2::Error| error.to_string();
    let request = request(cluster, "POST", host, "/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| error.to_string())?;
    let (mut sender, _driving) = begin(stream).await?;
    let (response, mut body) = sender.send_request(request, false).map_err(text)?;
    body.send_data(question(service), true).map_err(text)?;
    let (head, mut content) = response.await.map_err(text)?.into_parts();
    let head = Response::from_parts(head, ());
    if head.status() != 200 {
        return Err(format!("status {}", head.status().as_u16()));
    }
    let mut message = BytesMut::new();
    while let Some(data) = content.data().await {
        let data = data.map_err(text)?;
        let _ = content.flow_control().release_capacity(data.len());
        if message.len() + data.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        message.extend_from_slice(&data);
    }
    let trailers = poll_fn(|cx| content.poll_trailers(cx)).await.map_err(text)?;
    match grpc_status(trailers.as_ref().unwrap_or_else(|| head.headers())) {
        Some("0") => serving(&message),
        Some(status) => Err(format!("gRPC status {status}")),
        None => Err("no gRPC status".to_owned()),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status")?.to_str().ok()
}

/// `HealthCheckRequest { service }` as a gRPC message: the frame's five bytes, field 1 as text.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

/// Whether `HealthCheckResponse { status }` says `SERVING`, which is 1. Fields that are not known are passed over.
fn serving(mut framed: &[u8]) -> Result<(), String> {
    let nonsense = || "its answer makes no sense".to_owned();
    if framed.len() < 5 || framed.get_u8() != 0 || framed.get_u32() as usize != framed.len() {
        return Err(nonsense());
    }
    let mut status = 0;
    while !framed.is_empty() {
        let tag = varint(&mut framed).ok_or_else(nonsense)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut framed).ok_or_else(nonsense)?,
            (_, 0) => drop(varint(&mut framed).ok_or_else(nonsense)?),
            (_, kind) => {
                let length = match kind {
                    1 => 8,
                    5 => 4,
                    2 => {
                        usize::try_from(varint(&mut framed).ok_or_else(nonsense)?).map_err(|_| nonsense())?
                    }
                    _ => return Err(nonsense()),
                };
                framed = framed.get(length..).ok_or_else(nonsense)?;
            }
        }
    }
    match status {
        1 => Ok(()),
        0 => Err("UNKNOWN".to_owned()),
        2 => Err("NOT_SERVING".to_owned()),
        3 => Err("SERVICE_UNKNOWN".to_owned()),
        other => Err(format!("serving status {other}")),
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_lines() {
        for (line, expected) in [
            (&b"HTTP/1.1 200 OK\r"[..], Some(200)),
            (b"HTTP/1.0 503\r", Some(503)),
            (b"HTTP/1.1 204", Some(204)),
            (b"HTTP/1.1 2000 OK", None),
            (b"HTTP/1.1 +20 OK", None),
            (b"HTTP/1.1 099 OK", None),
            (b"HTTP/2 200", None),
            (b"SSH-2.0-x", None),
            (b"", None),
        ] {
            assert_eq!(status_of(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn questions() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers() {
        let framed = |message: &[u8]| [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message].concat();
        for (message, good) in [
            (&[0x08, 1][..], true),
            (&[0x08, 2], false),
            (&[], false),
            // Unknown fields of each wire type before it.
            (&[0x10, 0x80, 1, 0x1a, 1, 9, 0x25, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 1], true),
            (&[0x08], false),
            (&[0x1a, 9, 1], false),
            (&[0x0b], false),
        ] {
            assert_eq!(serving(&framed(message)).is_ok(), good, "{message:?}");
        }
        assert!(serving(&[1, 0, 0, 0, 2, 8, 1]).is_err(), "compressed");
        assert!(serving(&[0, 0, 0, 0, 9, 8, 1]).is_err(), "cut off");
    }

    proptest! {
        #[test]
        fn nothing_a_peer_answers_panics(bytes: Vec<u8>) {
            let _ = serving(&bytes);
            let _ = status_of(&bytes);
        }
    }

    #[test]
    fn hosts() {
        for (host, expected) in
            [("a.test", "a.test"), ("a.test:80", "a.test"), ("[::1]:80", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(without_port(host), expected);
        }
    }
}
