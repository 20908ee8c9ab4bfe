//! The cell through which a new snapshot reaches every worker.
//!
//! There is one [`Publisher`], which cannot be cloned, and any number of [`Reader`]s. Publishing is
//! one pointer swap: a reader sees the old snapshot or the new one, whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::Snapshot;

struct Shared {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
}

/// Called after each publication, from the publishing thread; must not block.
pub type OnPublish = Box<dyn Fn(&Arc<Snapshot>) + Send>;

/// The only writer.
pub struct Publisher {
    shared: Arc<Shared>,
    listeners: Vec<OnPublish>,
}

/// A cheap, cloneable view of the newest snapshot.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A new cell holding the empty snapshot of generation 0.
#[must_use]
pub fn cell() -> (Publisher, Reader) {
    let shared = Arc::new(Shared {
        current: ArcSwap::from_pointee(Snapshot::default()),
        generation: AtomicU64::new(0),
    });
    (Publisher { shared: Arc::clone(&shared), listeners: Vec::new() }, Reader { shared })
}

impl Publisher {
    /// Has `callback` called after each publication from now on.
    pub fn on_publish(&mut self, callback: OnPublish) {
        self.listeners.push(callback);
    }

    /// Makes `snapshot` the current one, gives it the next generation and returns that number.
    pub fn publish(&mut self, mut snapshot: Snapshot) -> u64 {
        let generation = self.shared.generation.load(Ordering::Relaxed) + 1;
        snapshot.generation = generation;
        let snapshot = Arc::new(snapshot);
        self.shared.current.store(Arc::clone(&snapshot));
        self.shared.generation.store(generation, Ordering::Release);
        for listener in &self.listeners {
            listener(&snapshot);
        }
        generation
    }
}

impl Reader {
    /// Generation of the newest snapshot: one atomic load, to see whether a cached one is stale.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_each_publication() {
        let (mut publisher, reader) = cell();
        assert_eq!((reader.generation(), reader.current().generation), (0, 0));
        let (sent, received) = std::sync::mpsc::channel();
        publisher
            .on_publish(Box::new(move |snapshot| sent.send(snapshot.generation).expect("receiver lives")));
        assert_eq!(publisher.publish(Snapshot::default()), 1);
        assert_eq!(publisher.publish(Snapshot::default()), 2);
        assert_eq!((reader.generation(), reader.current().generation), (2, 2));
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
