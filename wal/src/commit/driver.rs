//! The driver, one of the two tasks of thread `seawall-flush`, keeps the disk busy while more is due than one waiting
//! thread writes.
//!
//! As long as each waiting thread finds the disk free, it writes its group itself, which needs no wake-up. When a write
//! ends and another one is due, the driver takes over, so that the next write does not wait for a thread to wake up. It
//! hands back to the waiting threads when nothing is left to issue. With a ring it keeps as many operations in flight
//! as the log allows; without one it writes one group at a time. Operations complete in any order; a short write is
//! continued before its completion is reported. If the ring fails, the log stops.

use crate::commit::committer::Committer;
use crate::commit::disk_op::DiskOp;
use crate::commit::state::Driver;
use crate::error::Error;
use seawall_disk::ring::{Completion, Ring};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest wait in the ring while an operation is in flight. The value is arbitrary: an end or a wake-up ends the wait.
const LONG: Duration = Duration::from_secs(1);

/// An I/O ring and the log's operations that it carries out.
#[derive(Debug)]
pub(crate) struct RingQueue {
    /// Declared before `under_way`: dropping the ring waits for its operations, and only after that may they release
    /// the directory.
    ring: Box<dyn Ring>,
    /// By token: the operation, and how many of its bytes are written.
    under_way: Vec<Option<(DiskOp, usize)>>,
    free: Vec<usize>,
    ended: Vec<Completion>,
    /// Whether waiting for the ring has failed; no completion will arrive any more.
    broken: bool,
}

impl RingQueue {
    /// A queue for up to `depth` operations at a time.
    pub(crate) fn new(ring: Box<dyn Ring>, depth: usize) -> RingQueue {
        let under_way = (0..depth).map(|_| None).collect();
        RingQueue { ring, under_way, free: (0..depth).collect(), ended: Vec::new(), broken: false }
    }

    fn busy(&self) -> usize {
        if self.broken { 0 } else { self.under_way.len() - self.free.len() }
    }

    /// Starts an operation. Gives it back with the error if that fails.
    fn start(&mut self, io: DiskOp, done: usize) -> Result<(), (DiskOp, io::Error)> {
        let Some(token) = self.free.pop() else {
            return Err((io, io::ErrorKind::WouldBlock.into()));
        };
        match self.ring.start(&io.file, io.ring_op(done), token) {
            Ok(()) => {
                self.under_way[token] = Some((io, done));
                Ok(())
            }
            Err(e) => {
                self.free.push(token);
                Err((io, e))
            }
        }
    }

    /// Takes the operation that ended with `result` out of the queue. Returns `None` if a short or interrupted write
    /// was restarted.
    fn finish(&mut self, token: usize, result: io::Result<usize>) -> Option<(DiskOp, io::Result<()>)> {
        let (io, done) = self.under_way.get_mut(token)?.take()?;
        self.free.push(token);
        let len = io.len();
        let done = match result {
            // A failed sync is never repeated, whatever the error.
            Ok(_) if len == 0 => return Some((io, Ok(()))),
            Ok(0) => return Some((io, Err(io::ErrorKind::WriteZero.into()))),
            Ok(n) => done.saturating_add(n),
            Err(e) if len > 0 && e.kind() == io::ErrorKind::Interrupted => done,
            // The kernel could not write without blocking, and the ring would report that again at once. So this thread
            // does the write and blocks.
            Err(e) if len > 0 && e.kind() == io::ErrorKind::WouldBlock => {
                let result = io.execute_from(done);
                return Some((io, result));
            }
            Err(e) => return Some((io, Err(e))),
        };
        if done >= len {
            return Some((io, Ok(())));
        }
        self.start(io, done).err().map(|(io, e)| (io, Err(e)))
    }
}

impl Drop for RingQueue {
    /// Waits for the operations under way. If waiting fails, the kernel may still write, and the next process to open
    /// the directory must not get it: the operations are leaked, and the directory's lock with them, until the process
    /// ends.
    fn drop(&mut self) {
        while self.busy() > 0 {
            let waited = self.ring.wait(LONG, &mut self.ended);
            for (token, _) in self.ended.drain(..) {
                if let Some(Some(_)) = self.under_way.get_mut(token).map(Option::take) {
                    self.free.push(token);
                }
            }
            self.broken |= waited.is_err();
        }
        if self.broken {
            let leaked = std::mem::take(&mut self.under_way);
            leaked.iter().flatten().for_each(|(io, _)| io.never_ends());
            std::mem::forget(leaked);
        }
    }
}

impl Committer {
    /// Announces that the flusher's thread runs, and what it can do as the driver.
    pub(crate) fn start_driver(&self, driver: Driver, queue: Option<&RingQueue>) {
        if let Some(queue) = queue {
            let _ = self.state.flusher.ring_waker.set(queue.ring.waker());
        }
        self.lock_state().set_driver(driver);
    }

    /// Issues operations while the log is driven. Returns when nothing is left and the waiting threads take over.
    pub(super) fn drive(&self, mut queue: Option<&mut RingQueue>) {
        loop {
            let seen = self.state.flusher.slot.load();
            let busy = queue.as_ref().map_or(0, |queue| queue.busy());
            let mut state = self.state.lock();
            // It sleeps at once: the threads that are expected to append need the processors.
            if state.driven() {
                state = self.gather(state, false, None);
            }
            let next = state.drive(busy);
            drop(state);
            match (next, &mut queue) {
                (Some((io, true)), Some(queue)) => {
                    if let Err((io, e)) = queue.start(io, 0) {
                        self.complete(io, Err(e));
                    }
                }
                (Some((io, _)), _) => self.run(io),
                (None, Some(queue)) if busy > 0 => self.reap(queue, seen),
                (None, _) => return,
            }
        }
    }

    /// Waits until something in the ring has completed, and reports the completions. `seen` is the value of the
    /// flusher's wait slot before the state was last examined.
    fn reap(&self, queue: &mut RingQueue, seen: u32) {
        self.state.flusher.in_ring.store(true, Ordering::SeqCst);
        // A thread that changed the slot before may have read `in_ring` as false and not woken the ring, so do not
        // block.
        let timeout = if self.state.flusher.slot.load() == seen { LONG } else { Duration::ZERO };
        let mut ended = std::mem::take(&mut queue.ended);
        let result = queue.ring.wait(timeout, &mut ended);
        self.state.flusher.in_ring.store(false, Ordering::SeqCst);
        for (token, result) in ended.drain(..) {
            if let Some((io, result)) = queue.finish(token, result) {
                self.complete(io, result);
            }
        }
        queue.ended = ended;
        if let Err(e) = result {
            let location = self.lock_state().location();
            self.poison(Error::io("wait for", location, "", e));
            queue.broken = true;
        }
    }
}
