//! The workloads: what is done, what a unit of it is, and which figure of it counts.

use crate::figures::Metric;
use crate::load::{H2load, Work};
use crate::subject::Ability;

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Workload {
    /// As printed and chosen.
    pub(crate) name: &'static str,
    /// What CPU time and memory are divided by.
    pub(crate) unit: &'static str,
    /// What a subject must be able to do.
    pub(crate) needs: Ability,
    /// The figure that is compared.
    pub(crate) chief: Metric,
    /// What happens.
    pub(crate) work: Work,
    /// The same in words.
    pub(crate) about: &'static str,
}

impl Workload {
    const fn cpu(
        name: &'static str,
        unit: &'static str,
        needs: Ability,
        work: Work,
        about: &'static str,
    ) -> Self {
        Self { name, unit, needs, chief: Metric::CpuUs, work, about }
    }
}

/// The one of this name, else those whose name contains it, or all.
pub(crate) fn matching(part: Option<&str>) -> Vec<&'static Workload> {
    let exact = WORKLOADS.iter().find(|workload| part == Some(workload.name));
    let fits = |name: &str| part.is_none_or(|part| name.contains(part));
    exact.map_or_else(
        || WORKLOADS.iter().filter(|workload| fits(workload.name)).collect(),
        |exact| vec![exact],
    )
}

/// The names, for a message.
pub(crate) fn names() -> String {
    WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ")
}

/// Over 32 connections, one request after the other on each.
const KEPT: &[&str] = &["--h1", "-c", "32"];
/// Over 10 connections with 10 streams each.
const STREAMS: &[&str] = &["-c", "10", "-m", "10"];
const NO_BODY: H2load = H2load { tls: false, path: "/small", arguments: KEPT, body: None };
/// A message of 100 bytes, in gRPC's framing.
const GRPC: &[&str] = &["-c", "10", "-m", "10", "-H", "content-type: application/grpc", "-H", "te: trailers"];

/// All of them, as they stand in the table.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload::cpu(
        "http1",
        "request",
        Ability::Clear,
        Work::H2load(NO_BODY),
        "HTTP/1.1, 32 kept connections, 100 bytes",
    ),
    Workload::cpu(
        "http1-64k",
        "request",
        Ability::Clear,
        Work::H2load(H2load { path: "/large", ..NO_BODY }),
        "HTTP/1.1, 32 kept connections, 64 KiB",
    ),
    Workload::cpu(
        "https1",
        "request",
        Ability::Http,
        Work::H2load(H2load { tls: true, ..NO_BODY }),
        "HTTP/1.1 over TLS, 32 kept connections, 100 bytes",
    ),
    Workload::cpu(
        "https2",
        "request",
        Ability::Http,
        Work::H2load(H2load { tls: true, arguments: STREAMS, ..NO_BODY }),
        "HTTP/2 over TLS, 10 connections of 10 streams, 100 bytes",
    ),
    Workload::cpu(
        "grpc",
        "call",
        Ability::Http,
        Work::Grpc(H2load { tls: true, path: "/bench.Echo/Unary", arguments: GRPC, body: Some(105) }),
        "unary gRPC over TLS, 10 connections of 10 streams, 100 bytes each way",
    ),
    Workload::cpu(
        "upload",
        "request",
        Ability::Clear,
        Work::H2load(H2load { body: Some(64 * 1024), ..NO_BODY }),
        "POST of 64 KiB over HTTP/1.1, 32 kept connections",
    ),
    Workload::cpu(
        "websocket",
        "message",
        Ability::Clear,
        Work::WebSocket,
        "100 bytes echoed over 32 upgraded connections",
    ),
    Workload::cpu(
        "tls-new-ecdsa",
        "connection",
        Ability::Http,
        Work::Handshakes { rsa: false, resumed: false },
        "new TLS 1.3 connection, ECDSA P-256, and one request",
    ),
    Workload::cpu(
        "tls-new-rsa",
        "connection",
        Ability::Http,
        Work::Handshakes { rsa: true, resumed: false },
        "new TLS 1.3 connection, RSA 2048, and one request",
    ),
    Workload::cpu(
        "tls-resumed",
        "connection",
        Ability::Http,
        Work::Handshakes { rsa: false, resumed: true },
        "the same with a ticket of the connection before",
    ),
    Workload::cpu(
        "passthrough-small",
        "connection",
        Ability::Pass,
        Work::Passthrough { bulk: false },
        "new connection routed by SNI, 256 bytes back",
    ),
    Workload::cpu(
        "passthrough-bulk",
        "GiB",
        Ability::Pass,
        Work::Passthrough { bulk: true },
        "4 connections routed by SNI, as fast as it goes",
    ),
    Workload::cpu(
        "postgres-connect",
        "transaction",
        Ability::Postgres,
        Work::Pgbench { connect: true },
        "pgbench -C: a new TLS session for each `select 1`",
    ),
    Workload::cpu(
        "postgres-query",
        "transaction",
        Ability::Postgres,
        Work::Pgbench { connect: false },
        "pgbench: `select 1` over 8 kept TLS sessions",
    ),
    Workload {
        name: "latency",
        unit: "request",
        needs: Ability::Clear,
        chief: Metric::P99Us,
        work: Work::Paced { rate: Some(2_000) },
        about: "2,000 requests a second over 32 kept connections, p99",
    },
    Workload {
        name: "latency-half",
        unit: "request",
        needs: Ability::Clear,
        chief: Metric::P99Us,
        work: Work::Paced { rate: None },
        about: "the same at half of what the subject's core can do, p99",
    },
    Workload {
        name: "idle-plain",
        unit: "connection",
        needs: Ability::Http,
        chief: Metric::MemoryKib,
        work: Work::Idle { tls: false },
        about: "memory of an idle connection after one request",
    },
    Workload {
        name: "idle-tls",
        unit: "connection",
        needs: Ability::Http,
        chief: Metric::MemoryKib,
        work: Work::Idle { tls: true },
        about: "memory of an idle TLS connection after one request",
    },
    Workload {
        name: "idle",
        unit: "process",
        needs: Ability::Clear,
        chief: Metric::MemoryKib,
        work: Work::AtRest,
        about: "memory of the process after its start, without traffic",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_can_be_chosen() {
        for workload in WORKLOADS {
            let same = WORKLOADS.iter().filter(|other| other.name == workload.name);
            assert_eq!(same.count(), 1, "{}", workload.name);
        }
        assert_eq!(matching(Some("postgres")).len(), 2);
        assert_eq!(matching(None).len(), WORKLOADS.len());
    }
}
