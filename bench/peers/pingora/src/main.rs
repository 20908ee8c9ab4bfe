//! A reverse proxy on the pingora crate, to measure beside the gateway: one worker thread, kept connections to the
//! backend, HTTP/2 on TLS, one JSON line and two metrics for each request.
//!
//! Settings come as `key=value` arguments: `backend`, `grpc` (HTTP/2 in clear), `plain`, `tls`, `rsa`, `metrics`
//! (addresses), `tls-cert`, `tls-key`, `rsa-cert`, `rsa-key`, `log` (files).

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, RequestHeader, ResponseHeader, Server};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use prometheus::{HistogramVec, IntCounterVec, histogram_opts, opts};

/// How long kept connections may stay idle, on both sides.
const IDLE: Duration = Duration::from_secs(300);
/// Kept connections to the backend.
const POOL: usize = 128;
/// Log lines are written together, as the other peers with a buffer do.
const LOG_BUFFER: usize = 64 * 1024;
/// Paths below this are gRPC's.
const GRPC: &str = "/bench.Echo/";

fn main() -> Result<(), Box<dyn Error>> {
    let settings: HashMap<String, String> = env::args()
        .skip(1)
        .filter_map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let setting = |key: &str| settings.get(key).cloned().ok_or(format!("{key}= is missing"));

    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: POOL, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Proxy::new(setting("backend")?.parse()?, setting("grpc")?.parse()?, &setting("log")?)?;
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&setting("plain")?);
    for name in ["tls", "rsa"] {
        let (certificate, key) = (setting(&format!("{name}-cert"))?, setting(&format!("{name}-key"))?);
        let mut tls = TlsSettings::intermediate(&certificate, &key)?;
        tls.enable_h2();
        service.add_tls_with_settings(&setting(name)?, None, tls);
    }
    server.add_service(service);
    let mut metrics = pingora_prometheus::prometheus_http_service();
    metrics.add_tcp(&setting("metrics")?);
    server.add_service(metrics);
    server.run_forever();
}

struct Proxy {
    backend: SocketAddr,
    grpc: SocketAddr,
    log: Mutex<BufWriter<File>>,
    /// What request identifiers are made of: when the process began, and a count.
    began: u128,
    count: AtomicU64,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Proxy {
    fn new(backend: SocketAddr, grpc: SocketAddr, log: &str) -> Result<Self, Box<dyn Error>> {
        let labels = &["code", "method"];
        let requests = IntCounterVec::new(opts!("requests_total", "Requests"), labels)?;
        let seconds = HistogramVec::new(histogram_opts!("request_seconds", "Their durations"), labels)?;
        prometheus::register(Box::new(requests.clone()))?;
        prometheus::register(Box::new(seconds.clone()))?;
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let log = Mutex::new(BufWriter::with_capacity(LOG_BUFFER, File::create(log)?));
        Ok(Self { backend, grpc, log, began, count: AtomicU64::new(0), requests, seconds })
    }
}

/// What is known of a request until it is logged.
struct Context {
    begun: Instant,
    at: SystemTime,
    id: String,
    upstream: Option<SocketAddr>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{count:016x}", self.began);
        Context { begun: Instant::now(), at: SystemTime::now(), id, upstream: None }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        let is_grpc = session.req_header().uri.path().starts_with(GRPC);
        let address = if is_grpc { self.grpc } else { self.backend };
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.idle_timeout = Some(IDLE);
        if is_grpc {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 100;
        }
        context.upstream = Some(address);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        request.insert_header("x-request-id", context.id.as_str())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        _response: &mut ResponseHeader,
        _context: &mut Context,
    ) -> pingora::Result<()> {
        session.set_keepalive(Some(IDLE.as_secs()));
        Ok(())
    }

    async fn logging(&self, session: &mut Session, error: Option<&pingora::Error>, context: &mut Context) {
        let took = context.begun.elapsed();
        let code = session.response_written().map_or(0, |response| response.status.as_u16());
        let request = session.req_header();
        let of = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let host = of("host").map(str::to_owned).or_else(|| request.uri.host().map(str::to_owned));
        let at = context.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = serde_json::json!({
            "start_time": at.as_secs_f64(),
            "method": request.method.as_str(),
            "path": request.uri.path_and_query().map(|path| path.as_str()),
            "protocol": format!("{:?}", request.version),
            "response_code": code,
            "response_flags": error.map(ToString::to_string),
            "bytes_received": session.body_bytes_read(),
            "bytes_sent": session.body_bytes_sent(),
            "duration": took.as_secs_f64() * 1e3,
            "upstream_host": context.upstream.map(|address| address.to_string()),
            "x_forwarded_for": of("x-forwarded-for"),
            "user_agent": of("user-agent"),
            "request_id": context.id,
            "authority": host,
            "downstream_remote_address": session.client_addr().map(ToString::to_string),
        });
        let method = request.method.as_str();
        let labels = [&*code.to_string(), method];
        self.requests.with_label_values(&labels).inc();
        self.seconds.with_label_values(&labels).observe(took.as_secs_f64());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk is nothing that a request could wait for.
        let _ = writeln!(log, "{line}");
    }
}
