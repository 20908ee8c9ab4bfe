//! What a DestinationRule means for one port and subset (routing reference §3.3–3.5).

use std::time::Duration;

use portcullis_api::DestinationRule;
use portcullis_api::mesh::{MeshConfig, MeshH2UpgradePolicy};
use portcullis_api::networking as api;
use portcullis_api::wire;
use portcullis_snapshot::action::Percentage;
use portcullis_snapshot::cluster::{
    Balancer, CookieAttribute, HashPolicy, OutlierDetection, PoolLimits, RetryBudget, TcpKeepalive,
    UpstreamProtocol, Warmup,
};
use portcullis_snapshot::transport::{Http2Keepalive, ProxyVersion, Transport};

use super::destination_rule::{MergedRule, Written};
use crate::services::Protocol;

/// Points on a hash ring where none are asked for.
const RING_SIZE: u64 = 1024;
/// Envoy's bound on a ring's points.
const RING_SIZE_LIMIT: u64 = 8_388_608;
/// Slots of a Maglev table where none are asked for.
const MAGLEV_SIZE: u64 = 65_537;
/// Envoy's bound on a Maglev table's slots.
const MAGLEV_SIZE_LIMIT: u64 = 5_000_011;
/// Longest ejection, unless the shortest one is longer.
const MAX_EJECTION: Duration = Duration::from_secs(300);

/// The parts of a policy in force for a port and subset.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy<'a> {
    pub(crate) load_balancer: Option<&'a api::LoadBalancerSettings>,
    pub(crate) pool: Option<&'a api::ConnectionPoolSettings>,
    pub(crate) outlier: Option<&'a api::OutlierDetection>,
    pub(crate) tls: Option<WrittenTls<'a>>,
    pub(crate) proxy_protocol: Option<&'a api::ProxyProtocol>,
    pub(crate) retry_budget: Option<&'a api::RetryBudget>,
}

/// TLS settings and where they stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenTls<'a> {
    pub(crate) settings: &'a api::ClientTlsSettings,
    pub(crate) rule: &'a DestinationRule,
    /// Index of the subset, and of the entry among its or the rule's port settings.
    subset: Option<usize>,
    port: Option<usize>,
}

impl WrittenTls<'_> {
    /// Path of the `tls` block in its rule.
    pub(crate) fn field(&self) -> String {
        let mut path = "spec".to_owned();
        if let Some(subset) = self.subset {
            path += &format!(".subsets[{subset}]");
        }
        path += ".trafficPolicy";
        if let Some(port) = self.port {
            path += &format!(".portLevelSettings[{port}]");
        }
        path + ".tls"
    }
}

impl<'a> Policy<'a> {
    /// The policy of `rule` for `port` (`None`: port settings are not looked at) and its subset at `subset`.
    pub(crate) fn new(
        rule: Option<&MergedRule<'a>>,
        subset: Option<(usize, Written<'a, api::Subset>)>,
        port: Option<u16>,
        mesh: Option<&'a MeshConfig>,
    ) -> Self {
        let mut policy = Self::default();
        let base = rule.and_then(|rule| rule.policy);
        if let Some(Written { value, rule }) = base {
            policy.overlay(value, rule, None);
        }
        if let Some(default) = mesh.and_then(|mesh| mesh.default_traffic_policy.as_ref()) {
            policy.pool = policy.pool.or(default.connection_pool.as_ref());
            policy.outlier = policy.outlier.or(default.outlier_detection.as_ref());
        }
        if let Some(Written { value, rule }) = base {
            policy.replace_for_port(value, rule, None, port);
        }
        if let Some((at, Written { value, rule })) = subset
            && let Some(own) = &value.traffic_policy
        {
            let inherited = (policy.proxy_protocol, policy.retry_budget);
            policy.overlay(own, rule, Some(at));
            if policy.replace_for_port(own, rule, Some(at), port) {
                // An entry for the port stands for the subset's whole policy, but not for what was inherited.
                (policy.proxy_protocol, policy.retry_budget) = inherited;
            }
        }
        policy
    }

    /// Block by block, what is written wins.
    fn overlay(&mut self, own: &'a api::TrafficPolicy, rule: &'a DestinationRule, subset: Option<usize>) {
        self.load_balancer = own.load_balancer.as_ref().or(self.load_balancer);
        self.pool = own.connection_pool.as_ref().or(self.pool);
        self.outlier = own.outlier_detection.as_ref().or(self.outlier);
        let tls = own.tls.as_ref().map(|settings| WrittenTls { settings, rule, subset, port: None });
        self.tls = tls.or(self.tls);
        self.proxy_protocol = own.proxy_protocol.as_ref().or(self.proxy_protocol);
        self.retry_budget = own.retry_budget.as_ref().or(self.retry_budget);
    }

    /// The entry for `port`, if there is one, stands for everything: what it leaves out, or cannot hold, is default,
    /// not inherited. Tells whether there is one.
    fn replace_for_port(
        &mut self,
        own: &'a api::TrafficPolicy,
        rule: &'a DestinationRule,
        subset: Option<usize>,
        port: Option<u16>,
    ) -> bool {
        let Some(port) = port else { return false };
        let is_meant = |entry: &api::PortTrafficPolicy| {
            entry.port.and_then(|selector| selector.number) == Some(u32::from(port))
        };
        let Some(at) = own.port_level_settings.iter().position(is_meant) else { return false };
        let entry = &own.port_level_settings[at];
        let tls = entry.tls.as_ref();
        *self = Self {
            load_balancer: entry.load_balancer.as_ref(),
            pool: entry.connection_pool.as_ref(),
            outlier: entry.outlier_detection.as_ref(),
            tls: tls.map(|settings| WrittenTls { settings, rule, subset, port: Some(at) }),
            proxy_protocol: None,
            retry_budget: None,
        };
        true
    }

    /// How an endpoint is chosen.
    pub(crate) fn balancer(&self) -> Balancer {
        let Some(settings) = self.load_balancer else { return Balancer::LeastRequest };
        if let Some(hash) = &settings.consistent_hash {
            return hash_balancer(hash);
        }
        match settings.simple {
            Some(api::SimpleLb::RoundRobin) => Balancer::RoundRobin,
            Some(api::SimpleLb::Random) => Balancer::Random,
            _ => Balancer::LeastRequest,
        }
    }

    /// How slowly new endpoints get their full share: for algorithms that go by turns or by load.
    pub(crate) fn warmup(&self) -> Option<Warmup> {
        let settings = self.load_balancer.filter(|settings| settings.consistent_hash.is_none())?;
        let (window, aggression, minimum) = match (&settings.warmup, &settings.warmup_duration_secs) {
            (Some(own), _) => (&own.duration, own.aggression, own.minimum_percent),
            (None, Some(window)) => (window, None, None),
            (None, None) => return None,
        };
        Some(Warmup {
            window: positive(Some(window))?,
            // What Envoy takes for a mistake means no aggression there.
            aggression: aggression.filter(|aggression| *aggression > 0.0).unwrap_or(1.0),
            minimum: minimum.unwrap_or(10.0).clamp(0.0, 100.0) / 100.0,
        })
    }

    /// Whether the client's own destination is asked for, which a gateway does not know.
    pub(crate) fn wants_original_destination(&self) -> bool {
        self.load_balancer.is_some_and(|settings| {
            settings.consistent_hash.is_none() && settings.simple == Some(api::SimpleLb::Passthrough)
        })
    }

    /// What consistent hashing hashes.
    pub(crate) fn hash_policies(&self) -> Vec<HashPolicy> {
        let hash = self.load_balancer.and_then(|settings| settings.consistent_hash.as_ref());
        hash.and_then(hash_policy).into_iter().collect()
    }

    /// HTTP version towards the cluster.
    pub(crate) fn protocol(&self, port: Protocol, mesh: Option<&MeshConfig>) -> UpstreamProtocol {
        let http = self.pool.and_then(|pool| pool.http.as_ref());
        if http.and_then(|http| http.use_client_protocol).unwrap_or(false) {
            return UpstreamProtocol::AsClient;
        }
        let upgraded = match http.and_then(|http| http.h2_upgrade_policy) {
            Some(api::H2UpgradePolicy::Upgrade) => true,
            Some(api::H2UpgradePolicy::DoNotUpgrade) => false,
            // The mesh only speaks of ports that are said to be HTTP.
            Some(api::H2UpgradePolicy::Default) | None => {
                let policy = mesh.and_then(|mesh| mesh.h2_upgrade_policy);
                policy == Some(MeshH2UpgradePolicy::Upgrade) && port == Protocol::Http
            }
        };
        if upgraded || port == Protocol::Http2 { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 }
    }

    /// How connections of a cluster that speaks `protocol` are introduced and kept.
    pub(crate) fn transport(&self, protocol: UpstreamProtocol) -> Transport {
        let version = |written: &api::ProxyProtocol| match written.version {
            Some(api::ProxyProtocolVersion::V2) => ProxyVersion::V2,
            Some(api::ProxyProtocolVersion::V1) | None => ProxyVersion::V1,
        };
        let http = self.pool.and_then(|pool| pool.http.as_ref());
        let keepalive = http.and_then(|http| http.http2_keep_alive.as_ref()).and_then(|keepalive| {
            Some(Http2Keepalive {
                interval: positive(keepalive.interval.as_ref())?,
                timeout: positive(keepalive.timeout.as_ref())?,
            })
        });
        Transport {
            proxy_protocol: self.proxy_protocol.map(version),
            // Istio sets it only where the version is fixed to HTTP/2.
            http2_keepalive: keepalive.filter(|_| protocol == UpstreamProtocol::Http2),
        }
    }

    /// Bounds on connections and requests. Zero means unset but for idle times, where it means never.
    pub(crate) fn pool_limits(&self, mesh: Option<&MeshConfig>) -> PoolLimits {
        let none = (api::TcpSettings::default(), api::HttpSettings::default());
        let tcp = self.pool.and_then(|pool| pool.tcp.as_ref()).unwrap_or(&none.0);
        let http = self.pool.and_then(|pool| pool.http.as_ref()).unwrap_or(&none.1);
        let default = PoolLimits::default();
        let tcp_idle_timeout = idle(tcp.idle_timeout.as_ref()).unwrap_or(default.tcp_idle_timeout);
        let mesh_connect = mesh.and_then(|mesh| mesh.connect_timeout.as_ref());
        let keepalive =
            keepalive(tcp.tcp_keepalive.as_ref(), mesh.and_then(|mesh| mesh.tcp_keepalive.as_ref()));
        PoolLimits {
            max_connections: bound(tcp.max_connections),
            connect_timeout: positive(tcp.connect_timeout.as_ref())
                .or_else(|| positive(mesh_connect))
                .unwrap_or(default.connect_timeout),
            tcp_idle_timeout,
            max_connection_duration: positive(tcp.max_connection_duration.as_ref()),
            keepalive,
            max_pending: bound(http.http1_max_pending_requests),
            max_requests: bound(http.http2_max_requests),
            max_retries: bound(http.max_retries),
            // Istio reads it along with the pool's settings alone.
            retry_budget: self.retry_budget.filter(|_| self.pool.is_some()).map(budget_of),
            max_requests_per_connection: at_least_one(http.max_requests_per_connection),
            idle_timeout: idle(http.idle_timeout.as_ref())
                .or_else(|| idle(tcp.idle_timeout.as_ref()))
                .unwrap_or(default.idle_timeout),
            max_concurrent_streams: at_least_one(http.max_concurrent_streams),
        }
    }

    /// Ejection of failing endpoints; a block without content switches it on.
    pub(crate) fn outlier_detection(&self) -> Option<OutlierDetection> {
        let own = self.outlier?;
        let base_ejection = positive(own.base_ejection_time.as_ref()).unwrap_or(Duration::from_secs(30));
        let splits = own.split_external_local_origin_errors.unwrap_or(false);
        let local = own.consecutive_local_origin_failures.filter(|count| *count > 0).unwrap_or(5);
        let percent = |value: Option<i32>| value.and_then(|value| u32::try_from(value.clamp(0, 100)).ok());
        Some(OutlierDetection {
            consecutive_5xx: Some(own.consecutive_5xx_errors.unwrap_or(5)).filter(|count| *count > 0),
            consecutive_gateway: own.consecutive_gateway_errors.filter(|count| *count > 0),
            consecutive_local: splits.then_some(local),
            failure_statuses: failure_statuses(&own.outlier_detection_http_error_codes),
            interval: positive(own.interval.as_ref()).unwrap_or(Duration::from_secs(10)),
            base_ejection,
            max_ejection: MAX_EJECTION.max(base_ejection),
            max_ejection_percent: percent(own.max_ejection_percent).filter(|value| *value > 0).unwrap_or(10),
            min_health_percent: percent(own.min_health_percent).unwrap_or(0),
        })
    }
}

fn hash_balancer(hash: &api::ConsistentHash) -> Balancer {
    if let Some(maglev) = &hash.maglev {
        let wanted =
            maglev.table_size.filter(|size| (2..=MAGLEV_SIZE_LIMIT).contains(size) && is_prime(*size));
        return Balancer::Maglev { table_size: wanted.unwrap_or(MAGLEV_SIZE) };
    }
    let own = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    let wanted = own.or(hash.minimum_ring_size).filter(|size| *size > 0);
    Balancer::RingHash { minimum_size: wanted.unwrap_or(RING_SIZE).min(RING_SIZE_LIMIT) }
}

fn hash_policy(hash: &api::ConsistentHash) -> Option<HashPolicy> {
    if let Some(name) = hash.http_header_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(HashPolicy::Header(name.to_ascii_lowercase().into()));
    }
    if let Some(cookie) = &hash.http_cookie {
        return Some(HashPolicy::Cookie {
            name: cookie.name.as_str().into(),
            path: cookie.path.as_deref().filter(|path| !path.is_empty()).map(Into::into),
            ttl: cookie.ttl.as_ref().and_then(wire::Duration::to_std),
            attributes: cookie.attributes.iter().map(attribute).collect(),
        });
    }
    if hash.use_source_ip == Some(true) {
        return Some(HashPolicy::SourceIp);
    }
    let parameter = hash.http_query_parameter_name.as_deref().filter(|name| !name.is_empty());
    parameter.map(|name| HashPolicy::Query(name.into()))
}

fn attribute(written: &api::HttpCookieAttribute) -> CookieAttribute {
    let value = written.value.as_deref().unwrap_or_default();
    CookieAttribute { name: written.name.as_str().into(), value: value.into() }
}

/// The statuses that count as failures; `None` where none is written, so that 5xx do.
fn failure_statuses(written: &[u32]) -> Option<Box<[u16]>> {
    let mut statuses: Vec<u16> = written.iter().filter_map(|status| u16::try_from(*status).ok()).collect();
    statuses.sort_unstable();
    (!written.is_empty()).then(|| statuses.into())
}

/// Trial division: the bound keeps it below 1,200 steps.
fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn at_least_one(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

fn bound(value: Option<i32>) -> u32 {
    at_least_one(value).unwrap_or(u32::MAX)
}

fn positive(value: Option<&wire::Duration>) -> Option<Duration> {
    value.and_then(wire::Duration::to_std).filter(|value| !value.is_zero())
}

/// An idle time, if one is written: `Some(None)` is never.
#[expect(clippy::option_option, reason = "unset and never are two things here")]
fn idle(value: Option<&wire::Duration>) -> Option<Option<Duration>> {
    value.and_then(wire::Duration::to_std).map(|value| Some(value).filter(|value| !value.is_zero()))
}

/// Probes as the rule says, each part filled up by the mesh (Istio: `applyTCPKeepalive`).
fn keepalive(own: Option<&api::TcpKeepalive>, mesh: Option<&api::TcpKeepalive>) -> Option<TcpKeepalive> {
    let parts: Vec<_> = [own, mesh].into_iter().flatten().collect();
    let time = |part: fn(&api::TcpKeepalive) -> Option<&wire::Duration>| {
        parts.iter().find_map(|keepalive| positive(part(keepalive)))
    };
    (!parts.is_empty()).then(|| TcpKeepalive {
        time: time(|keepalive| keepalive.time.as_ref()),
        interval: time(|keepalive| keepalive.interval.as_ref()),
        probes: parts.iter().find_map(|keepalive| keepalive.probes.filter(|probes| *probes > 0)),
    })
}

/// A budget is 20 % and at least 3 retries unless it says otherwise.
fn budget_of(budget: &api::RetryBudget) -> RetryBudget {
    RetryBudget {
        share: Percentage::from_percent(budget.percent.unwrap_or(20.0)),
        min_concurrency: budget.min_retry_concurrency.filter(|least| *least > 0).unwrap_or(3),
        interval: positive(budget.budget_interval.as_ref()),
    }
}

#[cfg(test)]
mod tests;
