//! Pods of a gateway that are replaced one after the other, under clients that never stop: no request fails, and a session
//! of PostgreSQL goes on to its end.
//!
//! What a Service does for its pods is done here by a forwarder: a new connection goes to one of the pods it knows, a moment
//! behind the truth as kube-proxy is, and a connection that is there stays where it is.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, server, service, to};
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::postgres::{Postgres, Psql, Which};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

/// How far a Service is behind its pods.
const BEHIND: Duration = Duration::from_millis(500);
/// What a pod has to see that no more connections come, in seconds: `[drain] delay_seconds`.
const DELAY: &str = "2";
/// Answers that every client must have had between two steps.
const BETWEEN: usize = 20;

/// A Service of one port.
struct Service {
    address: SocketAddr,
    pods: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Service {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let service = Self { address: listener.local_addr().unwrap(), pods: Arc::default() };
        let pods = Arc::clone(&service.pods);
        thread::spawn(move || {
            for (turn, client) in listener.incoming().map_while(Result::ok).enumerate() {
                let pods = pods.lock().unwrap().clone();
                let Ok(pod) = TcpStream::connect(pods[turn % pods.len()]) else { continue };
                let ends = [(client.try_clone(), pod.try_clone()), (Ok(pod), Ok(client))];
                for (from, to) in ends.into_iter().filter_map(|(from, to)| Some((from.ok()?, to.ok()?))) {
                    thread::spawn(move || forward(from, to));
                }
            }
        });
        service
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

struct Load {
    ended: AtomicBool,
    plain: AtomicUsize,
    multiplexed: AtomicUsize,
}

impl Load {
    /// One request after the other on a connection that is kept for as long as the gateway keeps it.
    fn plain(&self, address: SocketAddr) {
        let mut client = Raw::connect(address);
        while !self.ended.load(Ordering::Acquire) {
            let answer = client.get("/", "a.test");
            assert_eq!(answer.status, 200);
            self.plain.fetch_add(1, Ordering::AcqRel);
            if answer.header("connection") == Some("close") {
                client = Raw::connect(address);
            }
        }
    }

    /// The same over HTTP/2; the gateway says when it takes no more.
    fn multiplexed(&self, address: SocketAddr) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !self.ended.load(Ordering::Acquire) {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
                let driver = tokio::spawn(connection);
                while !self.ended.load(Ordering::Acquire) {
                    let Ok(ready) = send.ready().await else { break };
                    send = ready;
                    let request = http::Request::get("http://a.test/").body(()).unwrap();
                    // Told before the request was on its way.
                    let Ok((response, _)) = send.send_request(request, true) else { break };
                    assert_eq!(response.await.unwrap().status(), 200);
                    self.multiplexed.fetch_add(1, Ordering::AcqRel);
                }
                driver.abort();
            }
        });
    }

    /// Waits until every kind of client has been answered some more.
    fn goes_on(&self) {
        let counts = || [&self.plain, &self.multiplexed].map(|count| count.load(Ordering::Acquire));
        let before = counts();
        let more = || counts().iter().zip(before).all(|(now, before)| *now >= before + BETWEEN).then_some(());
        poll(Instant::now() + LIMIT, more).expect("clients are answered");
    }
}

/// Ends the load also when an expectation has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Takes a pod out as a cluster does: it is told to end at the moment from which no new connection should come, and
/// some do.
fn replace(services: &[(&Service, u16)], old: &Gateway, new: &[&Gateway]) {
    old.terminate();
    thread::sleep(BEHIND);
    for (service, port) in services {
        *service.pods.lock().unwrap() = new.iter().map(|pod| pod.address(*port)).collect();
    }
}

#[test]
fn no_request_fails_while_pods_are_replaced() {
    let ca = Authority::new("rolling");
    let upstream = Upstream::serve(|_| ok("fine"));
    let database = Postgres::start(Which::System, "db", &ca.server(&["db.test"]));
    let mut yaml =
        objects::gateway("gw", &[server(80, &["a.test"]), objects::passthrough(5432, &["db.test"])])
            + &routes("app", &["a.test"], &[to("app", "")])
            + &service("app", "http", &[upstream.address()]);
    if let Some(database) = &database {
        yaml += &objects::service("db", 5432, "tcp-postgres", database.address());
        yaml += &objects::tls_routes("db", "gw", 5432, &[("db.test", "db")]);
    }
    let pod = || Setup::new(yaml.clone(), &[80, 5432]).arguments(&["--drain", DELAY]).start();
    let (http, postgres) = (Service::new(), Service::new());
    let services = [(&http, 80), (&postgres, 5432)];
    let load =
        Load { ended: AtomicBool::new(false), plain: AtomicUsize::new(0), multiplexed: AtomicUsize::new(0) };

    // They outlive the clients, who are still at it when the last step is done.
    let (mut first, mut second, third) = (pod(), pod(), pod());
    for (service, port) in services {
        *service.pods.lock().unwrap() = vec![first.address(port)];
    }
    thread::scope(|scope| {
        let _end = End(&load.ended);
        for _ in 0..2 {
            scope.spawn(|| load.plain(http.address));
            scope.spawn(|| load.multiplexed(http.address));
        }
        load.goes_on();
        // A long statement, begun before all of it.
        let folder = tempfile::tempdir().unwrap();
        let root = ca.write(folder.path(), "ca").unwrap();
        let psql = Psql::new("db.test", postgres.address.port()).ssl_mode("verify-full").root(&root);
        let running = database.is_some().then(|| psql.spawn("select pg_sleep(4); select 42").unwrap());
        let is_there =
            || running.is_none() || first.samples().sum("istio_tcp_connections_opened_total", &[]) > 0.0;
        poll(Instant::now() + LIMIT, || is_there().then_some(())).expect("a session");

        // A Deployment: the new pod is ready before the old one goes.
        replace(&services, &first, &[&second]);
        load.goes_on();
        if let Some(running) = running {
            let finished = running.finish(LIMIT).unwrap();
            assert_eq!((finished.code(), finished.stdout.trim()), (0, "42"), "{}", finished.stderr);
        }
        assert!(first.ended(LIMIT).success());

        // A DaemonSet on two nodes: each pod goes before its successor comes, and the other one serves alone meanwhile.
        for (service, port) in services {
            *service.pods.lock().unwrap() = vec![second.address(port), third.address(port)];
        }
        load.goes_on();
        replace(&services, &second, &[&third]);
        assert!(second.ended(LIMIT).success());
        load.goes_on();
    });
    println!("{:?} requests over HTTP/1.1, {:?} over HTTP/2", load.plain, load.multiplexed);
}
