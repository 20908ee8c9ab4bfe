//! A ConfigMap volume that is replaced as a whole, again and again, beneath clients that never stop: routes,
//! certificate and endpoints change at once, no request fails, no connection is closed, and each request is
//! treated by one of the configurations alone.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use std::{fs, thread};

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, server as plaintext, service, to};
use portcullis_tests::objects::{NAMESPACE, gateway, server};
use portcullis_tests::pki::{Authority, Leaf};
use portcullis_tests::process::poll;
use portcullis_tests::raw::{Answer, Raw};
use portcullis_tests::upstream::Upstream;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Replacements of the volume.
const SWAPS: usize = 10;
/// Answers between two of them, over all clients.
const BETWEEN: usize = 20;
/// Servers behind the gateway; one of them is left out of each configuration.
const MEMBERS: usize = 3;

const HOST: &str = "shop.test";

#[test]
fn a_volume_is_replaced_under_load() {
    let members: Vec<Upstream> = (0..MEMBERS).map(|number| Upstream::serve(move |seen| {
        let generation = seen.header("x-generation").unwrap_or("none");
        format!("HTTP/1.1 200 OK\r\nx-seen: {generation}\r\nx-member: {number}\r\ncontent-length: 2\r\n\r\nok")
    })).collect();
    let addresses: Vec<SocketAddr> = members.iter().map(Upstream::address).collect();
    let authority = Authority::new("servers");
    let leaves: Vec<Leaf> = (0..=SWAPS).map(|_| authority.server(&[HOST])).collect();
    let volume = Volume::new();
    volume.replace(0, &configuration(0, &leaves[0], &addresses));
    let path = volume.0.path().to_string_lossy().into_owned();
    let gateway = Setup::new("# Everything stands in the volume.\n", &[80, 443])
        .arguments(&["--config", &path, "--workers", "2"])
        .start();

    let load = Load { done: AtomicBool::new(false), answers: AtomicUsize::new(0), tls: tls(&authority) };
    thread::scope(|scope| {
        let _end = End(&load.done);
        for _ in 0..2 {
            scope.spawn(|| load.keep(Raw::connect(gateway.address(80))));
            scope.spawn(|| load.keep(load.secure(&gateway).0));
            scope.spawn(|| load.call(&gateway));
        }
        for (generation, leaf) in leaves.iter().enumerate().skip(1) {
            volume.replace(generation, &configuration(generation, leaf, &addresses));
            // Every client that asks from here on sees it; those that are under way must not notice.
            let shown = || (load.secure(&gateway).1 == leaf.certificate_der).then_some(());
            poll(Instant::now() + LIMIT, shown)
                .unwrap_or_else(|| panic!("certificate {generation} is not shown"));
            load.await_more();
        }
    });
    let mut last = Raw::connect(gateway.address(80));
    assert_eq!(generation_of(&last.get("/", HOST)), SWAPS);
}

/// Clients at work.
struct Load {
    done: AtomicBool,
    answers: AtomicUsize,
    tls: Arc<ClientConfig>,
}

type Secure = Raw<StreamOwned<ClientConnection, TcpStream>>;

impl Load {
    /// Asks on one connection until the end; what was once new is never taken back.
    fn keep<S: std::io::Read + std::io::Write>(&self, mut client: Raw<S>) {
        let mut newest = 0;
        while !self.done.load(Ordering::Relaxed) {
            let generation = generation_of(&client.get("/", HOST));
            assert!(generation >= newest, "{generation} after {newest}");
            newest = generation;
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks on a new connection each time until the end.
    fn call(&self, gateway: &Gateway) {
        while !self.done.load(Ordering::Relaxed) {
            generation_of(&self.secure(gateway).0.get("/", HOST));
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A TLS connection and the certificate it was shown.
    fn secure(&self, gateway: &Gateway) -> (Secure, Vec<u8>) {
        let mut stream = TcpStream::connect(gateway.address(443)).expect("a listening gateway");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let name = ServerName::try_from(HOST).expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&self.tls), name).expect("a client");
        tls.complete_io(&mut stream).expect("a handshake");
        let shown = tls.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").to_vec();
        (Raw::over(StreamOwned::new(tls, stream)), shown)
    }

    fn await_more(&self) {
        let enough = self.answers.load(Ordering::Relaxed) + BETWEEN;
        let more = || (self.answers.load(Ordering::Relaxed) >= enough).then_some(());
        poll(Instant::now() + LIMIT, more).expect("clients go on");
    }
}

/// Ends the clients, whatever happens to the one that waits for them.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The one configuration that an answer comes from: what the upstream saw, what was put on the answer, and who
/// answered agree.
fn generation_of(answer: &Answer) -> usize {
    assert_eq!((answer.status, answer.header("connection")), (200, None), "{answer:?}");
    let number = |name: &str| -> usize {
        answer
            .header(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {answer:?}"))
    };
    let generation = number("x-generation");
    assert_eq!(number("x-seen"), generation, "{answer:?}");
    assert_ne!(number("x-member"), generation % MEMBERS, "generation {generation} has no such member");
    generation
}

fn configuration(generation: usize, leaf: &Leaf, members: &[SocketAddr]) -> String {
    let set = format!("set: {{x-generation: '{generation}'}}");
    let headers = format!("headers: {{request: {{{set}}}, response: {{{set}}}}}");
    let present =
        |(number, address): (usize, &SocketAddr)| (number != generation % MEMBERS).then_some(*address);
    let present: Vec<SocketAddr> = members.iter().enumerate().filter_map(present).collect();
    let secure = server(443, "HTTPS", &[HOST], "{mode: SIMPLE, credentialName: shop}");
    leaf.tls_secret(NAMESPACE, "shop")
        + &gateway("gw", &[plaintext(80, &[HOST]), secure])
        + &routes("shop", &[HOST], &[to("shop", &headers)])
        + &service("shop", "http", &present)
}

fn tls(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    // A resumed session shows the certificate of its first handshake.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A folder as Kubernetes mounts a ConfigMap: files lead through `..data` to a folder of their own, and the link
/// is replaced in one step.
struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("..data/everything.yaml", folder.path().join("everything.yaml")).expect("a link");
        Self(folder)
    }

    fn replace(&self, generation: usize, text: &str) {
        let of = |generation: usize| PathBuf::from(format!("..generation-{generation}"));
        let folder = self.0.path();
        fs::create_dir(folder.join(of(generation))).expect("a folder");
        fs::write(folder.join(of(generation)).join("everything.yaml"), text).expect("a file");
        let draft = folder.join("..data_draft");
        symlink(of(generation), &draft).expect("a link");
        fs::rename(draft, folder.join("..data")).expect("the link in its place");
        if let Some(old) = generation.checked_sub(1) {
            remove(&folder.join(of(old)));
        }
    }
}

fn remove(folder: &Path) {
    fs::remove_dir_all(folder).expect("the old folder");
}
