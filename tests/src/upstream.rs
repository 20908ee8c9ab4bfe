//! Upstreams that tests script: well-behaved HTTP/1 servers, and any misbehaviour on a raw socket.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::pki::Leaf;
use crate::raw::{Message, Raw};

/// How long a test waits for requests to arrive.
const LIMIT: Duration = Duration::from_secs(20);

/// A server on 127.0.0.1 unless told otherwise; takes no more connections once dropped.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// A request that reached an upstream completely.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// On which connection, counted from 0.
    pub connection: usize,
    /// The request.
    pub message: Message,
}

#[derive(Default)]
struct Seen {
    arrivals: Mutex<Vec<Arrival>>,
    changed: Condvar,
    connections: AtomicUsize,
    ended: AtomicBool,
}

/// One connection of an upstream, in the hands of a script.
pub struct Conn {
    /// Counted from 0.
    pub number: usize,
    /// The connection.
    pub raw: Raw,
    seen: Arc<Seen>,
}

impl Upstream {
    /// Answers every complete request with the bytes that `respond` gives, and keeps connections open until
    /// the client closes them or an answer says `connection: close`.
    pub fn serve<B: AsRef<[u8]>>(respond: impl Fn(&Message) -> B + Send + Sync + 'static) -> Self {
        Self::serve_on(Ipv4Addr::LOCALHOST, respond)
    }

    /// The same on another address of this machine.
    pub fn serve_on<B: AsRef<[u8]>>(
        address: Ipv4Addr,
        respond: impl Fn(&Message) -> B + Send + Sync + 'static,
    ) -> Self {
        Self::script_on(address, move |mut conn| {
            while let Some(request) = conn.request() {
                let answer = respond(&request);
                let closes = find(answer.as_ref(), b"connection: close");
                if !conn.raw.send(answer) || closes {
                    return;
                }
            }
        })
    }

    /// Runs `script` for each connection, on a thread of its own.
    pub fn script(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::script_on(Ipv4Addr::LOCALHOST, script)
    }

    fn script_on(address: Ipv4Addr, script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Seen> = Arc::default();
        let (accepting, script) = (Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                let number = accepting.connections.fetch_add(1, Ordering::AcqRel);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&accepting));
                std::thread::spawn(move || script(Conn { number, raw: Raw::on_server(stream), seen }));
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Acquire)
    }

    /// Complete requests so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().clone()
    }

    /// The targets of complete requests so far.
    pub fn targets(&self) -> Vec<String> {
        self.seen.lock().iter().map(|arrival| arrival.message.target().to_owned()).collect()
    }

    /// Waits for so many complete requests.
    ///
    /// # Panics
    /// When they do not come.
    pub fn await_arrivals(&self, count: usize) -> Vec<Arrival> {
        let arrivals = self.seen.lock();
        let waited = self.seen.changed.wait_timeout_while(arrivals, LIMIT, |seen| seen.len() < count);
        let (arrivals, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(arrivals.len() >= count, "{count} requests awaited, got {arrivals:#?}");
        arrivals.clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn {
    /// The next complete request, none when the connection ends first.
    pub fn request(&mut self) -> Option<Message> {
        let message = self.raw.request().filter(|message| !message.truncated)?;
        self.arrived(message.clone());
        Some(message)
    }

    /// Counts a request that the script has read by itself.
    pub fn arrived(&self, message: Message) {
        self.seen.lock().push(Arrival { connection: self.number, message });
        self.seen.changed.notify_all();
    }
}

/// A signal that one thread gives and others wait for.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn pass(&self) {
        let deadline = Instant::now() + LIMIT;
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            let left = deadline.checked_duration_since(Instant::now()).expect("the gate opens");
            open = self.0.1.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A plain answer with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An answer with a status and no content.
pub fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} Status\r\ncontent-length: 0\r\n\r\n")
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A server with TLS of its own, which says a word and closes.
///
/// # Panics
/// When the certificate cannot be used.
pub fn tls_server(leaf: &Leaf, says: &'static str) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(leaf.key_der.clone()).into();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf.certificate_der.clone())], key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let mut stream = StreamOwned::new(session, stream);
            let _ = stream.write_all(says.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
            let _ = stream.sock.read_to_end(&mut Vec::new());
        }
    });
    address
}
