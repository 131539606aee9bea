//! The driver: keeps the disk busy while there is more to write than one thread waits for.
//!
//! Threads that wait write for themselves, which costs no wake-up, as long as each finds the disk free. From
//! the moment that a write ends with another one due, the log's own thread takes over, so that the next write
//! does not wait for a thread to wake; it hands back when nothing is left. With a ring it keeps as many in
//! flight as the log may have, without one it writes one at a time. Ends come in any order; short writes are
//! continued before anybody hears of them. Fails by latching the log.

use crate::commit::committer::Committer;
use crate::commit::disk_op::DiskOp;
use crate::commit::state::Driver;
use crate::disk::{Completion, Ring};
use crate::error::Error;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest wait in the ring while something is in flight: nothing depends on it.
const LONG: Duration = Duration::from_secs(1);

/// A ring, and the operations of the log that it carries out.
#[derive(Debug)]
pub(crate) struct RingQueue {
    /// Before what is under way: a ring that is dropped waits for it, and only then the directory is free.
    ring: Box<dyn Ring>,
    /// By token: an operation, and how many of its bytes are written.
    under_way: Vec<Option<(DiskOp, usize)>>,
    free: Vec<usize>,
    ended: Vec<Completion>,
    /// The kernel refused to wait: nothing more will be heard.
    broken: bool,
}

impl RingQueue {
    /// A rail for `depth` operations at a time.
    pub(crate) fn new(ring: Box<dyn Ring>, depth: usize) -> RingQueue {
        let under_way = (0..depth).map(|_| None).collect();
        RingQueue { ring, under_way, free: (0..depth).collect(), ended: Vec::new(), broken: false }
    }

    fn busy(&self) -> usize {
        if self.broken { 0 } else { self.under_way.len() - self.free.len() }
    }

    /// Starts an operation; gives it back with the reason if that fails.
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

    /// Takes an operation that ended with `result` off, unless it has to go on.
    fn finish(&mut self, token: usize, result: io::Result<usize>) -> Option<(DiskOp, io::Result<()>)> {
        let (io, done) = self.under_way.get_mut(token)?.take()?;
        self.free.push(token);
        let len = io.len();
        let done = match result {
            // A sync that failed is not repeated, whatever the reason.
            Ok(_) if len == 0 => return Some((io, Ok(()))),
            Ok(0) => return Some((io, Err(io::ErrorKind::WriteZero.into()))),
            Ok(n) => done.saturating_add(n),
            Err(e) if len > 0 && e.kind() == io::ErrorKind::Interrupted => done,
            // The kernel could not do it without waiting. The ring would say so again at once, so this thread waits.
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
    /// Waits for what is under way. If the kernel refuses that, it may still write, and the directory must not be
    /// given to the next one who opens it: the operations are leaked, and its lock with them, until the process ends.
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
    /// Says that the flusher's thread is there, and what it can do.
    pub(crate) fn start_driver(&self, driver: Driver, rail: Option<&RingQueue>) {
        if let Some(rail) = rail {
            let _ = self.ring_waker.set(rail.ring.waker());
        }
        self.lock_state().set_driver(driver);
    }

    /// Issues what there is while the log is driven; returns when waiting threads take over.
    pub(super) fn drive(&self, mut rail: Option<&mut RingQueue>) {
        loop {
            let seen = self.flusher.load();
            let busy = rail.as_ref().map_or(0, |rail| rail.busy());
            let next = {
                let mut core = self.lock_after_gathering();
                let next = core.drive(busy);
                self.note_work_available(&core);
                next
            };
            match (next, &mut rail) {
                (Some((io, true)), Some(rail)) => {
                    if let Err((io, e)) = rail.start(io, 0) {
                        self.complete(io, Err(e));
                    }
                }
                (Some((io, _)), _) => self.run(io),
                (None, Some(rail)) if busy > 0 => self.reap(rail, seen),
                (None, _) => return,
            }
        }
    }

    /// Waits until something in the ring has ended, and tells everyone concerned. `seen` is the flusher's
    /// word before the log was last looked at.
    fn reap(&self, rail: &mut RingQueue, seen: u32) {
        self.in_ring.store(true, Ordering::SeqCst);
        // Who changed the word before may not have seen that the ring is waited in.
        let timeout = if self.flusher.load() == seen { LONG } else { Duration::ZERO };
        let mut ended = std::mem::take(&mut rail.ended);
        let result = rail.ring.wait(timeout, &mut ended);
        self.in_ring.store(false, Ordering::SeqCst);
        for (token, result) in ended.drain(..) {
            if let Some((io, result)) = rail.finish(token, result) {
                self.complete(io, result);
            }
        }
        rail.ended = ended;
        if let Err(e) = result {
            let location = self.lock_state().location();
            self.poison(Error::io("wait for", location, "", e));
            rail.broken = true;
        }
    }
}
