//! Active health checks: an annotation of the DestinationRule that has a cluster's policy.
//!
//! Istio has no field for them at a gateway. They belong to the rule, not to the service, since they are a policy of
//! who forwards: two gateways may ask the same endpoints differently.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use portcullis_api::Kind;
use portcullis_api::health_check::{HEALTH_CHECK, HealthCheckPolicy, HttpProbe, StatusRange};
use portcullis_api::wire;
use portcullis_snapshot::health_check::{HealthCheck, Probe};

use super::destination_rule::Written;
use crate::diagnostic::{Code, Diagnostics, Subject};

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter ones would be a load of their own, longer ones find nothing out in time.
const LENGTHS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const UNHEALTHY_THRESHOLD: u32 = 3;
const HEALTHY_THRESHOLD: u32 = 2;
/// As Kubernetes' own probes.
const STATUSES: RangeInclusive<u16> = 200..=399;

/// What `annotation` asks for endpoints of `host`; what cannot be done is reported, and nothing is checked then.
pub(super) fn health_check(
    annotation: Written<'_, str>,
    host: &str,
    min_health_percent: u32,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<HealthCheck>> {
    let read = HealthCheckPolicy::parse(annotation.value)
        .and_then(|policy| understood(&policy, host, min_health_percent));
    let message = match read {
        Ok(check) => return Some(Arc::new(check)),
        Err(message) => message,
    };
    diagnostics.report(
        Code::NotServed,
        Subject::new(Kind::DestinationRule, annotation.rule),
        format!("metadata.annotations[\"{HEALTH_CHECK}\"]"),
        format!("no endpoint is checked: {message}"),
        "write for example: http: {path: /healthz}, with interval, timeout, unhealthyThreshold, healthyThreshold",
    );
    None
}

fn understood(
    policy: &HealthCheckPolicy,
    host: &str,
    min_health_percent: u32,
) -> Result<HealthCheck, String> {
    let panic_percent = policy.min_health_percent.unwrap_or(min_health_percent);
    if panic_percent > 100 {
        return Err(format!("minHealthPercent: {panic_percent} is no percentage"));
    }
    Ok(HealthCheck {
        probe: probe(policy, host)?,
        interval: length("interval", policy.interval.as_ref(), INTERVAL)?,
        timeout: length("timeout", policy.timeout.as_ref(), TIMEOUT)?,
        unhealthy_threshold: count("unhealthyThreshold", policy.unhealthy_threshold, UNHEALTHY_THRESHOLD)?,
        healthy_threshold: count("healthyThreshold", policy.healthy_threshold, HEALTHY_THRESHOLD)?,
        port: policy.port.map(port).transpose()?,
        panic_percent,
    })
}

fn probe(policy: &HealthCheckPolicy, service: &str) -> Result<Probe, String> {
    match (&policy.http, &policy.tcp, &policy.grpc) {
        (Some(http), None, None) => http_probe(http, service),
        (None, Some(_), None) => Ok(Probe::Tcp),
        (None, None, Some(grpc)) => Ok(Probe::Grpc {
            service: grpc.service.as_str().into(),
            host: authority("grpc.host", grpc.host.as_deref().unwrap_or(service))?,
        }),
        _ => Err("one of http, tcp and grpc must say what is asked".to_owned()),
    }
}

fn http_probe(http: &HttpProbe, service: &str) -> Result<Probe, String> {
    let path = http.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err(format!("http.path: {path:?} is no path"));
    }
    let statuses: Result<Vec<_>, _> = http.statuses.iter().map(range).collect();
    let mut statuses = statuses?;
    if statuses.is_empty() {
        statuses.push(STATUSES);
    }
    let host = authority("http.host", http.host.as_deref().unwrap_or(service))?;
    Ok(Probe::Http { path: path.into(), host, statuses })
}

/// It goes into a request as it is: nothing that could end its line may be in there.
fn authority(field: impl fmt::Display, text: &str) -> Result<Arc<str>, String> {
    match text.parse::<http::uri::Authority>() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(format!("{field}: {text:?} is no host")),
    }
}

fn range(written: &StatusRange) -> Result<RangeInclusive<u16>, String> {
    let (low, high) = match written {
        StatusRange::One(status) => (Some(*status), Some(*status)),
        StatusRange::Text(text) => {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            (low.trim().parse().ok(), high.trim().parse().ok())
        }
    };
    match (low, high) {
        (Some(low @ 100..), Some(high @ ..=599)) if low <= high => Ok(low..=high),
        _ => Err("http.statuses: a status is 100 to 599, a range is written 200-299".to_owned()),
    }
}

fn length(field: &str, written: Option<&wire::Duration>, default: Duration) -> Result<Duration, String> {
    let Some(written) = written else { return Ok(default) };
    written.to_std().filter(|length| LENGTHS.contains(length)).ok_or_else(|| {
        format!("{field}: {written} is not between {:?} and {:?}", LENGTHS.start(), LENGTHS.end())
    })
}

fn count(field: &str, written: Option<u32>, default: u32) -> Result<NonZeroU32, String> {
    NonZeroU32::new(written.unwrap_or(default)).ok_or_else(|| format!("{field}: is at least 1"))
}

fn port(number: u32) -> Result<u16, String> {
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| format!("port: {number} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HealthCheck, String> {
        HealthCheckPolicy::parse(text).and_then(|policy| understood(&policy, "a.svc", 30))
    }

    #[test]
    fn defaults() {
        let check = read("http: {}").unwrap();
        let probe = Probe::Http { path: "/".into(), host: "a.svc".into(), statuses: vec![200..=399] };
        assert_eq!(check.probe, probe);
        assert_eq!((check.interval, check.timeout), (INTERVAL, TIMEOUT));
        assert_eq!((check.unhealthy_threshold.get(), check.healthy_threshold.get()), (3, 2));
        assert_eq!((check.port, check.panic_percent), (None, 30));
        assert_eq!(read("tcp: {}\nminHealthPercent: 0").unwrap().panic_percent, 0);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (text, expected) in [
            ("interval: 5s", "one of http, tcp and grpc"),
            ("{http: {}, tcp: {}}", "one of http, tcp and grpc"),
            ("http: {path: healthz}", "http.path"),
            ("http: {path: \"/ HTTP/1.1\\r\\nx: y\"}", "http.path"),
            ("http: {host: \"a\\r\\nx: y\"}", "http.host"),
            ("http: {statuses: [700]}", "http.statuses"),
            ("http: {statuses: [299-200]}", "http.statuses"),
            ("{tcp: {}, interval: 1ms}", "interval"),
            ("{tcp: {}, timeout: -1s}", "timeout"),
            ("{tcp: {}, healthyThreshold: 0}", "healthyThreshold"),
            ("{tcp: {}, port: 65536}", "port"),
            ("{tcp: {}, minHealthPercent: 101}", "minHealthPercent"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
