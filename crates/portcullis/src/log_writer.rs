//! The access-log writer: a bounded queue of batches and one thread that writes them out.
//!
//! Workers hand over batches without ever waiting for the output. What finds no room is dropped and counted.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_telemetry::access_log::LogSink;

/// How long the end of the process waits for lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Called with a number of lines that were lost.
pub(crate) type OnLost = Box<dyn Fn(u64) + Send + Sync>;

/// Where workers hand their lines over.
pub(crate) struct LogWriter {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that may wait.
    bound: usize,
    on_lost: OnLost,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Bytes that wait, those being written included.
    bytes: usize,
    closed: bool,
    /// Whether the thread has written everything and left.
    finished: bool,
}

struct Batch {
    bytes: Vec<u8>,
    lines: u32,
}

impl LogWriter {
    /// Starts the thread that writes to `out`; at most `bound` bytes wait for it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        bound: usize,
        on_lost: OnLost,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), bound, on_lost });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.write(out))?;
        Ok(Self { queue })
    }

    /// Takes no more lines, and waits a bounded time for those taken to be written.
    pub(crate) fn finish(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        let mut state = self.queue.lock();
        state.closed = true;
        self.queue.changed.notify_all();
        while !state.finished {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            state = self.queue.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl LogSink for LogWriter {
    fn submit(&self, batch: Vec<u8>, lines: u32) {
        let mut state = self.queue.lock();
        if state.closed || state.bytes + batch.len() > self.queue.bound {
            drop(state);
            (self.queue.on_lost)(lines.into());
            return;
        }
        state.bytes += batch.len();
        state.batches.push_back(Batch { bytes: batch, lines });
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut out: impl Write) {
        while let Some(batch) = self.next() {
            let written = out.write_all(&batch.bytes).and_then(|()| out.flush());
            if let Err(error) = written {
                tracing::debug!(%error, "access log cannot be written");
                (self.on_lost)(batch.lines.into());
            }
            self.lock().bytes -= batch.bytes.len();
        }
        self.lock().finished = true;
        self.changed.notify_all();
    }

    /// Waits for a batch; `None` when the queue is closed and empty.
    fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.batches.pop_front() {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that takes a write only when it is allowed to.
    struct Gate {
        allowed: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> (Arc<AtomicU64>, OnLost) {
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        (
            lost,
            Box::new(move |lines| {
                counted.fetch_add(lines, Ordering::Relaxed);
            }),
        )
    }

    #[test]
    fn a_stalled_output_loses_lines_and_blocks_nobody() {
        let ((allow, allowed), (written, output), (lost, on_lost)) = (channel(), channel(), counter());
        let writer = LogWriter::start(Gate { allowed, written }, 10, on_lost).expect("thread");
        writer.submit(b"aaaa\n".to_vec(), 1);
        writer.submit(b"bbbb\n".to_vec(), 1);
        writer.submit(b"c\nd\ne\n".to_vec(), 3);
        assert_eq!(lost.load(Ordering::Relaxed), 3);
        allow.send(()).expect("writer");
        allow.send(()).expect("writer");
        writer.finish();
        assert_eq!(output.try_iter().flatten().collect::<Vec<_>>(), b"aaaa\nbbbb\n");
        writer.submit(b"late\n".to_vec(), 1);
        assert_eq!(lost.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_broken_output_is_counted() {
        let ((allow, allowed), (written, output), (lost, on_lost)) = (channel(), channel(), counter());
        drop((allow, output));
        let writer = LogWriter::start(Gate { allowed, written }, 100, on_lost).expect("thread");
        writer.submit(b"a\nb\n".to_vec(), 2);
        writer.finish();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }
}
