//! What stands behind every subject: small answers over any number of kept connections, on a thread that ends with it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How often a port is looked for that is free on every address.
const ATTEMPTS: usize = 20;
/// Bytes of an answer's body.
const SMALL: usize = 100;
/// The most of a request's head that is read at once.
const READ: usize = 2 * 1024;

/// A running one. When it is dropped, its connections are closed and new ones are refused.
pub(crate) struct Backend {
    pub(crate) addresses: Vec<SocketAddr>,
    answered: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Listens on as many addresses of 127.0.0.0/8, on one port, as the endpoints of a service do.
    pub(crate) fn start(count: u8) -> Result<Self> {
        let address = |last: u8, port: u16| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
        let sockets = (0..ATTEMPTS).find_map(|_| {
            let first = TcpListener::bind(address(1, 0)).ok()?;
            let port = first.local_addr().ok()?.port();
            let others = (2..=count).map(|last| TcpListener::bind(address(last, port)));
            std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<_>>>().ok()
        });
        Self::serve(sockets.context("a port for the backend")?)
    }

    /// Listens at one address that was somebody's before.
    pub(crate) fn start_at(address: SocketAddr) -> Result<Self> {
        Self::serve(vec![TcpListener::bind(address).context("the address of a backend")?])
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn serve(sockets: Vec<TcpListener>) -> Result<Self> {
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let answered = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&answered);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for socket in sockets {
                    if let Ok(listener) = tokio::net::TcpListener::from_std(socket) {
                        tokio::spawn(accept(listener, Arc::clone(&counter)));
                    }
                }
                // Either word of the other half ends it.
                let _ = stopped.await;
            });
        });
        Ok(Self { addresses, answered, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, answered: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&answered)));
    }
}

/// Answers until the other side hangs up. Nobody sends a request before the last one is answered, and none has a body.
async fn serve(mut stream: TcpStream, answered: Arc<AtomicU64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {SMALL}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + SMALL, b'x');
    let mut head = Vec::new();
    loop {
        // Thousands of connections wait, and hold nothing meanwhile.
        stream.readable().await?;
        head.reserve(READ);
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if head.ends_with(b"\r\n\r\n") {
            head = Vec::new();
            stream.write_all(&answer).await?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}
