//! The loads, and one run of one of them.

pub(crate) mod client;
mod grpc;
mod h2load;
mod handshakes;
mod idle;
mod paced;
mod passthrough;
mod pgbench;
pub mod tls;
mod websocket;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::figures::{Figures, Metric};
use crate::machine::cpu;
use crate::site::Site;
use crate::subject::Subject;

pub(crate) use h2load::H2load;

/// What is done.
#[derive(Debug)]
pub(crate) enum Work {
    /// Requests by h2load.
    H2load(H2load),
    /// The same, with a look at trailers first.
    Grpc(H2load),
    /// New TLS connections with one request each.
    Handshakes { rsa: bool, resumed: bool },
    /// Connections that are routed by the name in their hello.
    Passthrough { bulk: bool },
    /// Transactions by pgbench.
    Pgbench { connect: bool },
    /// Messages over upgraded connections.
    WebSocket,
    /// Requests at a fixed rate; none is half of what the subject can do.
    Paced { rate: Option<u32> },
    /// Connections that stay after a request.
    Idle { tls: bool },
    /// Nothing at all.
    AtRest,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// Pieces of work: requests, connections, MiB.
    Pieces(u64),
    /// Time.
    For(Duration),
}

impl Work {
    /// Pieces of a first run, which tells how many a run takes; none where that is not how runs are measured out.
    pub(crate) fn first(&self) -> Option<u64> {
        match self {
            Self::H2load(_) | Self::Grpc(_) | Self::WebSocket => Some(2_000),
            Self::Handshakes { .. } | Self::Passthrough { bulk: false } => Some(200),
            Self::Passthrough { bulk: true } => Some(64),
            Self::Pgbench { connect: true } => Some(40),
            Self::Pgbench { connect: false } => Some(1_000),
            Self::Paced { .. } | Self::Idle { .. } | Self::AtRest => None,
        }
    }

    /// Whether every run has a subject of its own, which has done nothing before.
    pub(crate) fn wants_fresh(&self) -> bool {
        matches!(self, Self::Idle { .. } | Self::AtRest)
    }

    /// Does it; anything but success is an error.
    pub(crate) fn run(&self, site: &Site, subject: &Subject, amount: Amount) -> Result<Figures> {
        match (self, amount) {
            (Self::H2load(requests), Amount::Pieces(count)) => requests.run(subject, count),
            (Self::Grpc(requests), Amount::Pieces(count)) => {
                grpc::look(site, subject).context("one call before the others")?;
                requests.run(subject, count)
            }
            (Self::Handshakes { rsa, resumed }, Amount::Pieces(count)) => {
                handshakes::run(site, subject, handshakes::Kind { rsa: *rsa, resumed: *resumed }, count)
            }
            (Self::Passthrough { bulk: false }, Amount::Pieces(count)) => {
                passthrough::small(site, subject, count)
            }
            (Self::Passthrough { bulk: true }, Amount::Pieces(mebibytes)) => {
                passthrough::bulk(site, subject, mebibytes)
            }
            (Self::Pgbench { connect }, Amount::Pieces(count)) => {
                pgbench::run(site, subject, *connect, count)
            }
            (Self::WebSocket, Amount::Pieces(count)) => websocket::run(subject, count),
            (Self::Paced { rate: Some(rate) }, Amount::For(time)) => {
                paced::run(subject, f64::from(*rate), time)
            }
            (Self::Paced { rate: None }, Amount::For(time)) => paced::run_at_half(subject, time),
            (Self::Idle { tls }, Amount::Pieces(count)) => idle::connections(site, subject, *tls, count),
            (Self::AtRest, Amount::For(time)) => idle::at_rest(subject, time),
            (work, amount) => anyhow::bail!("{work:?} is not measured out in {amount:?}"),
        }
    }
}

/// Does so many units of work and gives what they cost.
fn measured<T>(subject: &Subject, units: f64, work: impl FnOnce() -> Result<T>) -> Result<(Figures, T)> {
    let before = cpu::nanoseconds(subject.process())?;
    let begun = Instant::now();
    let done = work()?;
    let took = begun.elapsed();
    let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before);
    let figures = [
        (Metric::CpuUs, spent as f64 / 1e3 / units),
        (Metric::PerSecond, units / took.as_secs_f64().max(f64::MIN_POSITIVE)),
    ];
    Ok((figures.into(), done))
}
