//! Runs work on other threads and returns the results in the order in which the work was submitted.
//!
//! The number of items inside is bounded. A waiting side wakes when the other side is gone, including after a
//! panic. Without workers the items pass through unchanged, and one of the sides does the work. Fails only if a
//! thread cannot be started.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// An item, and the channel for its result.
type Job<T> = (T, SyncSender<T>);

/// A position in the order: a result, or the channel that a worker will send it to.
enum Slot<T> {
    Ready(T),
    Later(Receiver<T>),
}

/// Accepts the items.
pub(crate) struct JobSender<T> {
    jobs: Option<SyncSender<Job<T>>>,
    order: SyncSender<Slot<T>>,
}

/// Returns the results in order.
pub(crate) struct JobReceiver<T>(Receiver<Slot<T>>);

/// Threads that are joined on drop. Drop the channels that they wait for first.
#[derive(Default, Debug)]
pub(crate) struct Workers(Vec<JoinHandle<()>>);

/// The other side is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Disconnected;

/// Starts `workers` threads, each with a function that `work` makes. At most about `workers + depth` items are
/// inside.
pub(crate) fn lane<T, F>(
    workers: usize,
    depth: usize,
    helpers: &mut Workers,
    mut work: impl FnMut() -> io::Result<F>,
) -> io::Result<(JobSender<T>, JobReceiver<T>)>
where
    T: Send + 'static,
    F: FnMut(T) -> T + Send + 'static,
{
    let (order, exit) = sync_channel(depth);
    let mut jobs = None;
    if workers > 0 {
        // As large as the order channel: a worker that wakes late finds several jobs, and does not hold up the
        // sender.
        let (entrance, queue) = sync_channel::<Job<T>>(depth);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let (queue, mut work) = (Arc::clone(&queue), work()?);
            helpers.start(move || {
                while let Some((item, done)) = next(&queue) {
                    // The receiver may be gone.
                    let _ = done.send(work(item));
                }
            })?;
        }
        jobs = Some(entrance);
    }
    Ok((JobSender { jobs, order }, JobReceiver(exit)))
}

/// The next job; `None` once the sender is gone. One worker at a time waits for a job; the others wait for the lock.
fn next<T>(queue: &Mutex<Receiver<Job<T>>>) -> Option<Job<T>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl<T> JobSender<T> {
    /// Adds an item; blocks while the queue is full.
    pub(crate) fn send(&self, item: T) -> Result<(), Disconnected> {
        let slot = match &self.jobs {
            None => Slot::Ready(item),
            Some(jobs) => {
                let (done, later) = sync_channel(1);
                jobs.send((item, done)).map_err(|_| Disconnected)?;
                Slot::Later(later)
            }
        };
        self.order.send(slot).map_err(|_| Disconnected)
    }

    /// Adds an item, or returns it if the queue is full.
    pub(crate) fn offer(&self, item: T) -> Result<Option<T>, Disconnected> {
        let Some(jobs) = &self.jobs else {
            return match self.order.try_send(Slot::Ready(item)) {
                Ok(()) => Ok(None),
                Err(TrySendError::Full(Slot::Ready(item))) => Ok(Some(item)),
                Err(_) => Err(Disconnected),
            };
        };
        let (done, later) = sync_channel(1);
        match self.order.try_send(Slot::Later(later)) {
            // An item with a position in the order has a free slot among the jobs, or will in a moment.
            Ok(()) => jobs.send((item, done)).map(|()| None).map_err(|_| Disconnected),
            Err(TrySendError::Full(_)) => Ok(Some(item)),
            Err(TrySendError::Disconnected(_)) => Err(Disconnected),
        }
    }

    /// Adds an item that needs no work.
    pub(crate) fn pass(&self, item: T) -> Result<(), Disconnected> {
        self.order.send(Slot::Ready(item)).map_err(|_| Disconnected)
    }
}

impl<T> JobReceiver<T> {
    /// The next item in order; `None` once the sender is gone and every item was returned.
    pub(crate) fn recv(&self) -> Result<Option<T>, Disconnected> {
        match self.0.recv() {
            Err(_) => Ok(None),
            Ok(Slot::Ready(item)) => Ok(Some(item)),
            Ok(Slot::Later(later)) => later.recv().map(Some).map_err(|_| Disconnected),
        }
    }
}

impl Workers {
    pub(crate) fn start(&mut self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.0.push(Builder::new().name("seawall-chunks".into()).spawn(run)?);
        Ok(())
    }

    /// Joins all threads. A panic was already noticed by the side that waited for the thread's work.
    pub(crate) fn join(&mut self) {
        for helper in self.0.drain(..) {
            let _ = helper.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.join();
    }
}

/// Buffers for reuse.
pub(crate) struct Pool<T>(Arc<Mutex<Vec<T>>>);

/// Maximum number of buffers that are kept.
const SPARES_MAX: usize = 24;

impl<T: Default> Pool<T> {
    pub(crate) fn new() -> Pool<T> {
        Pool(Arc::default())
    }

    pub(crate) fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, buffer: T) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES_MAX {
            spares.push(buffer);
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Pool<T> {
        Pool(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for JobSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobSender").field("workers", &self.jobs.is_some()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for JobReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobReceiver").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn doubled(workers: usize) -> Vec<u64> {
        let mut helpers = Workers::default();
        let work = || {
            Ok(|n: u64| {
                // The later items take less time.
                std::thread::sleep(Duration::from_micros(300u64.saturating_sub(n * 3)));
                n * 2
            })
        };
        let (entrance, exit) = lane(workers, 3, &mut helpers, work).unwrap();
        helpers
            .start(move || {
                (0..100).for_each(|n| entrance.send(n).unwrap());
                entrance.pass(1).unwrap();
            })
            .unwrap();
        std::iter::from_fn(|| exit.recv().unwrap()).collect()
    }

    #[test]
    fn items_come_out_in_order() {
        for workers in [1, 2, 4] {
            assert_eq!(doubled(workers), (0..100).map(|n| n * 2).chain([1]).collect::<Vec<_>>());
        }
        assert_eq!(doubled(0), (0..100).chain([1]).collect::<Vec<_>>());
    }

    #[test]
    fn an_offer_without_room_comes_back() {
        for workers in [0, 1] {
            let mut helpers = Workers::default();
            let (entrance, exit) = lane(workers, 3, &mut helpers, || Ok(|n: u8| n + 1)).unwrap();
            assert_eq!(
                (0..5).map(|n| entrance.offer(n)).collect::<Vec<_>>(),
                [Ok(None), Ok(None), Ok(None), Ok(Some(3)), Ok(Some(4))]
            );
            let done = u8::from(workers > 0);
            assert_eq!(exit.recv(), Ok(Some(done)));
            assert_eq!(entrance.offer(5), Ok(None));
            assert_eq!([(); 3].map(|()| exit.recv().unwrap().unwrap() - done), [1, 2, 5]);
            drop(exit);
            assert_eq!(entrance.offer(6), Err(Disconnected));
        }
    }

    #[test]
    fn whoever_waits_hears_of_the_other_side() {
        for workers in [0, 2] {
            let mut helpers = Workers::default();
            let (entrance, exit) = lane(workers, 3, &mut helpers, || Ok(|n: u8| n)).unwrap();
            drop(exit);
            assert!((0..9).any(|n| entrance.send(n) == Err(Disconnected)));
        }
        let mut helpers = Workers::default();
        let panics = || Ok(|n: u8| if n == 2 { std::panic::panic_any(n) } else { n });
        let (entrance, exit) = lane(1, 2, &mut helpers, panics).unwrap();
        helpers.start(move || while entrance.send(2).is_ok() {}).unwrap();
        assert_eq!(exit.recv(), Err(Disconnected));
        drop(exit);
        helpers.join();
    }
}
