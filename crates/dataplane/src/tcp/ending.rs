//! The end of a connection that was not HTTP: exactly one log line, and its counts.
//!
//! An [`Ending`] is made when a connection's fate begins to be decided and writes its line when it is
//! dropped, so a task that is thrown away in the middle leaves its line like any other.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_telemetry::metrics::DropReason;
use portcullis_telemetry::{Details, Flag, Reason, ResetReason, TcpRecord};
use tokio::time::Instant;

use super::dial::DialError;
use super::pump::Meter;
use crate::connection::{Accepted, Connection};
use crate::error::UpstreamError;
use crate::worker::Worker;

/// Between two additions to the byte counters of a long connection (Istio's reporting interval).
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What is said of a connection when it is over.
pub(crate) struct Ending {
    worker: Rc<Worker>,
    started_at: Instant,
    pub(crate) record: TcpRecord,
    /// Bytes carried so far.
    pub(crate) meter: Meter,
    /// How many of them are in the counters.
    reported: Meter,
    counts: Counts,
}

/// Whether the connection is one of the `istio_tcp_*` families.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// No: it had no chain, or its handshake failed.
    Never,
    /// When it opens, or ends before that.
    NotYet,
    /// Counted as opened.
    Opened,
}

impl Ending {
    /// Of a connection that has not been sorted into a chain.
    pub(crate) fn unsorted(accepted: &Accepted) -> Self {
        let addresses = (accepted.peer, accepted.local);
        Self::new(&accepted.worker, addresses, (accepted.started, accepted.started_at), Counts::Never)
    }

    /// Of a connection whose chain carries bytes: it appears in `istio_tcp_*`.
    pub(crate) fn of(connection: &Connection) -> Self {
        let addresses = (connection.peer, connection.local);
        let times = (connection.started, connection.started_at);
        let mut ending = Self::new(&connection.worker, addresses, times, Counts::NotYet);
        ending.record.sni = connection.server_name().cloned();
        ending
    }

    fn new(
        worker: &Rc<Worker>,
        (peer, local): (SocketAddr, SocketAddr),
        (started, started_at): (SystemTime, Instant),
        counts: Counts,
    ) -> Self {
        let mut record = TcpRecord::new(started);
        record.downstream_remote_address = Some(peer);
        record.downstream_local_address = Some(local);
        let (meter, reported) = (Meter::default(), Meter::default());
        Self { worker: Rc::clone(worker), started_at, record, meter, reported, counts }
    }

    /// Sets a response flag.
    pub(crate) fn flag(&mut self, flag: Flag) -> &mut Self {
        self.record.flags.set(flag);
        self
    }

    /// Names the object to blame and says why, for `portcullis_reason`.
    pub(crate) fn blame(
        &mut self,
        object: Option<&Arc<str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> &mut Self {
        self.record.reason = Some(Reason { object: object.cloned(), why: why.into() });
        self
    }

    /// Counts the connection as refused, by reason.
    pub(crate) fn count(&mut self, reason: DropReason) -> &mut Self {
        self.worker.shard.dropped(reason);
        self
    }

    /// No chain takes the connection (NR).
    pub(crate) fn no_chain(&mut self, why: impl Into<Cow<'static, str>>) {
        self.flag(Flag::NoRouteFound).blame(None, why);
        self.record.details = Some(Details::FILTER_CHAIN_NOT_FOUND);
    }

    /// No upstream connection came about, on the way that `object` describes.
    pub(super) fn failed(&mut self, error: &DialError, object: &Arc<str>) {
        let upstream = match error {
            DialError::NoCluster(name) => {
                let why = format!("its destination {name} does not exist");
                self.flag(Flag::NoClusterFound).blame(Some(object), why);
                return;
            }
            DialError::Upstream(error) => error,
            DialError::Refused(refusal) => &UpstreamError::Connect(refusal.to_string().into()),
        };
        self.blame(Some(object), upstream.to_string());
        let flag = upstream.reset_reason().map_or(Flag::NoHealthyUpstream, ResetReason::flag);
        if flag == Flag::UpstreamConnectionFailure {
            // The only attempt there is counts as the last one (Envoy's `max_connect_attempts`).
            self.flag(Flag::UpstreamRetryLimitExceeded);
            self.record.upstream_transport_failure_reason = Some(match upstream.transport_failure() {
                Some(text) => text.to_owned().into(),
                None => upstream.to_string().into(),
            });
        }
        self.flag(flag);
    }

    /// The gateway closes it for a reason of its own.
    pub(crate) fn closed_because(&mut self, why: &'static str) {
        self.record.connection_termination_details = Some(why.into());
    }

    /// The upstream is connected: counts the connection as opened.
    pub(crate) fn opened(&mut self) {
        if self.counts == Counts::NotYet {
            self.worker.shard.record_tcp_open(&self.record);
            self.counts = Counts::Opened;
        }
    }

    /// Whether bytes have been carried that no counter knows of.
    pub(crate) fn unreported(&self) -> bool {
        self.meter != self.reported
    }

    /// Adds what was carried since the last time to the counters.
    pub(crate) fn report(&mut self) {
        if self.counts != Counts::Opened || !self.unreported() {
            return;
        }
        let received = self.meter.received - self.reported.received;
        let sent = self.meter.sent - self.reported.sent;
        self.worker.shard.record_tcp_bytes(&self.record, received, sent);
        self.reported = self.meter;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.record.duration = self.started_at.elapsed();
        self.record.bytes_received = self.meter.received;
        self.record.bytes_sent = self.meter.sent;
        self.opened();
        self.report();
        if self.counts == Counts::Opened {
            self.worker.shard.record_tcp_close(&self.record);
        }
        self.worker.finish_connection(&self.record);
    }
}
