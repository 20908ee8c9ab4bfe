//! Clients: connections of every kind, requests, and what an answer must look like.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode, response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend::{BACKEND, GENERATION, SEEN_GENERATION, SEEN_PATH, TEXT};
use crate::configuration::{SHOP, is_member, path_of};
use crate::tally::Trouble;

/// Longer than any answer takes on a busy machine; what takes longer has failed.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How TLS is begun.
#[derive(Clone)]
pub(crate) struct Tls {
    /// ALPN `http/1.1`, never resumed.
    pub(crate) http1: Arc<ClientConfig>,
    /// ALPN `http/1.1`, resumed where the gateway's ticket is good.
    pub(crate) resuming: Arc<ClientConfig>,
    /// ALPN `h2`, never resumed.
    pub(crate) http2: Arc<ClientConfig>,
    /// No ALPN, for servers behind the gateway.
    pub(crate) bare: Arc<ClientConfig>,
}

impl Tls {
    /// Clients that trust `root`, in DER, alone.
    ///
    /// # Errors
    /// When it is no certificate.
    pub(crate) fn new(root: Vec<u8>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(root))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = |alpn: &[&str], resumption: Resumption| -> anyhow::Result<Arc<ClientConfig>> {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            config.resumption = resumption;
            Ok(Arc::new(config))
        };
        Ok(Self {
            http1: config(&["http/1.1"], Resumption::disabled())?,
            resuming: config(&["http/1.1"], Resumption::default())?,
            http2: config(&["h2"], Resumption::disabled())?,
            bare: config(&[], Resumption::disabled())?,
        })
    }
}

/// Opens a TCP connection.
///
/// # Errors
/// Those of the system.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = timeout(ANSWER_LIMIT, TcpStream::connect(address)).await.context("connecting")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a TLS connection.
///
/// # Errors
/// Those of the system and of the handshake.
pub(crate) async fn connect_tls(
    address: SocketAddr,
    name: &'static str,
    config: &Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::clone(config));
    let handshake = connector.connect(ServerName::try_from(name)?, connect(address).await?);
    timeout(ANSWER_LIMIT, handshake).await.context("the handshake")?.context("the handshake")
}

/// The way to send requests on a connection.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    /// Speaks HTTP/1.1 on a stream.
    ///
    /// # Errors
    /// Never before the first request.
    pub(crate) async fn http1(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ends shows in the requests.
        tokio::spawn(connection.with_upgrades());
        Ok(Self::Http1(sender))
    }

    /// Speaks HTTP/2 on a stream.
    ///
    /// # Errors
    /// When the connection ends at once.
    pub(crate) async fn http2(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    /// Another sender for streams of the same connection.
    ///
    /// # Panics
    /// On HTTP/1.1, which has no streams.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Http1(_) => panic!("HTTP/1.1 has no streams"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    /// A request for `path` at the shop, ready for this protocol.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method);
        match self {
            Self::Http1(_) => request.uri(path).header(HOST, SHOP),
            Self::Http2(_) => request.uri(format!("http://{SHOP}{path}")),
        }
    }

    /// Sends a request and waits for the head of its answer. A connection that is gone before is
    /// [`Trouble::Closed`].
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Trouble> {
        let sent = async {
            match self {
                Self::Http1(sender) => {
                    sender.ready().await.map_err(|error| Trouble::Closed(error.into()))?;
                    Ok(sender.send_request(request).await?)
                }
                Self::Http2(sender) => {
                    sender.ready().await.map_err(|error| Trouble::Closed(error.into()))?;
                    Ok(sender.send_request(request).await?)
                }
            }
        };
        timeout(ANSWER_LIMIT, sent)
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer in {ANSWER_LIMIT:?}").into()))
    }

    /// Asks for the small answer and checks all of it.
    pub(crate) async fn get(&mut self, rest: &str) -> Result<Checked, Trouble> {
        let request = self.request("GET", &format!("/shop/{rest}")).body(Empty::new().boxed_unsync());
        let (head, body) = self.send(request?).await?.into_parts();
        let checked = Checked::of(&head, rest)?;
        let body = timeout(ANSWER_LIMIT, body.collect()).await.context("the body")?.context("the body")?;
        let body = body.to_bytes();
        if body != TEXT {
            return Err(anyhow!("the body is not what the backend sent: {} bytes", body.len()).into());
        }
        Ok(checked)
    }
}

/// An answer that one generation gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked {
    /// Its number.
    pub(crate) generation: u64,
    /// Which backend answered.
    backend: usize,
}

impl Checked {
    /// Checks that the request's header, its path and the answer's header come from one generation.
    pub(crate) fn of(head: &response::Parts, rest: &str) -> Result<Self, Trouble> {
        let number = |name: &str| -> anyhow::Result<u64> {
            let value = head.headers.get(name).with_context(|| format!("no {name}"))?;
            Ok(value.to_str()?.parse()?)
        };
        let status = head.status;
        ensure_status(status)?;
        let (generation, seen) = (number(GENERATION)?, number(SEEN_GENERATION)?);
        let path = head.headers.get(SEEN_PATH).map_or("", |path| path.to_str().unwrap_or_default());
        if generation != seen || path != path_of(generation, rest) {
            let words = format!(
                "the request was of generation {seen} and went to {path}, the answer is of {generation}"
            );
            return Err(Trouble::Mixed(words));
        }
        Ok(Self { generation, backend: number(BACKEND)? as usize })
    }

    /// Checks that the backend belongs to the same generation, too.
    pub(crate) fn by_member(self) -> Result<Self, Trouble> {
        let Self { generation, backend } = self;
        if is_member(generation, backend) {
            return Ok(self);
        }
        Err(Trouble::Mixed(format!(
            "generation {generation} answered by backend {backend}, which it has not"
        )))
    }

    /// Checks that the connection has not gone back to an older generation than `last`.
    pub(crate) fn not_before(self, last: &mut u64) -> Result<(), Trouble> {
        let before = std::mem::replace(last, self.generation);
        if self.generation >= before {
            return Ok(());
        }
        Err(Trouble::Mixed(format!("generation {} after {before} on one connection", self.generation)))
    }
}

fn ensure_status(status: StatusCode) -> anyhow::Result<()> {
    let good = matches!(status, StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS);
    ensure!(good, "status {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer whose request was of generation `seen` and came to `path` at a backend.
    fn head(answered: u64, seen: u64, path: &str, backend: usize) -> response::Parts {
        let response = Response::builder()
            .header(GENERATION, answered)
            .header(SEEN_GENERATION, seen)
            .header(SEEN_PATH, path)
            .header(BACKEND, backend);
        response.body(()).expect("well-formed").into_parts().0
    }

    #[test]
    fn an_answer_of_two_generations_is_noticed() {
        let check = |answered, seen, path: &str| Checked::of(&head(answered, seen, path, 0), "keep");
        assert!(check(7, 7, "/generation-7/keep").is_ok());
        for mixed in [check(8, 7, "/generation-7/keep"), check(7, 7, "/generation-6/keep")] {
            assert!(matches!(mixed, Err(Trouble::Mixed(_))), "{mixed:?}");
        }
    }

    #[test]
    fn a_backend_that_is_no_member_and_a_step_back_are_noticed() {
        let by = |backend| Checked::of(&head(4, 4, "/generation-4/keep", backend), "keep");
        assert!(by(0).and_then(Checked::by_member).is_ok());
        let foreign = by(1).and_then(Checked::by_member);
        assert!(matches!(foreign, Err(Trouble::Mixed(_))), "{foreign:?}");
        let mut last = 5;
        let back = by(0).and_then(|checked| checked.not_before(&mut last));
        assert!(matches!(back, Err(Trouble::Mixed(_))), "{back:?}");
    }

    #[test]
    fn an_error_is_a_failure() {
        let (mut failed, ()) = Response::new(()).into_parts();
        failed.status = StatusCode::SERVICE_UNAVAILABLE;
        assert!(matches!(Checked::of(&failed, "keep"), Err(Trouble::Failed(_))));
    }
}
