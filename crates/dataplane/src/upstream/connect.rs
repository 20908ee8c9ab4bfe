//! Opening a connection to an endpoint: TCP or unix socket, keepalive, TLS.

use std::sync::Arc;

use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{Address, TcpKeepalive};
use portcullis_snapshot::tls::{UpstreamSni, UpstreamTls};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::error::UpstreamError;
use crate::stream::Stream;

/// A new connection and what TLS agreed on.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// Whether ALPN chose HTTP/2.
    pub(crate) http2: bool,
}

/// What a connection is for: it decides what TLS offers and expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// HTTP in the cluster's own version.
    Http,
    /// HTTP/2, also where the cluster speaks as the client does.
    Http2,
    /// Bytes of a TCP or TLS route.
    Bytes,
}

impl Purpose {
    pub(crate) fn config(self, tls: &UpstreamTls) -> &Arc<rustls::ClientConfig> {
        match self {
            Self::Http => &tls.config,
            Self::Http2 => &tls.http2,
            Self::Bytes => &tls.opaque,
        }
    }
}

/// Opens a connection to `address` within the cluster's connect timeout, TLS handshake included.
/// `host` is the name for automatic SNI, without a port.
///
/// # Errors
/// [`UpstreamError::Connect`] with the reason, or [`UpstreamError::ConnectTimeout`].
pub(crate) async fn open(
    cluster: &Cluster,
    address: &Address,
    host: Option<&str>,
    purpose: Purpose,
) -> Result<Connected, UpstreamError> {
    let limit = cluster.pool.connect_timeout;
    let connecting = async {
        let stream = plain(cluster, address).await?;
        match &cluster.tls {
            None => Ok(Connected { stream, http2: false }),
            Some(tls) => secure((tls, purpose), stream, address, host).await,
        }
    };
    tokio::time::timeout(limit, connecting).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
}

/// The server name a connection would use: part of what makes connections interchangeable.
pub(crate) fn server_name(tls: &UpstreamTls, host: Option<&str>) -> Option<Arc<str>> {
    match &tls.sni {
        UpstreamSni::Fixed(name) => Some(Arc::clone(name)),
        UpstreamSni::FromHost => host.map(Arc::from),
    }
}

/// Opens the connection without TLS.
pub(crate) async fn plain(cluster: &Cluster, address: &Address) -> Result<Stream, UpstreamError> {
    match address {
        Address::Unix(path) => {
            UnixStream::connect(path).await.map(Stream::Unix).map_err(|error| failed(&error))
        }
        Address::Inet(address) => {
            let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
            // Small writes must not wait for acknowledgements; failing to say so only costs speed.
            let _ = stream.set_nodelay(true);
            if let Some(keepalive) = &cluster.pool.keepalive {
                set_keepalive(&stream, keepalive);
            }
            Ok(Stream::Tcp(stream))
        }
    }
}

/// Speaks TLS on a connected stream.
pub(crate) async fn secure(
    (tls, purpose): (&UpstreamTls, Purpose),
    stream: Stream,
    address: &Address,
    host: Option<&str>,
) -> Result<Connected, UpstreamError> {
    let name = server_name(tls, host);
    let name = match name.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok()) {
        Some(name) => name,
        // Without a usable name no SNI is sent, as for an IP address.
        None => match address {
            Address::Inet(address) => ServerName::IpAddress(address.ip().into()),
            Address::Unix(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
        },
    };
    let connector = TlsConnector::from(Arc::clone(purpose.config(tls)));
    let stream = connector.connect(name, Box::new(stream)).await;
    let stream = stream.map_err(|error| UpstreamError::Connect(format!("TLS: {error}").into()))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected { stream: Stream::TlsClient(Box::new(stream)), http2 })
}

fn failed(error: &std::io::Error) -> UpstreamError {
    // As Istio's gateway words it: the system's text without its error number.
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "delayed connect error: Connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "immediate connect error: No route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "immediate connect error: Network is unreachable".into(),
        _ => format!("connect error: {error}").into(),
    };
    UpstreamError::Connect(text)
}

fn set_keepalive(stream: &TcpStream, keepalive: &TcpKeepalive) {
    let mut wanted = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        wanted = wanted.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        wanted = wanted.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        wanted = wanted.with_retries(probes);
    }
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&wanted) {
        tracing::debug!(%error, "keepalive not set");
    }
}
