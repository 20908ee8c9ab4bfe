//! A decision as plain facts; its JSON form is what `explain -o json` and the admin port print.

use std::time::SystemTime;

use bytes::Bytes;
use portcullis_snapshot::listener::{ChainService, ChainTls, TcpRoute};
use portcullis_snapshot::route::RuleList;
use portcullis_snapshot::tls::{CertificateInfo, ClientCertificate};
use portcullis_snapshot::{FilterChain, Route, text};
use serde::Serialize;

use super::headers::HeaderChange;
use crate::question::Question;
use crate::time::rfc3339;

/// What was decided, and every turn on the way there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    /// What was asked.
    pub(crate) asked: String,
    /// Whether the request reaches a backend, or gets an answer its rule intends.
    pub(crate) routed: bool,
    /// The open port.
    pub(crate) listener: Option<ListenerFacts>,
    /// What takes the connection.
    pub(crate) chain: Option<ChainFacts>,
    /// The virtual host.
    pub(crate) virtual_host: Option<String>,
    /// The path that rules are matched against.
    #[serde(skip)]
    pub(crate) path: Option<String>,
    /// Entries for this host that take no part on this port, each with the reason.
    pub(crate) left_out: Vec<LeftOutEntry>,
    /// Rules that were tried before the winner, in order, each with the reason it lost.
    pub(crate) lost: Vec<Rule>,
    /// Rules that lost and are not told.
    pub(crate) untold: usize,
    /// The rule that won.
    pub(crate) won: Option<Rule>,
    /// Where it ends.
    pub(crate) outcome: Outcome,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

/// The open port.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListenerFacts {
    pub(crate) name: String,
    pub(crate) declared_port: u16,
    pub(crate) bound_port: u16,
}

/// What takes the connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainFacts {
    /// `Gateway istio-system/gw servers[1]`.
    pub(crate) origin: String,
    /// `plaintext`, `terminated`, `passed through` or `unavailable`.
    pub(crate) tls: &'static str,
    /// The server name it is for, such as `*.example.com`; absent where none was asked for.
    pub(crate) server_name: Option<String>,
    /// Certificates that may be presented.
    pub(crate) certificates: Vec<CertificateFacts>,
    /// `required`, `optional` or absent.
    pub(crate) client_certificate: Option<&'static str>,
}

/// One certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateFacts {
    pub(crate) source: String,
    pub(crate) subject: String,
    pub(crate) names: Vec<String>,
    pub(crate) serial: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
    /// Whole days left; negative once expired.
    pub(crate) days_left: i64,
}

/// A rule and its fate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    /// Position in the virtual host.
    pub(crate) ordinal: usize,
    /// `VirtualService default/app http[0].match[0]`.
    pub(crate) origin: String,
    /// Name of the route, if it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Its conditions in words.
    pub(crate) conditions: String,
    /// The first condition that failed; absent for the winner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost_because: Option<String>,
}

/// A match entry that became no rule here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftOutEntry {
    /// `VirtualService default/app http[0].match[0]`.
    pub(crate) origin: String,
    pub(crate) why: String,
}

/// Where it ends.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Outcome {
    /// Sent to a backend.
    Forward(Box<ForwardFacts>),
    /// Answered with a redirect.
    Redirect { status: u16, location: String, why: String },
    /// Answered as the rule says.
    Respond {
        status: u16,
        body_bytes: usize,
        #[serde(skip)]
        body: Bytes,
    },
    /// Answered with an error.
    Fail { status: u16, flags: &'static str, why: String },
    /// The connection is closed or never accepted.
    Refuse { why: String },
}

/// Everything about forwarding.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ForwardFacts {
    /// One destination, or several with weights.
    pub(crate) destinations: Vec<DestinationFacts>,
    /// The path sent, if it is rewritten.
    pub(crate) path: Option<String>,
    /// The host sent, if it is rewritten.
    pub(crate) authority: Option<String>,
    /// Milliseconds; absent = unbounded.
    pub(crate) timeout_ms: Option<u64>,
    /// Tries after the first.
    pub(crate) retries: u32,
    /// When one is made.
    pub(crate) retry_on: Vec<&'static str>,
    /// Milliseconds a try may take.
    pub(crate) per_try_timeout_ms: Option<u64>,
    /// Header operations, in words.
    pub(crate) headers: Vec<HeaderChange>,
    /// Copies, CORS, faults and the like, in words.
    pub(crate) also: Vec<String>,
}

/// One destination.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DestinationFacts {
    /// `outbound|80||app.default.svc.cluster.local`.
    pub(crate) cluster: String,
    /// Whether there is such a service and subset.
    #[serde(skip)]
    pub(crate) known: bool,
    /// Share in percent.
    pub(crate) share: f64,
    /// How it is spoken to.
    pub(crate) protocol: String,
    /// Members.
    pub(crate) endpoints: Vec<EndpointFacts>,
    /// Why requests sent here fail.
    pub(crate) problem: Option<String>,
}

/// One member of a cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointFacts {
    pub(crate) address: String,
    pub(crate) weight: u32,
    pub(crate) healthy: bool,
}

impl Decision {
    pub(crate) fn new(question: &Question) -> Self {
        Self {
            asked: question.to_string(),
            routed: false,
            listener: None,
            chain: None,
            virtual_host: None,
            path: None,
            left_out: Vec::new(),
            lost: Vec::new(),
            untold: 0,
            won: None,
            outcome: Outcome::Refuse { why: String::new() },
            notes: Vec::new(),
        }
    }
}

impl ChainFacts {
    pub(crate) fn new(chain: &FilterChain, server_name: Option<String>) -> Self {
        let (tls, certificates, client_certificate) = match &chain.tls {
            ChainTls::None if matches!(chain.service, ChainService::Http(_)) => ("plaintext", &[][..], None),
            ChainTls::None => ("passed through", &[][..], None),
            ChainTls::Unavailable { .. } => ("unavailable", &[][..], None),
            ChainTls::Terminate(tls) => {
                let asked = match tls.client_certificate {
                    ClientCertificate::NotRequested => None,
                    ClientCertificate::Optional => Some("optional"),
                    ClientCertificate::Required => Some("required"),
                };
                ("terminated", &tls.certificates[..], asked)
            }
        };
        let certificates = certificates.iter().map(CertificateFacts::new).collect();
        Self { origin: chain.origin.to_string(), tls, server_name, certificates, client_certificate }
    }
}

impl CertificateFacts {
    pub(crate) fn new(certificate: &CertificateInfo) -> Self {
        Self {
            source: certificate.source.to_string(),
            subject: certificate.subject.clone(),
            names: certificate.names.clone(),
            serial: certificate.serial.clone(),
            not_before: rfc3339(certificate.not_before),
            not_after: rfc3339(certificate.not_after),
            days_left: days_until(certificate.not_after, SystemTime::now()),
        }
    }
}

fn days_until(end: SystemTime, now: SystemTime) -> i64 {
    const DAY: u64 = 86_400;
    let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => days(left.as_secs()),
        Err(past) => -1 - days(past.duration().as_secs()),
    }
}

impl Rule {
    pub(crate) fn of_http(ordinal: usize, route: &Route, lost_because: Option<String>) -> Self {
        Self {
            ordinal,
            origin: route.origin.to_string(),
            name: route.name.to_string(),
            conditions: text::conditions(&route.matcher),
            lost_because,
        }
    }

    pub(crate) fn of_tcp(route: &TcpRoute) -> Self {
        let by_name = route.origin.list == RuleList::Tls;
        Self {
            ordinal: 0,
            origin: route.origin.to_string(),
            name: String::new(),
            conditions: if by_name { "the server name" } else { "the port" }.to_owned(),
            lost_because: None,
        }
    }
}

impl Outcome {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refuse { why: why.into() }
    }

    pub(crate) fn failed(status: u16, flags: &'static str, why: impl Into<String>) -> Self {
        Self::Fail { status, flags, why: why.into() }
    }

    pub(crate) fn redirected(status: u16, location: String, why: impl Into<String>) -> Self {
        Self::Redirect { status, location, why: why.into() }
    }

    /// Whether the request gets what its rule intends, whatever is drawn.
    pub(crate) fn is_routed(&self) -> bool {
        match self {
            Self::Forward(forward) => {
                forward.destinations.iter().all(|destination| destination.problem.is_none())
            }
            Self::Redirect { .. } | Self::Respond { .. } => true,
            Self::Fail { .. } | Self::Refuse { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_whole_and_negative_once_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(days_until(at(12 * 86_400 - 1), now), 1);
        assert_eq!(days_until(at(10 * 86_400 - 1), now), -1);
    }
}
