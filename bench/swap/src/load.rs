//! Every client, at work until it is told to stop.

mod requests;
mod sessions;
mod streams;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::backend::Backends;
use crate::client::{ANSWER_LIMIT, Tls};
use crate::configuration::{Configuration, Targets};
use crate::tally::{Kind, Tally, Trouble};

/// Clients of a kind that keep their connection.
const CONNECTIONS: usize = 4;
/// Streams at once on an HTTP/2 connection.
const STREAMS: usize = 4;
/// Clients of a kind that opens a connection for each request.
const CALLERS: usize = 2;
/// Between two requests of one client that keeps its connection.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// Bytes of a part of a slow body; one comes every [`PACE`].
pub(crate) const SLOW_PART: usize = 4096;
/// Between two requests of one client that opens a connection each time.
const CALL_PACE: Duration = Duration::from_millis(25);
/// Longest wait for the clients to end: each may be in the middle of its last exchange.
const END_LIMIT: Duration = ANSWER_LIMIT.saturating_mul(2);

/// What every client needs.
#[derive(Clone)]
struct Stage {
    targets: Targets,
    tls: Tls,
    tally: Arc<Tally>,
    stop: watch::Receiver<bool>,
}

/// The clients at work.
pub(crate) struct Load {
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    stopping: Arc<AtomicBool>,
    tasks: Vec<(Kind, tokio::task::JoinHandle<()>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Puts the clients to work.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn start(
        runtime: &Runtime,
        configuration: &Configuration,
        backends: &Backends,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let stage = Stage {
            targets: configuration.targets(),
            tls: Tls::new(backends.authority.der())?,
            tally: Arc::clone(tally),
            stop: stopped,
        };
        let stopping = Arc::<AtomicBool>::default();
        let threads = match &backends.postgres {
            Some(_) => sessions::start(stage.targets.postgres, tally, &stopping)?,
            None => Vec::new(),
        };
        Ok(Self {
            tally: Arc::clone(tally),
            stop,
            stopping,
            tasks: spawn_all(runtime.handle(), &stage),
            threads,
        })
    }

    /// Lets every client finish what it is at, close what it has open, and end.
    pub(crate) fn finish(self, runtime: &Runtime) {
        self.stop.send_replace(true);
        self.stopping.store(true, Ordering::Relaxed);
        runtime.block_on(async {
            for (kind, task) in self.tasks {
                let failed = match tokio::time::timeout(END_LIMIT, task).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.into(),
                    Err(_) => anyhow!("a client has not ended"),
                };
                self.tally.trouble(kind, &Trouble::Failed(failed));
            }
        });
        for thread in self.threads {
            if thread.join().is_err() {
                self.tally.trouble(Kind::PsqlSession, &Trouble::Failed(anyhow!("a client panicked")));
            }
        }
    }
}

fn spawn_all(runtime: &Handle, stage: &Stage) -> Vec<(Kind, tokio::task::JoinHandle<()>)> {
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        for kind in [Kind::Http1, Kind::Http1Tls, Kind::Http2, Kind::Http2Tls] {
            tasks.push((kind, runtime.spawn(requests::keep_asking(stage.clone(), kind))));
        }
        tasks.push((Kind::Slow, runtime.spawn(requests::keep_uploading(stage.clone()))));
        tasks.push((Kind::WebSocket, runtime.spawn(streams::web_socket(stage.clone()))));
        tasks.push((Kind::Grpc, runtime.spawn(streams::grpc(stage.clone()))));
        tasks.push((Kind::Passthrough, runtime.spawn(streams::passthrough(stage.clone()))));
        tasks.push((Kind::Flapping, runtime.spawn(requests::knock(stage.clone()))));
    }
    for _ in 0..CALLERS {
        for kind in [Kind::NewTls, Kind::ResumedTls] {
            tasks.push((kind, runtime.spawn(requests::keep_calling(stage.clone(), kind))));
        }
        tasks.push((Kind::NewPassthrough, runtime.spawn(streams::new_passthroughs(stage.clone()))));
    }
    tasks.push((Kind::Idle, runtime.spawn(requests::gather_idle(stage.clone()))));
    tasks
}

impl Stage {
    /// Notes what went wrong.
    fn note<T>(&self, kind: Kind, outcome: Result<T, Trouble>) -> Option<T> {
        outcome.inspect_err(|trouble| self.tally.trouble(kind, trouble)).ok()
    }

    fn pace(&self, every: Duration) -> Pace {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace { ticks, stop: self.stop.clone() }
    }
}

/// A clock that ends with the load.
struct Pace {
    ticks: Interval,
    stop: watch::Receiver<bool>,
}

impl Pace {
    /// Waits for the next turn; false when there is none.
    async fn next(&mut self) -> bool {
        let stopped = pin!(self.stop.wait_for(|stop| *stop));
        tokio::select! {
            biased;
            _ = stopped => false,
            _ = self.ticks.tick() => true,
        }
    }
}
