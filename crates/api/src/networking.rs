//! The routing kinds of `networking.istio.io`. The versions v1, v1beta1 and v1alpha3 have one schema.

mod connection_pool;
mod destination_rule;
mod gateway;
mod http_match;
mod http_policy;
mod http_route;
mod load_balancer;
mod service_entry;
mod virtual_service;

pub use connection_pool::{
    ConnectionPoolSettings, H2UpgradePolicy, Http2KeepAlive, HttpSettings, OutlierDetection, TcpKeepalive,
    TcpSettings,
};
pub use destination_rule::{
    ClientTlsMode, ClientTlsSettings, DestinationRuleSpec, PortTrafficPolicy, ProxyProtocol,
    ProxyProtocolVersion, RetryBudget, Subset, TrafficPolicy, TunnelSettings, WorkloadSelector,
};
pub use gateway::{
    GatewaySpec, Server, ServerPort, ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsVersion,
};
pub use http_match::HttpMatchRequest;
pub use http_policy::{
    Abort, CorsPolicy, Delay, DirectResponse, HeaderOperations, Headers, HttpBody, HttpFaultInjection,
    HttpMirrorPolicy, HttpRedirect, HttpRetry, HttpRewrite, RedirectPortSelection, RegexRewrite,
    UnmatchedPreflights,
};
pub use http_route::{Delegate, HttpRoute, HttpRouteDestination};
pub use load_balancer::{
    BackendUtilization, ConsistentHash, HttpCookie, HttpCookieAttribute, LoadBalancerSettings,
    LocalityDistribute, LocalityFailover, LocalityLbSetting, Maglev, RingHash, SimpleLb, Warmup,
    ZoneAwareLbSetting,
};
pub use service_entry::{
    Location, Resolution, ServiceEntrySpec, ServicePort, WorkloadEntrySpec, WorkloadLabels,
};
pub use virtual_service::{
    Destination, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
    VirtualServiceSpec,
};
