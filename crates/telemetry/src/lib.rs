//! From a request's record to metrics and a log line.
//!
//! The data plane fills a [`RequestRecord`] or a [`TcpRecord`] while it works and hands it, once, to
//! a [`metrics::Shard`] and to an [`access_log::LogBuffer`]. What comes out is what an Istio ingress
//! gateway shows: the `istio_*` families with Istio's labels and the access log with Istio's keys.
//!
//! Nothing here reads a clock, a file or a socket: times stand in the records, rendered text is
//! given back, log lines go to a [`access_log::LogSink`] that the binary provides.

pub mod access_log;
pub mod details;
pub mod flags;
pub mod metrics;
pub mod record;

pub use details::{Details, ResetReason};
pub use flags::{Flag, Flags};
pub use record::{Protocol, Reason, RequestRecord, TcpRecord};

#[cfg(test)]
mod samples;
