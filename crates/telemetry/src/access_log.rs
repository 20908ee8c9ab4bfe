//! Access log: one line a request or connection, in Istio's default JSON or TEXT form.
//!
//! Each worker owns a [`LogBuffer`]. Lines are encoded into its batch by hand, without an
//! intermediate value, and a full batch goes to the [`LogSink`] in one piece, as Envoy's buffered
//! file writes do (64 KiB or one second; the second is the data plane's, see [`LogBuffer::flush`]).
//!
//! Whatever a peer sends, a record makes exactly one line, valid UTF-8, and in JSON form one valid
//! object: see [`escape`].

pub mod escape;
mod fields;
mod json;
mod text;
mod timestamp;

use std::sync::Arc;

use crate::record::{RequestRecord, TcpRecord};
use fields::Fields;
pub use timestamp::Timestamps;

/// A batch is handed over when it reaches this many bytes (Envoy's access-log buffer).
pub const BATCH_BYTES: usize = 64 * 1024;
/// Room for a line of ordinary length in bytes, so that a batch grows in few steps.
const USUAL_LINE: usize = 1024;

/// Longest text of a peer that a line holds, in bytes; the rest is cut off. Above what the header
/// limits of the data plane let through, so it only bounds what a mistake could cost.
pub const MAX_VALUE: usize = 64 * 1024;

/// Where batches go. The binary implements it with a bounded queue and a writer thread.
pub trait LogSink: Send + Sync {
    /// Takes `batch`, which holds `lines` whole lines. Never blocks: what does not fit is counted
    /// as lost.
    fn submit(&self, batch: Vec<u8>, lines: u32);
}

/// Form of the lines (`meshConfig.accessLogEncoding` with an empty `accessLogFormat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Istio's default JSON: keys sorted, numbers as numbers, `null` for what is unknown.
    Json,
    /// Istio's default TEXT: 22 columns, `-` for what is unknown.
    Text,
}

/// Turns records into lines.
#[derive(Debug)]
pub struct LineEncoder {
    format: Format,
    timestamps: Timestamps,
}

impl LineEncoder {
    /// An encoder for lines of the given form.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, timestamps: Timestamps::default() }
    }

    /// Appends the line of an HTTP request, with its line feed.
    pub fn request(&mut self, record: &RequestRecord, out: &mut Vec<u8>) {
        self.line(&Fields::of_request(record), out);
    }

    /// Appends the line of a connection, with its line feed.
    pub fn tcp(&mut self, record: &TcpRecord, out: &mut Vec<u8>) {
        self.line(&Fields::of_tcp(record), out);
    }

    fn line(&mut self, fields: &Fields<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => json::write(fields, &mut self.timestamps, out),
            Format::Text => text::write(fields, &mut self.timestamps, out),
        }
        out.push(b'\n');
    }
}

/// A worker's lines on their way to the sink.
///
/// Dropping it hands over what it holds.
pub struct LogBuffer {
    encoder: LineEncoder,
    sink: Arc<dyn LogSink>,
    batch: Vec<u8>,
    lines: u32,
}

impl LogBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(format: Format, sink: Arc<dyn LogSink>) -> Self {
        Self { encoder: LineEncoder::new(format), sink, batch: Vec::new(), lines: 0 }
    }

    /// Adds the line of an HTTP request.
    pub fn request(&mut self, record: &RequestRecord) {
        self.encoder.request(record, &mut self.batch);
        self.added();
    }

    /// Adds the line of a connection.
    pub fn tcp(&mut self, record: &TcpRecord) {
        self.encoder.tcp(record, &mut self.batch);
        self.added();
    }

    /// Whether there is nothing to hand over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Hands over what is there. To be called about once a second while lines come in.
    pub fn flush(&mut self) {
        if self.lines > 0 {
            // The next batch is likely as long as this one was, and its last line must not make it grow.
            let next = Vec::with_capacity(self.batch.len() + USUAL_LINE);
            self.sink.submit(std::mem::replace(&mut self.batch, next), std::mem::take(&mut self.lines));
        }
    }

    fn added(&mut self) {
        self.lines += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
