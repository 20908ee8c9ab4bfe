//! Opening a connection to an endpoint: TCP or unix socket, keepalive, PROXY protocol, TLS.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{Address, TcpKeepalive};
use portcullis_snapshot::tls::{UpstreamSni, UpstreamTls};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::connection::TlsSession;
use crate::error::UpstreamError;
use crate::stream::Stream;
use crate::upstream::introduce::{self, Ends};
use crate::upstream::race::race;

/// A new connection and what TLS agreed on.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    pub(crate) tls: Option<TlsSession>,
    /// Whether ALPN chose HTTP/2.
    pub(crate) http2: bool,
    /// When it was opened, TLS aside.
    pub(crate) opened: Option<Opened>,
}

/// When a connection was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) begun: Instant,
    pub(crate) connected: Instant,
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

/// Where to, and on whose behalf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial<'a> {
    pub(crate) address: &'a Address,
    /// The name for automatic SNI, without a port or brackets.
    pub(crate) host: Option<&'a str>,
    /// The client's connection, for upstreams that are told of it; `None` for what the gateway does by itself.
    pub(crate) client: Option<Ends>,
}

/// Opens a connection within the cluster's connect timeout, PROXY protocol header and TLS handshake included.
///
/// # Errors
/// [`UpstreamError::Connect`] with the reason, or [`UpstreamError::ConnectTimeout`].
pub(crate) async fn open(
    cluster: &Cluster,
    dial: Dial<'_>,
    purpose: Purpose,
) -> Result<Connected, UpstreamError> {
    let connecting = async {
        let begun = Instant::now();
        let stream = plain(cluster, dial.address, dial.client).await?;
        let opened = Some(Opened { begun, connected: Instant::now() });
        match &cluster.tls {
            None => Ok(Connected { stream, tls: None, http2: false, opened }),
            Some(tls) => {
                let connected = secure((tls, purpose), stream, dial.address, dial.host).await?;
                Ok(Connected { opened, ..connected })
            }
        }
    };
    let limit = cluster.pool.connect_timeout;
    tokio::time::timeout(limit, connecting).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
}

/// The server name a connection would use: part of what makes connections interchangeable.
pub(crate) fn server_name(tls: &UpstreamTls, host: Option<&str>) -> Option<Arc<str>> {
    match &tls.sni {
        UpstreamSni::Fixed(name) => Some(Arc::clone(name)),
        UpstreamSni::FromHost => host.map(Arc::from),
    }
}

/// Opens the connection without TLS, and introduces the client to upstreams that want it.
pub(crate) async fn plain(
    cluster: &Cluster,
    address: &Address,
    client: Option<Ends>,
) -> Result<Stream, UpstreamError> {
    let mut stream = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(&*socket_name(path)).await;
            Stream::Unix(stream.map_err(|error| failed(&error))?)
        }
        Address::Inet(address) => tcp(cluster, TcpStream::connect(address).await)?,
        Address::Several(addresses) => tcp(cluster, race(addresses, TcpStream::connect).await)?,
    };
    if let Some(version) = cluster.transport.proxy_protocol {
        let header = introduce::header(version, client, own_ends(&stream));
        stream.write_all(&header).await.map_err(|error| failed(&error))?;
    }
    Ok(stream)
}

fn tcp(cluster: &Cluster, connected: std::io::Result<TcpStream>) -> Result<Stream, UpstreamError> {
    let stream = connected.map_err(|error| failed(&error))?;
    // Small writes must not wait for acknowledgements; failing to say so only costs speed.
    let _ = stream.set_nodelay(true);
    if let Some(keepalive) = &cluster.pool.keepalive {
        set_keepalive(&stream, keepalive);
    }
    Ok(Stream::Tcp(stream))
}

/// The name of a socket as the system wants it: an abstract one begins with a zero byte, which configuration writes
/// as `@`.
fn socket_name(path: &Path) -> Cow<'_, Path> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        None => Cow::Borrowed(path),
        Some(name) => Cow::Owned(PathBuf::from(OsStr::from_bytes(&[b"\0", name].concat()))),
    }
}

fn own_ends(stream: &Stream) -> Option<Ends> {
    let stream = stream.tcp()?;
    Some(Ends { source: stream.local_addr().ok()?, destination: stream.peer_addr().ok()? })
}

/// Speaks TLS on a connected stream.
pub(crate) async fn secure(
    (tls, purpose): (&UpstreamTls, Purpose),
    stream: Stream,
    address: &Address,
    host: Option<&str>,
) -> Result<Connected, UpstreamError> {
    let sent = server_name(tls, host);
    let name = match &sent {
        // A host that is no name is sent to nobody and stands in no certificate.
        Some(name) => ServerName::try_from(&**name).map_or_else(|_| nobody(), |name| name.to_owned()),
        // Without a name none is sent, as for an IP address; what is remembered of the session is told apart by it.
        None => address.inet().map_or_else(nobody, |address| ServerName::IpAddress(address.ip().into())),
    };
    let connector = TlsConnector::from(Arc::clone(purpose.config(tls)));
    let stream = connector.connect(name, Box::new(stream)).await;
    let stream = stream.map_err(|error| UpstreamError::Connect(format!("TLS: {error}").into()))?;
    let agreed = stream.get_ref().1.alpn_protocol();
    // A sidecar of a mesh says it in Istio's own words.
    let http2 = purpose == Purpose::Http2 && matches!(agreed, Some(b"h2" | b"istio-h2" | b"istio"))
        || agreed == Some(b"h2");
    // None is sent for what is no name.
    let sent = sent.filter(|name| !name.is_empty() && name.parse::<IpAddr>().is_err());
    let session = TlsSession::with_upstream(sent, tls.leaf.clone(), stream.get_ref().1);
    Ok(Connected { stream: Stream::TlsClient(Box::new(stream)), tls: session, http2, opened: None })
}

/// A name that no certificate is for.
fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
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
