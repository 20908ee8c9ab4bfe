//! Clusters: a service port (and subset) with its endpoints and the policy towards them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::action::Percentage;
use crate::health_check::HealthCheck;
use crate::tls::UpstreamTls;
use crate::transport::Transport;

/// Index of a cluster in the snapshot it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

impl ClusterId {
    /// As a position in [`Snapshot::clusters`](crate::Snapshot::clusters).
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One upstream cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `outbound|80|v1|reviews.default.svc.cluster.local`: the identity under which what was
    /// learned about it survives a swap.
    pub name: Arc<str>,
    /// Facts for metric labels.
    pub service: Arc<Service>,
    /// Service port.
    pub port: u16,
    /// HTTP version spoken to it.
    pub protocol: UpstreamProtocol,
    /// TLS towards it.
    pub tls: Option<Arc<UpstreamTls>>,
    /// How an endpoint is chosen.
    pub balancer: Balancer,
    /// Members, sorted by address; replaced without touching routes.
    pub endpoints: Arc<Endpoints>,
    /// Bounds on connections and requests.
    pub pool: Arc<PoolLimits>,
    /// Ejection of failing endpoints.
    pub outlier: Option<Arc<OutlierDetection>>,
    /// How slowly a new endpoint gets its full share; `None` = at once.
    pub warmup: Option<Warmup>,
    /// How connections to it are introduced and kept.
    pub transport: Transport,
    /// How its endpoints are asked whether they are well; `None` = not at all.
    pub health_check: Option<Arc<HealthCheck>>,
    /// What a header value may tell of its configuration.
    pub notes: Notes,
}

/// Where a cluster's policy comes from, as Istio notes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// `DestinationRule default/reviews`.
    pub rule: Option<Arc<str>>,
    /// Whether the service lies outside the mesh.
    pub external: bool,
    /// Whether the rule sets TLS of its own, SIMPLE or MUTUAL.
    pub overrides_alpn: bool,
}

impl Cluster {
    /// Whether `other` is this cluster with the same members and the same policy. TLS is the same where the finished
    /// configuration is the same object.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { name, service, port, protocol, tls, balancer, .. } = self;
        let Self { endpoints, pool, outlier, warmup, transport, health_check, notes, .. } = self;
        let same_tls = match (tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_tls
            && (name, service, *port, *protocol) == (&other.name, &other.service, other.port, other.protocol)
            && (*balancer, endpoints, pool) == (other.balancer, &other.endpoints, &other.pool)
            && (outlier, warmup, transport) == (&other.outlier, &other.warmup, &other.transport)
            && (health_check, notes) == (&other.health_check, &other.notes)
    }
}

/// The service a cluster belongs to, as metrics name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// FQDN (`destination_service`).
    pub host: Arc<str>,
    /// Kubernetes name, or the host of a ServiceEntry (`destination_service_name`).
    pub name: Arc<str>,
    /// `destination_service_namespace`.
    pub namespace: Arc<str>,
}

/// HTTP version towards an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge on plaintext and by ALPN over TLS.
    Http2,
    /// The version the client spoke (`useClientProtocol`).
    AsClient,
}

/// Load-balancing algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancer {
    /// The less busy of two drawn at random (Envoy's power of two choices).
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// Ketama-style hash ring.
    RingHash {
        /// Smallest number of points on the ring.
        minimum_size: u64,
    },
    /// Maglev table.
    Maglev {
        /// Prime number of slots.
        table_size: u64,
    },
}

/// What a consistent hash is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashPolicy {
    /// A request header, lower-case name.
    Header(Box<str>),
    /// A cookie; generated when absent and a lifetime is given.
    Cookie {
        /// Cookie name.
        name: Box<str>,
        /// `Path` attribute.
        path: Option<Box<str>>,
        /// `None`: never generated; below a second: a session cookie.
        ttl: Option<Duration>,
        /// More attributes of a generated one, such as `SameSite`; those without value stand alone.
        attributes: Box<[CookieAttribute]>,
    },
    /// The trusted client address.
    SourceIp,
    /// A query parameter.
    Query(Box<str>),
}

/// An attribute of a generated cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieAttribute {
    /// Its name.
    pub name: Box<str>,
    /// Its value; empty: the name stands alone.
    pub value: Box<str>,
}

/// `loadBalancer.warmup`: an endpoint that is new gets `share(age)` of its weight (Envoy's slow start).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// From an endpoint's arrival until it has its full weight; longer than zero.
    pub window: Duration,
    /// Above 1 the share grows fast at first; above zero.
    pub aggression: f64,
    /// Least share, 0..=1.
    pub minimum: f64,
}

impl Warmup {
    /// The share of its weight that an endpoint of this age gets: (age / window) ^ (1 / aggression), at least
    /// the minimum; in steps of milliseconds, as Envoy counts.
    #[must_use]
    pub fn share(&self, age: Duration) -> f64 {
        let (age, window) = (age.as_millis().max(1), self.window.as_millis());
        if age >= window {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of any window in use stay below 2^53")]
        let time = age as f64 / window as f64;
        time.powf(1.0 / self.aggression).max(self.minimum)
    }
}

/// The members of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Sorted by address.
    pub all: Vec<Arc<Endpoint>>,
    /// Where localities matter, how members are grouped by them; `None`: all are alike.
    pub layout: Option<Layout>,
}

impl Endpoints {
    /// Members that are all alike; they are to be sorted by address.
    #[must_use]
    pub fn alike(all: Vec<Arc<Endpoint>>) -> Self {
        Self { all, layout: None }
    }
}

/// Members in groups, and how these share the traffic (`localityLbSetting`, `trafficDistribution`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// For each of [`Endpoints::all`], its position in `groups`.
    pub members: Vec<u32>,
    /// At least one; each has a member.
    pub groups: Vec<Group>,
    /// Whether a group is chosen by weight before a member of it; otherwise the members of a priority are
    /// alike.
    pub weighted: bool,
}

impl Layout {
    /// The priority of the member at a position; 0 for one that there is not.
    #[must_use]
    pub fn priority_of(&self, member: usize) -> u32 {
        let group = self.members.get(member).and_then(|group| self.groups.get(*group as usize));
        group.map_or(0, |group| group.priority)
    }
}

/// A group of a [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// 0 is used first; each further one as the healthy share of those before it falls. Without gaps.
    pub priority: u32,
    /// Among the groups of its priority; 0 = no traffic.
    pub weight: u32,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// The name whose address this is; `None` where the configuration gives addresses.
    pub name: Option<Arc<str>>,
    /// At least 1.
    pub weight: u32,
    /// Whether it may be picked; an unhealthy one only counts in percentages.
    pub healthy: bool,
    /// `region/zone/subzone`, empty when unknown.
    pub locality: Arc<str>,
    /// Facts for metric labels.
    pub workload: Arc<Workload>,
}

/// Address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IP and port.
    Inet(SocketAddr),
    /// A unix socket; a leading `@` is an abstract one.
    Unix(PathBuf),
    /// The addresses of one host, in the order in which they are tried; at least one.
    Several(Arc<[SocketAddr]>),
}

impl Address {
    /// Its IP address and port, of several the first; `None` for a unix socket.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Several(addresses) => addresses.first().copied(),
            Self::Unix(_) => None,
        }
    }

    /// The same host at another port; a unix socket has none.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let moved = |address: &SocketAddr| SocketAddr::new(address.ip(), port);
        match self {
            Self::Inet(address) => Self::Inet(moved(address)),
            Self::Several(addresses) => Self::Several(addresses.iter().map(moved).collect()),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
            Self::Several(addresses) => {
                let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                out.write_str(&texts.join(" or "))
            }
        }
    }
}

/// The workload behind an endpoint, as metrics name it; unknown facts are `unknown`
/// (canonical revision: `latest`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    /// `destination_workload`.
    pub name: Arc<str>,
    /// `destination_workload_namespace`.
    pub namespace: Arc<str>,
    /// `destination_app`.
    pub app: Arc<str>,
    /// `destination_version`.
    pub version: Arc<str>,
    /// `destination_canonical_service`.
    pub canonical_service: Arc<str>,
    /// `destination_canonical_revision`.
    pub canonical_revision: Arc<str>,
    /// `destination_cluster`.
    pub cluster: Arc<str>,
}

impl Default for Workload {
    fn default() -> Self {
        let unknown: Arc<str> = "unknown".into();
        Self {
            name: Arc::clone(&unknown),
            namespace: Arc::clone(&unknown),
            app: Arc::clone(&unknown),
            version: Arc::clone(&unknown),
            canonical_service: Arc::clone(&unknown),
            canonical_revision: "latest".into(),
            cluster: unknown,
        }
    }
}

/// `connectionPool` of a DestinationRule. `u32::MAX` stands for no limit, as in Istio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// `tcp.maxConnections`.
    pub max_connections: u32,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Duration,
    /// `tcp.idleTimeout`: of a TCP session; `None` = never.
    pub tcp_idle_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `http.http1MaxPendingRequests`.
    pub max_pending: u32,
    /// `http.http2MaxRequests`: concurrent requests, any protocol.
    pub max_requests: u32,
    /// `http.maxRetries`: concurrent retries, where there is no budget for them.
    pub max_retries: u32,
    /// `retryBudget`.
    pub retry_budget: Option<RetryBudget>,
    /// `http.maxRequestsPerConnection`; `None` = unlimited.
    pub max_requests_per_connection: Option<u32>,
    /// `http.idleTimeout`: of a pooled connection; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// `http.maxConcurrentStreams` of an HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
}

impl Default for PoolLimits {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            max_connections: u32::MAX,
            connect_timeout: Duration::from_secs(10),
            tcp_idle_timeout: Some(HOUR),
            max_connection_duration: None,
            keepalive: None,
            max_pending: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
            retry_budget: None,
            max_requests_per_connection: None,
            idle_timeout: Some(HOUR),
            max_concurrent_streams: None,
        }
    }
}

/// `retryBudget`: how many retries may be in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Share of the requests in progress or waiting for a connection; with an interval, of those begun within it.
    pub share: Percentage,
    /// So many in any case.
    pub min_concurrency: u32,
    /// How long a request counts from its beginning on; `None`: while it is in progress or waiting.
    pub interval: Option<Duration>,
}

/// `tcp.tcpKeepalive`; unset parts are left to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
    /// Probes before giving up.
    pub probes: Option<u32>,
}

/// `outlierDetection`, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx in a row; `None` = off.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 in a row; `None` = off.
    pub consecutive_gateway: Option<u32>,
    /// Locally seen failures in a row, when split from the others; `None` = not split.
    pub consecutive_local: Option<u32>,
    /// The statuses that count as failures, instead of 5xx; sorted. `None`: 5xx are.
    pub failure_statuses: Option<Box<[u16]>>,
    /// Between sweeps that bring endpoints back.
    pub interval: Duration,
    /// Times the number of ejections = how long an endpoint stays out.
    pub base_ejection: Duration,
    /// Longest ejection.
    pub max_ejection: Duration,
    /// Share of endpoints that may be out, 0..=100.
    pub max_ejection_percent: u32,
    /// Below this share of healthy endpoints all are used (panic); 0 = never.
    pub min_health_percent: u32,
}
