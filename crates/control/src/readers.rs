//! Work on many things at once, shared among threads.

use std::thread::ScopedJoinHandle;

use crate::priority::give_way;

/// So many are worth several threads.
const WORTH_THREADS: usize = 256;

/// Most threads.
const MAX_THREADS: usize = 4;

/// What `work` makes of each, in their order.
pub(crate) fn shared_out<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    if all.len() < WORTH_THREADS || threads == 1 {
        return all.iter().map(work).inspect(|_| give_way()).collect();
    }
    let work = &work;
    let share = all.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let shares: Vec<_> = all
            .chunks(share)
            .map(|part| {
                let own = move || part.iter().map(work).collect::<Vec<_>>();
                (part, std::thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, own).ok())
            })
            .collect();
        let finish = |(part, reader): (&[T], Option<ScopedJoinHandle<'_, Vec<R>>>)| match reader {
            Some(reader) => reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => part.iter().map(work).collect(),
        };
        shares.into_iter().flat_map(finish).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_however_many_there_are() {
        for count in [0, 1, WORTH_THREADS - 1, WORTH_THREADS, 4 * WORTH_THREADS + 3] {
            let all: Vec<usize> = (0..count).collect();
            assert_eq!(shared_out(&all, |number| number + 1), (1..=count).collect::<Vec<_>>());
        }
    }
}
