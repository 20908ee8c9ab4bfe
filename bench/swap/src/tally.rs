//! What the clients saw.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::histogram::Histogram;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1.1 keep-alive in plaintext.
    Http1,
    /// HTTP/1.1 keep-alive in TLS.
    Http1Tls,
    /// HTTP/2 with prior knowledge, several streams at once.
    Http2,
    /// HTTP/2 in TLS, several streams at once.
    Http2Tls,
    /// Requests whose body takes as long as several swaps.
    Slow,
    /// A TLS connection per request, full handshakes.
    NewTls,
    /// A TLS connection per request, resumed where possible.
    ResumedTls,
    /// Connections with one request at their beginning and one at the very end.
    Idle,
    /// Connections to the port that opens and closes.
    Flapping,
    /// A connection upgraded as for a WebSocket, messages both ways.
    WebSocket,
    /// A stream of gRPC messages both ways.
    Grpc,
    /// A long TLS session passed through by its server name.
    Passthrough,
    /// New TLS sessions passed through.
    NewPassthrough,
    /// Statements of one long `psql` session.
    PsqlSession,
    /// `psql` started anew for each statement.
    Psql,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub(crate) const ALL: [Self; 15] = [
        Self::Http1,
        Self::Http1Tls,
        Self::Http2,
        Self::Http2Tls,
        Self::Slow,
        Self::NewTls,
        Self::ResumedTls,
        Self::Idle,
        Self::Flapping,
        Self::WebSocket,
        Self::Grpc,
        Self::Passthrough,
        Self::NewPassthrough,
        Self::PsqlSession,
        Self::Psql,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Http1 => "HTTP/1.1 keep-alive",
            Self::Http1Tls => "HTTP/1.1 keep-alive, TLS",
            Self::Http2 => "HTTP/2 prior knowledge",
            Self::Http2Tls => "HTTP/2, TLS",
            Self::Slow => "slow bodies",
            Self::NewTls => "new TLS connection each",
            Self::ResumedTls => "resumed TLS each",
            Self::Idle => "idle keep-alive",
            Self::Flapping => "port that opens and closes",
            Self::WebSocket => "WebSocket messages",
            Self::Grpc => "gRPC stream messages",
            Self::Passthrough => "passthrough messages",
            Self::NewPassthrough => "new passthrough session",
            Self::PsqlSession => "psql session, select 1",
            Self::Psql => "new psql, select 1",
        })
    }
}

/// What the load is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not yet.
    WarmUp,
    /// A configuration that stays.
    Still,
    /// One that changes.
    Swapping,
    /// Not any more.
    Ending,
}

impl Phase {
    const ALL: [Self; 4] = [Self::WarmUp, Self::Still, Self::Swapping, Self::Ending];
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A request or message without its proper answer.
    Failed(anyhow::Error),
    /// A connection that should have lasted was closed.
    Closed(anyhow::Error),
    /// A request that was treated by two generations.
    Mixed(String),
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the clients of one kind saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) failed: u64,
    pub(crate) closed: u64,
    pub(crate) mixed: u64,
    /// Connections to the port that comes and goes while it was gone.
    pub(crate) turned_away: u64,
    /// Connections that the kernel took there and the gateway did not.
    pub(crate) too_late: u64,
    /// The first trouble in words.
    pub(crate) first: Option<String>,
    /// Different certificates shown.
    pub(crate) certificates: BTreeSet<Vec<u8>>,
    /// Every answer, in whatever phase.
    pub(crate) answers: u64,
    pub(crate) still: Histogram,
    pub(crate) swapping: Histogram,
}

/// What all clients saw.
pub(crate) struct Tally {
    phase: AtomicU8,
    kinds: [Mutex<Counts>; Kind::ALL.len()],
}

impl Tally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(0), kinds: Default::default() })
    }

    /// From now on it is `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// An answer to what was asked at `asked`.
    pub(crate) fn answered(&self, kind: Kind, asked: Instant) {
        let took = asked.elapsed();
        let mut counts = self.of(kind);
        counts.answers += 1;
        match Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed))] {
            Phase::Still => counts.still.record(took),
            Phase::Swapping => counts.swapping.record(took),
            Phase::WarmUp | Phase::Ending => {}
        }
    }

    /// Something went wrong.
    pub(crate) fn trouble(&self, kind: Kind, trouble: &Trouble) {
        let mut counts = self.of(kind);
        let words = match trouble {
            Trouble::Failed(error) => {
                counts.failed += 1;
                format!("{error:#}")
            }
            Trouble::Closed(error) => {
                counts.closed += 1;
                format!("closed: {error:#}")
            }
            Trouble::Mixed(words) => {
                counts.mixed += 1;
                words.clone()
            }
        };
        counts.first.get_or_insert(words);
    }

    /// Nobody listens at the port that comes and goes.
    pub(crate) fn turned_away(&self, kind: Kind) {
        self.of(kind).turned_away += 1;
    }

    /// A connection came to be there in the moment in which the port went.
    pub(crate) fn let_in_too_late(&self, kind: Kind) {
        self.of(kind).too_late += 1;
    }

    /// A handshake showed this certificate.
    pub(crate) fn certificate(&self, kind: Kind, der: &[u8]) {
        let mut counts = self.of(kind);
        if !counts.certificates.contains(der) {
            counts.certificates.insert(der.to_vec());
        }
    }

    /// Everything so far.
    pub(crate) fn kinds(&self) -> Vec<(Kind, Counts)> {
        Kind::ALL.iter().map(|&kind| (kind, self.of(kind).clone())).collect()
    }

    fn of(&self, kind: Kind) -> MutexGuard<'_, Counts> {
        self.kinds[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
