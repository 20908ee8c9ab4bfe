//! Saves the last good state, now and then: soon after the first configuration, after changes at a bounded rate, and at the
//! end.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use portcullis_telemetry::metrics::cluster::Cluster as Gauges;
use tokio::sync::watch as signal;

use super::{Place, encode, file};
use crate::kubernetes::book::Shared;
use crate::report::Bulletin;

/// Between the first configuration and the first file.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Between two files: endpoints come and go all the time.
const INTERVAL: Duration = Duration::from_secs(10);
/// Bytes a second that are written at most, over time.
const BYTES_PER_SECOND: usize = 1 << 20;
/// How often a file is confirmed that nothing has changed of.
const CONFIRM: Duration = Duration::from_secs(30);
/// A cluster that was heard of within this time is still followed: bookmarks come every minute.
const FRESH: Duration = Duration::from_secs(150);

/// Who saves.
pub(crate) struct Keeper {
    pub(crate) place: Place,
    /// Which cluster it is.
    pub(crate) cluster: String,
    pub(crate) book: Shared,
    pub(crate) told: signal::Receiver<Bulletin>,
    pub(crate) gauges: Arc<Gauges>,
}

/// What there is on disk.
#[derive(Default)]
struct Course {
    /// The version of the shelf that was saved.
    saved: Option<u64>,
    next: Option<Instant>,
    confirm: Option<Instant>,
    trouble: Option<String>,
}

impl Keeper {
    /// Saves until it is told to stop, and then once more what was not saved yet.
    pub(crate) async fn run(mut self, mut stopped: signal::Receiver<bool>) {
        let mut course = Course::default();
        loop {
            let live = self.told.borrow_and_update().live;
            let pause = if live { self.turn(&mut course).await } else { CONFIRM };
            let woken = async {
                match live {
                    true => tokio::time::sleep(pause).await,
                    // The sender lives as long as the control thread, which ends after this.
                    false => _ = self.told.changed().await,
                }
            };
            tokio::select! {
                () = woken => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        if self.told.borrow().live && course.saved != Some(self.version()) {
            self.save(&mut course).await;
        }
    }

    /// Does what is due; tells how long there is nothing to do.
    async fn turn(&self, course: &mut Course) -> Duration {
        let now = Instant::now();
        let next = *course.next.get_or_insert(now + FIRST_WAIT);
        if course.saved == Some(self.version()) {
            self.confirm(course, now).await;
        } else if next <= now {
            let bytes = self.save(course).await;
            let pause = Duration::from_secs((bytes / BYTES_PER_SECOND) as u64).max(INTERVAL);
            course.next = Some(Instant::now() + pause);
        } else {
            return next - now;
        }
        FIRST_WAIT
    }

    async fn save(&self, course: &mut Course) -> usize {
        let (texts, version) = {
            let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(shelf) = &book.shelf else { return 0 };
            (shelf.texts(), shelf.version())
        };
        let (place, cluster) = (self.place.clone(), self.cluster.clone());
        let wall = SystemTime::now();
        let confirmed = wall - self.gauges.age(wall);
        let work = move || {
            let bytes = encode(&texts, &cluster, confirmed, place.key.as_ref())?;
            if bytes.len() > file::MAX_BYTES {
                return Err(format!(
                    "there would be {} bytes, and {} are read",
                    bytes.len(),
                    file::MAX_BYTES
                ));
            }
            file::save(&place, &bytes).map_err(|error| error.to_string())?;
            Ok(bytes.len())
        };
        let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        self.tell(course, &result);
        if result.is_ok() {
            (course.saved, course.confirm) = (Some(version), Some(Instant::now() + CONFIRM));
        }
        result.unwrap_or(0)
    }

    fn tell(&self, course: &mut Course, result: &Result<usize, String>) {
        let path = file::path(&self.place);
        let path = path.display();
        match result {
            Ok(bytes) if course.saved.is_none() || course.trouble.take().is_some() => {
                let secrets = self.place.key.is_some();
                tracing::info!(%path, bytes, secrets, "the state of the cluster is kept for a start without it");
            }
            Ok(bytes) => tracing::debug!(%path, bytes, "the state of the cluster is saved"),
            Err(reason) => {
                if course.trouble.as_ref() != Some(reason) {
                    tracing::warn!(%path, "the state of the cluster cannot be saved: {reason}");
                }
                course.trouble = Some(reason.clone());
            }
        }
    }

    /// What is saved is still true.
    async fn confirm(&self, course: &mut Course, now: Instant) {
        let (wall, due) = (SystemTime::now(), course.confirm.is_none_or(|due| due <= now));
        let age = self.gauges.age(wall);
        if due && age < FRESH {
            course.confirm = Some(now + CONFIRM);
            let place = self.place.clone();
            let touched = tokio::task::spawn_blocking(move || file::confirm(&place, wall - age)).await;
            if !touched.is_ok_and(|result| result.is_ok()) {
                // Somebody took it away: it is written anew.
                course.saved = None;
            }
        }
    }

    fn version(&self) -> u64 {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.shelf.as_ref().map_or(0, super::shelf::Shelf::version)
    }
}
