//! Echo backends: three for HTTP, one that ends TLS itself, and a PostgreSQL server where one is installed.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::postgres::{Postgres, Which};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::configuration::{BACKENDS, DATABASE, VAULT};
use crate::load::{PACE, SLOW_PART};

/// Header by which the gateway tells a backend and the client which generation it follows.
pub(crate) const GENERATION: &str = "x-generation";
/// What a backend saw in [`GENERATION`].
pub(crate) const SEEN_GENERATION: &str = "x-seen-generation";
/// The path a backend saw.
pub(crate) const SEEN_PATH: &str = "x-seen-path";
/// Which backend answers, from 0.
pub(crate) const BACKEND: &str = "x-backend";
/// What a backend answers to GET.
pub(crate) const TEXT: &str = "The portcullis is up; come in and state your business.\n";

/// Bytes read at once from an upgraded connection.
const PIECE: usize = 4096;
/// Frames of a body under way in a backend.
const FRAMES: usize = 4;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Sender = http_body_util::channel::Sender<Bytes, Infallible>;

/// Everything behind the gateway.
pub(crate) struct Backends {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    pub(crate) http: [SocketAddr; BACKENDS],
    /// TLS of its own around an echo.
    pub(crate) vault: SocketAddr,
    /// Where one is installed.
    pub(crate) postgres: Option<Postgres>,
    /// Signs every certificate.
    pub(crate) authority: Authority,
}

impl Backends {
    /// Starts them on the runtime it is called on.
    ///
    /// # Errors
    /// When there is no port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let authority = Authority::new("hot swap root");
        let mut http = [(Ipv4Addr::LOCALHOST, 0).into(); BACKENDS];
        for (index, address) in http.iter_mut().enumerate() {
            let listener = TcpListener::bind(*address).await.context("no port for a backend")?;
            *address = listener.local_addr()?;
            tokio::spawn(serve_http(index, listener));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a backend")?;
        let vault = listener.local_addr()?;
        tokio::spawn(serve_vault(listener, acceptor(&authority.server(&[VAULT]))?));
        let leaf = authority.server(&[DATABASE]);
        let postgres =
            tokio::task::spawn_blocking(move || Postgres::start(Which::System, "hot-swap", &leaf)).await?;
        Ok(Self { http, vault, postgres, authority })
    }
}

fn acceptor(leaf: &Leaf) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from(leaf.certificate_der.clone());
    let key = PrivatePkcs8KeyDer::from(leaf.key_der.clone());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve_vault(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        // An echo of small messages must not wait for more of them.
        let _ = stream.set_nodelay(true);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo(stream).await;
            }
        });
    }
}

async fn serve_http(index: usize, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let service =
            service_fn(move |request| async move { Ok::<_, Infallible>(answer(index, request).await) });
        tokio::spawn(async move {
            // The gateway ends connections as it likes; what that breaks, the client sees.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(index: usize, mut request: Request<Incoming>) -> Response<Body> {
    let seen = request.headers().get(GENERATION).cloned();
    let path = HeaderValue::from_str(request.uri().path()).ok();
    let upgrade = request.headers().contains_key(UPGRADE);
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/grpc");
    let mut response = if upgrade {
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrading.await {
                echo(TokioIo::new(upgraded)).await;
            }
        });
        switching_protocols()
    } else if grpc {
        let (sender, body) = Channel::new(FRAMES);
        tokio::spawn(return_messages(request.into_body(), sender));
        Response::new(body.boxed_unsync())
    } else if request.method() == Method::POST {
        let (sender, body) = Channel::new(FRAMES);
        let upload = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
        tokio::spawn(return_slowly(upload, sender));
        Response::new(body.boxed_unsync())
    } else {
        Response::new(Full::from(TEXT).boxed_unsync())
    };
    let headers = response.headers_mut();
    headers.insert(BACKEND, HeaderValue::from(index));
    for (name, value) in [(SEEN_GENERATION, seen), (SEEN_PATH, path)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    response
}

/// Sends back in parts what has come, whole, over as long as several swaps. An answer that began earlier would
/// cost an HTTP/1 client its connection.
async fn return_slowly(mut upload: Bytes, mut sender: Sender) {
    let mut ticks = tokio::time::interval(PACE);
    while !upload.is_empty() {
        ticks.tick().await;
        let part = upload.split_to(upload.len().min(SLOW_PART));
        if sender.send_data(part).await.is_err() {
            return;
        }
    }
}

fn switching_protocols() -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// Sends a stream's messages back as they come. One that breaks off breaks the answer off, too.
async fn return_messages(mut body: Incoming, mut sender: Sender) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        if let Ok(data) = frame.into_data()
            && sender.send_data(data).await.is_err()
        {
            return;
        }
    }
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from(0));
    // The client may have left.
    let _ = sender.send_trailers(HeaderMap::from_iter([status])).await;
}

/// Sends back what comes until either side ends.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        if stream.write_all(&piece[..length]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}
