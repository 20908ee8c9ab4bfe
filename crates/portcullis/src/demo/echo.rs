//! Backends that answer with what they were asked: HTTP/1.1, HTTP/2 with prior knowledge, WebSocket.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::pki::Leaf;
use super::websocket;

/// Whether the backend terminates TLS itself.
pub(crate) enum Transport {
    /// Plaintext.
    Plain,
    /// TLS with this certificate.
    Tls(Leaf),
}

/// Starts a backend that calls itself `name`, on a port of 127.0.0.1 the system chooses. It runs as long as the
/// runtime it is called on.
///
/// # Errors
/// When there is no port, or the certificate cannot be used.
pub(crate) async fn start(name: &'static str, transport: Transport) -> anyhow::Result<SocketAddr> {
    let acceptor = match transport {
        Transport::Plain => None,
        Transport::Tls(leaf) => Some(acceptor(&leaf)?),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a backend")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => serve(name, stream).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(name, stream).await;
                        }
                    }
                }
            });
        }
    });
    Ok(address)
}

fn acceptor(leaf: &Leaf) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(name: &'static str, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
    // The gateway ends connections as it likes; there is nobody to tell.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

fn answer(name: &str, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) {
        let accept = websocket::accept(key.as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                // The client may leave at any time.
                let _ = websocket::echo(TokioIo::new(upgraded)).await;
            }
        });
        return switching_protocols(&accept);
    }
    let host =
        request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    let mut text =
        format!("{name}: {} {} for {host} ({:?})\n", request.method(), request.uri(), request.version());
    for (field, value) in request.headers() {
        text.push_str(&format!("  {field}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let mut response = Response::new(Full::new(text.into()));
    response
        .headers_mut()
        .insert("x-backend", HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("echo")));
    response
}

fn switching_protocols(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
