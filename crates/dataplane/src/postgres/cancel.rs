//! Requests to cancel that come in clear.
//!
//! Clients before libpq 17 send CancelRequest on a connection of its own, unencrypted and without a
//! server name, even when the session is encrypted (PostgreSQL documentation, "Canceling Requests in
//! Progress"). The only thing that leads to the server is who asks, and where: the request goes to
//! each upstream on which that client's address has a session through the same listener now. The
//! servers compare its secret key, so the ones it does not concern ignore it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::Address;
use portcullis_snapshot::listener::ListenerKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::preface::CancelRequest;
use super::session::ask_for_tls;
use crate::upstream::connect::{self, Purpose};
use crate::upstream::introduce::Ends;

/// Servers that one request to cancel is sent to at most.
pub(crate) const MAX_TARGETS: usize = 16;
/// Client addresses remembered; sessions of more are served all the same, but cannot be cancelled in clear.
const MAX_CLIENTS: usize = 65_536;
/// Longest wait for a server to take the request and close.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of the sessions of a client.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) address: Address,
}

/// Who has sessions where, over all workers of the process: a request to cancel may be accepted by
/// another worker than the session was.
#[derive(Default)]
pub(crate) struct Sessions {
    clients: Mutex<HashMap<Client, Vec<Held>>>,
}

type Client = (ListenerKey, IpAddr);

/// A server and how many sessions of a client it has.
struct Held {
    target: Target,
    sessions: usize,
}

/// Holds a session's place in [`Sessions`] while it lives.
pub(crate) struct Registered {
    sessions: Arc<Sessions>,
    client: Client,
    target: Target,
}

impl Sessions {
    /// Remembers a session for as long as the guard lives; `None` when a bound is reached.
    pub(crate) fn register(
        self: &Arc<Self>,
        listener: ListenerKey,
        client: IpAddr,
        target: Target,
    ) -> Option<Registered> {
        let client = (listener, client);
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            return None;
        }
        let held = clients.entry(client).or_default();
        match held.iter().position(|held| held.target.is(&target)) {
            Some(place) => held[place].sessions += 1,
            None if held.len() < MAX_TARGETS => held.push(Held { target: target.clone(), sessions: 1 }),
            None => return None,
        }
        drop(clients);
        Some(Registered { sessions: Arc::clone(self), client, target })
    }

    /// The servers on which a client has sessions now.
    pub(crate) fn of(&self, listener: ListenerKey, client: IpAddr) -> Vec<Target> {
        let clients = self.lock();
        let held = clients.get(&(listener, client)).map_or(&[][..], Vec::as_slice);
        held.iter().map(|held| held.target.clone()).collect()
    }

    /// Every change is complete before the lock is given back, so a panic elsewhere harms nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<Client, Vec<Held>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut clients = self.sessions.lock();
        let Some(held) = clients.get_mut(&self.client) else { return };
        if let Some(place) = held.iter().position(|held| held.target.is(&self.target)) {
            held[place].sessions -= 1;
            if held[place].sessions == 0 {
                held.swap_remove(place);
            }
        }
        if held.is_empty() {
            clients.remove(&self.client);
        }
    }
}

impl Target {
    fn is(&self, other: &Self) -> bool {
        self.address == other.address && self.cluster.name == other.cluster.name
    }
}

/// Sends the request to each target at once and waits until they have taken it.
///
/// The client knows that its request was looked at when its own connection is closed, so that is
/// best done after this. Dropping the future abandons what is still on its way.
pub(crate) async fn forward(request: CancelRequest, targets: Vec<Target>, client: Ends) -> usize {
    let request = Rc::new(request);
    let mut sending = JoinSet::new();
    for target in targets.into_iter().take(MAX_TARGETS) {
        let request = Rc::clone(&request);
        sending.spawn_local(async move {
            tokio::time::timeout(PATIENCE, send(&request, &target, client))
                .await
                .is_ok_and(|sent| sent.is_some())
        });
    }
    let mut taken = 0;
    while let Some(sent) = sending.join_next().await {
        taken += usize::from(sent.unwrap_or(false));
    }
    taken
}

/// `None` when the server could not be reached. A server without TLS origination takes the request
/// in clear, whatever its sessions use: PostgreSQL looks at it before anything else.
async fn send(request: &CancelRequest, target: &Target, client: Ends) -> Option<()> {
    let mut server = connect::plain(&target.cluster, &target.address, Some(client)).await.ok()?;
    if let Some(tls) = &target.cluster.tls {
        ask_for_tls(&mut server).await.ok()?;
        server = connect::secure((tls, Purpose::Bytes), server, &target.address, None).await.ok()?.stream;
    }
    server.write_all(request.packet()).await.ok()?;
    server.flush().await.ok()?;
    // The server says nothing; it closes when it has acted.
    let mut nothing = [0; 16];
    while server.read(&mut nothing).await.is_ok_and(|length| length > 0) {}
    Some(())
}

#[cfg(test)]
mod tests {
    use portcullis_snapshot::cluster::{Balancer, PoolLimits, Service, UpstreamProtocol};

    use super::*;

    fn target(name: &str, port: u16) -> Target {
        let service = Service { host: name.into(), name: name.into(), namespace: "default".into() };
        let cluster = Cluster {
            name: name.into(),
            service: service.into(),
            port,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balancer: Balancer::LeastRequest,
            endpoints: Arc::default(),
            pool: Arc::new(PoolLimits::default()),
            outlier: None,
            warmup: None,
            transport: portcullis_snapshot::transport::Transport::default(),
            health_check: None,
            notes: portcullis_snapshot::cluster::Notes::default(),
        };
        Target { cluster: cluster.into(), address: Address::Inet(([127, 0, 0, 1], port).into()) }
    }

    const LISTENER: ListenerKey = ListenerKey { bind: None, port: 5432 };
    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn ports(sessions: &Sessions, client: IpAddr) -> Vec<u16> {
        let mut ports: Vec<u16> =
            sessions.of(LISTENER, client).iter().map(|target| target.cluster.port).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn a_client_is_led_to_the_servers_of_its_own_sessions_only() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.register(LISTENER, ANN, target("a", 1));
        let again = sessions.register(LISTENER, ANN, target("a", 1));
        let other = sessions.register(LISTENER, ANN, target("b", 2));
        let bob = sessions.register(LISTENER, BOB, target("c", 3));
        assert_eq!((ports(&sessions, ANN), ports(&sessions, BOB)), (vec![1, 2], vec![3]));
        assert!(sessions.of(ListenerKey { bind: None, port: 1 }, ANN).is_empty());
        drop(first);
        assert_eq!(ports(&sessions, ANN), [1, 2]);
        drop((again, bob));
        assert_eq!((ports(&sessions, ANN), ports(&sessions, BOB)), (vec![2], vec![]));
        drop(other);
        assert!(sessions.lock().is_empty());
    }

    #[test]
    fn targets_of_a_client_are_bounded() {
        let sessions = Arc::new(Sessions::default());
        let kept: Vec<_> =
            (0..100).filter_map(|port| sessions.register(LISTENER, ANN, target("a", port))).collect();
        assert_eq!(kept.len(), MAX_TARGETS);
    }
}
