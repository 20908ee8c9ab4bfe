//! What a worker counts into.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::known::Known;
use super::labels::SourceText;
use super::process::{DropReason, Process};
use super::series::{ListenerSeries, PoolSeries, RequestKey, Table, TcpKey, TcpSeries};
use crate::record::{RequestRecord, TcpRecord};

/// One worker's metrics. It may be sent to the worker's thread, but has one user at a time.
#[derive(Debug)]
pub struct Shard {
    table: Arc<Table>,
    process: Arc<Process>,
    known: RefCell<Known>,
}

impl Shard {
    pub(super) fn new(
        source: SourceText,
        max_series: usize,
        table: Arc<Table>,
        process: Arc<Process>,
    ) -> Self {
        Self { table, process, known: RefCell::new(Known::new(source, max_series)) }
    }

    /// Counts a request that has ended, with its messages that were not counted before.
    pub fn record_request(&self, record: &RequestRecord) {
        let mut known = self.known.borrow_mut();
        let Some(peer) = known.peer(record.cluster.as_deref(), record.endpoint.as_deref()) else {
            return self.process.overflowed();
        };
        let key = RequestKey {
            peer,
            code: record.response_code,
            grpc: record.grpc,
            grpc_status: record.grpc_status.filter(|_| record.grpc),
            flags: record.flags,
        };
        let Some(series) = known.request(key, &self.table) else { return self.process.overflowed() };
        series.duration.record(u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX));
        series.request_bytes.record(record.wire_received);
        series.response_bytes.record(record.wire_sent);
        if record.request_messages | record.response_messages != 0 {
            match known.messages(peer, &self.table) {
                Some(series) => {
                    series.request.add(record.request_messages);
                    series.response.add(record.response_messages);
                }
                None => self.process.overflowed(),
            }
        }
    }

    /// Counts the record's gRPC messages and sets its counts to 0: to be called every five seconds
    /// while a stream lasts.
    pub fn record_messages(&self, record: &mut RequestRecord) {
        let counts = (record.request_messages, record.response_messages);
        if counts == (0, 0) {
            return;
        }
        let mut known = self.known.borrow_mut();
        let peer = known.peer(record.cluster.as_deref(), record.endpoint.as_deref());
        let Some(series) = peer.and_then(|peer| known.messages(peer, &self.table)) else {
            return self.process.overflowed();
        };
        series.request.add(counts.0);
        series.response.add(counts.1);
        (record.request_messages, record.response_messages) = (0, 0);
    }

    /// Counts a connection whose upstream is settled.
    pub fn record_tcp_open(&self, record: &TcpRecord) {
        self.with_tcp(record, |series| series.opened.add(1));
    }

    /// Counts the end of a connection. Its bytes are counted by
    /// [`record_tcp_bytes`](Self::record_tcp_bytes).
    pub fn record_tcp_close(&self, record: &TcpRecord) {
        self.with_tcp(record, |series| series.closed.add(1));
    }

    /// Counts bytes from (`received`) and to (`sent`) the client since the last call: to be called
    /// every five seconds while a connection lasts, and at its end.
    pub fn record_tcp_bytes(&self, record: &TcpRecord, received: u64, sent: u64) {
        self.with_tcp(record, |series| {
            series.received.add(received);
            series.sent.add(sent);
        });
    }

    /// Counts something refused or lost.
    pub fn dropped(&self, reason: DropReason) {
        self.process.dropped(reason, 1);
    }

    /// Counts the begin of an HTTP request.
    pub fn request_started(&self) {
        self.table.active.started.add(1);
    }

    /// Counts the end of an HTTP request.
    pub fn request_ended(&self) {
        self.table.active.ended.add(1);
    }

    /// The counters of a listener in this shard; asking again gives the same ones.
    #[must_use]
    pub fn listener(&self, name: &Arc<str>) -> ListenerMetrics {
        let mut known = self.known.borrow_mut();
        let series = known.listener(name, &self.table).unwrap_or_else(|| {
            self.process.overflowed();
            Arc::default()
        });
        ListenerMetrics { series, one_thread: PhantomData }
    }

    /// The counters of a cluster's connection pool in this shard; asking again gives the same ones.
    #[must_use]
    pub fn pool(&self, cluster: &Arc<str>) -> PoolMetrics {
        let mut known = self.known.borrow_mut();
        let series = known.pool(cluster, &self.table).unwrap_or_else(|| {
            self.process.overflowed();
            Arc::default()
        });
        PoolMetrics { series, one_thread: PhantomData }
    }

    fn with_tcp(&self, record: &TcpRecord, count: impl FnOnce(&TcpSeries)) {
        let mut known = self.known.borrow_mut();
        let peer = known.peer(record.cluster.as_deref(), record.endpoint.as_deref());
        let key = peer.map(|peer| TcpKey { peer, flags: record.flags });
        match key.and_then(|key| known.tcp(key, &self.table)) {
            Some(series) => count(series),
            None => self.process.overflowed(),
        }
    }
}

/// Connections of one listener on one worker; stays on that worker's thread.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    series: Arc<ListenerSeries>,
    one_thread: PhantomData<Rc<()>>,
}

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn opened(&self) {
        self.series.opened.add(1);
    }

    /// A connection was closed.
    pub fn closed(&self) {
        self.series.closed.add(1);
    }
}

/// Upstream connections of one cluster on one worker; stays on that worker's thread.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    series: Arc<PoolSeries>,
    one_thread: PhantomData<Rc<()>>,
}

impl PoolMetrics {
    /// A connection was opened.
    pub fn opened(&self) {
        self.series.opened.add(1);
    }

    /// A connection was closed.
    pub fn closed(&self) {
        self.series.closed.add(1);
    }

    /// A connection could not be opened.
    pub fn failed(&self) {
        self.series.failed.add(1);
    }

    /// A request began to wait for a connection.
    pub fn queued(&self) {
        self.series.queued.add(1);
    }

    /// A request stopped waiting for a connection.
    pub fn dequeued(&self) {
        self.series.dequeued.add(1);
    }
}
