//! A small HTTP/1.1 server for the gateway's own ports.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Admin, Port};

/// Connections served at once on one port; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// Time a client has for the head of a request, the first and any later one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest request head, in bytes; an `explain` with many headers has room.
const MAX_HEAD: usize = 64 * 1024;

/// Pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is open and not served yet.
pub(crate) struct Bound {
    port: Port,
    listener: StdListener,
}

/// Opens a port.
///
/// # Errors
/// When the address cannot be had, naming the flag that chooses another.
pub(crate) fn bind(port: Port, address: SocketAddr) -> anyhow::Result<Bound> {
    let flag = port.flag();
    let listener = StdListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| {
            format!("{address} cannot be listened on; choose another with {flag} ADDR or {flag} off")
        })?;
    Ok(Bound { port, listener })
}

impl Bound {
    /// Which port it is.
    pub(crate) fn port(&self) -> Port {
        self.port
    }

    /// The address, with the port the system chose where none was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends. Must run on a runtime.
    pub(crate) async fn serve(self, admin: Arc<Admin>) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, port = ?self.port, "own port cannot be served");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = connection(stream, peer, self.port, Arc::clone(&admin));
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, port = ?self.port, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, port: Port, admin: Arc<Admin>) {
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        // Bodies are not looked at: nothing here takes one, and hyper throws away what was sent.
        let (head, _) = request.into_parts();
        let response = admin.answer(port, peer, &head);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, %peer, ?port, "own connection failed");
    }
}
