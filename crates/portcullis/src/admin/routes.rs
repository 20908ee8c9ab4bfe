//! Which page a request gets, and whether it may have it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use portcullis_snapshot::host::without_port;

use super::{Admin, Port, query};

/// An answer of one of the gateway's own ports.
pub(super) type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Answers a request that came to `port` from `peer`.
    pub(super) fn answer(&self, port: Port, peer: SocketAddr, head: &Parts) -> Answer {
        let query = head.uri.query().unwrap_or("");
        let read = matches!(head.method, Method::GET | Method::HEAD);
        if port == Port::Admin && !is_local(head) {
            return text(StatusCode::FORBIDDEN, "the admin port answers to localhost and addresses only\n");
        }
        match (port, head.uri.path()) {
            (Port::Health | Port::Metrics, "/healthz/ready") | (Port::Admin, "/ready") if read => {
                self.ready()
            }
            (Port::Metrics | Port::Stats | Port::Admin, "/stats/prometheus")
            | (Port::Metrics, "/metrics")
                if read =>
            {
                self.prometheus()
            }
            (Port::Admin, "/logging") if read => text(StatusCode::OK, format!("{}\n", self.log.shown())),
            (Port::Admin | Port::Metrics, page @ ("/quitquitquit" | "/drain" | "/logging")) => {
                self.command(port, peer, head, page, query)
            }
            (Port::Admin, page) if read => self.page(page, query),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// What changes something. POST only, from this host only, and never on behalf of a web page.
    fn command(&self, port: Port, peer: SocketAddr, head: &Parts, page: &str, query: &str) -> Answer {
        if head.method != Method::POST {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        if !is_loopback(peer.ip()) || head.headers.contains_key(ORIGIN) {
            return text(StatusCode::FORBIDDEN, "only from this host\n");
        }
        match (port, page) {
            (_, "/quitquitquit") => {
                tracing::info!("the end was asked for by /quitquitquit");
                self.life.end();
                text(StatusCode::OK, "OK\n")
            }
            (Port::Metrics, "/drain") => {
                tracing::info!("draining was asked for by /drain");
                self.life.drain();
                text(StatusCode::OK, "OK\n")
            }
            (Port::Admin, "/logging") => self.set_level(query),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn set_level(&self, query: &str) -> Answer {
        let Some(level) = query::value(query, "level") else {
            return text(StatusCode::BAD_REQUEST, "write /logging?level=debug\n");
        };
        match self.log.set(&level) {
            Ok(()) => text(StatusCode::OK, format!("{}\n", self.log.shown())),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error:#}\n")),
        }
    }

    fn ready(&self) -> Answer {
        match self.life.not_ready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    }
}

/// Whether the request was meant for this host: a web page whose name was pointed here afterwards (DNS
/// rebinding) sends that name.
fn is_local(head: &Parts) -> bool {
    let Some(host) = head.headers.get(HOST).and_then(|host| host.to_str().ok()) else { return true };
    let host = without_port(host).trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// Any content type.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
