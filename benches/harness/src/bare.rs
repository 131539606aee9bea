//! The bare group commit: appends queue in a buffer, and one durable write takes all of them.
//!
//! It is the cheapest way to share flushes: no frames, checksums or index. It measures the cost that any log with group
//! commit has.
//!
//! Invariants: one write is in flight at a time. Of the two buffers, one is open; the other is being written or is
//! spare. The thread that enqueues first into the open buffer leads its group. Followers sleep on one futex word of
//! their group and take no lock after they wake. A failed write fails only its own group.

use crate::load::Target;
use crate::medium::Medium;
use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::thread::futex;
use seawall_wal::disk::AlignedBuf;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

/// Size of each of the two buffers, in bytes. A larger append gets a group of its own.
const BUFFER_BYTES: usize = 2 << 20;

/// An event that happens once and that threads can sleep for.
#[derive(Debug, Default)]
struct Event(AtomicU32);

impl Event {
    const UNSET: u32 = 0;
    const AWAITED: u32 = 1;
    const SET: u32 = 2;
    const FAILED: u32 = 3;

    /// Sleeps until the event has happened. Returns false if it failed.
    fn wait(&self) -> Result<bool> {
        let claim =
            self.0.compare_exchange(Event::UNSET, Event::AWAITED, Ordering::Acquire, Ordering::Acquire);
        let mut seen = claim.map_or_else(|now| now, |_| Event::AWAITED);
        while seen == Event::AWAITED {
            match futex::wait(&self.0, futex::Flags::PRIVATE, Event::AWAITED, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).context("futex wait"),
            }
            seen = self.0.load(Ordering::Acquire);
        }
        Ok(seen == Event::SET)
    }

    /// Marks the event as happened. Returns true if threads sleep for it and must be woken.
    fn set(&self, state: u32) -> bool {
        self.0.swap(state, Ordering::AcqRel) == Event::AWAITED
    }

    fn wake(&self) -> Result<()> {
        const EVERYBODY: u32 = i32::MAX.unsigned_abs();
        futex::wake(&self.0, futex::Flags::PRIVATE, EVERYBODY).context("futex wake")?;
        Ok(())
    }
}

/// Appends that become durable together.
#[derive(Debug, Default)]
pub struct Group {
    /// Set when the write of the previous group is over and this group's leader may write.
    turn: Event,
    /// Set when the write of this group is over.
    done: Event,
}

impl Group {
    fn wait_done(&self) -> Result<()> {
        ensure!(self.done.wait()?, "the write of this group failed");
        Ok(())
    }
}

#[derive(Debug)]
struct Queue {
    /// Group of the appends in `buf`.
    open: Arc<Group>,
    buf: AlignedBuf,
    spare: AlignedBuf,
    /// A thread is writing or has been told to write. True whenever `buf` is not empty.
    writing: bool,
}

/// The queue, and the files that it is written to.
#[derive(Debug)]
struct Commit {
    queue: Mutex<Queue>,
    medium: Arc<Mutex<Medium>>,
}

/// How the appending thread makes its append durable.
#[derive(Debug)]
enum Role {
    Follow,
    /// Waits for its turn, then writes.
    LeadNext,
    LeadNow,
}

impl Commit {
    fn new(medium: Arc<Mutex<Medium>>) -> Commit {
        let mut buffers = [AlignedBuf::zeroed(BUFFER_BYTES), AlignedBuf::zeroed(BUFFER_BYTES)];
        buffers.iter_mut().for_each(AlignedBuf::clear);
        let [buf, spare] = buffers;
        let queue = Queue { open: Arc::default(), buf, spare, writing: false };
        Commit { queue: Mutex::new(queue), medium }
    }

    /// Copies `payload` into the open buffer. Waits while the buffer is full.
    fn enqueue(&self, payload: &[u8]) -> Result<(Arc<Group>, Role)> {
        loop {
            let mut queue = self.queue.lock();
            let first = queue.buf.is_empty();
            if first || queue.buf.len() + payload.len() <= BUFFER_BYTES {
                let role = match (first, mem::replace(&mut queue.writing, true)) {
                    (false, _) => Role::Follow,
                    (true, true) => Role::LeadNext,
                    (true, false) => Role::LeadNow,
                };
                queue.buf.extend(payload);
                return Ok((queue.open.clone(), role));
            }
            let full = queue.open.clone();
            drop(queue);
            full.wait_done()?;
        }
    }

    /// Writes the open buffer, then wakes the leader of the next group, then all threads of this group. Returns true if
    /// there is a next group.
    fn lead(&self) -> Result<bool> {
        let (group, mut buf) = {
            let mut queue = self.queue.lock();
            let spare = mem::take(&mut queue.spare);
            (mem::take(&mut queue.open), mem::replace(&mut queue.buf, spare))
        };
        let written = self.medium.lock().write(&mut buf);
        buf.clear();
        let next = {
            let mut queue = self.queue.lock();
            queue.spare = buf;
            queue.writing = !queue.buf.is_empty();
            queue.writing.then(|| queue.open.clone())
        };
        let awaited = group.done.set(if written.is_ok() { Event::SET } else { Event::FAILED });
        if let Some(next) = &next
            && next.turn.set(Event::SET)
        {
            next.turn.wake()?;
        }
        if awaited {
            group.done.wake()?;
        }
        written.context("durable write of a group")?;
        Ok(next.is_some())
    }
}

/// Group commit carried out by the appending threads. For loads with one append in flight per thread.
#[derive(Debug)]
pub struct Bare(Commit);

impl Bare {
    /// Creates a group commit that writes to `medium`.
    pub fn new(medium: Arc<Mutex<Medium>>) -> Bare {
        Bare(Commit::new(medium))
    }
}

/// An append that the thread has to write itself or to wait for.
#[derive(Debug)]
pub struct BareTicket(Arc<Group>, Role);

impl Target for Bare {
    type Producer = ();
    type Ticket = BareTicket;

    fn producer(&self, _key: u64) {}

    fn append(&self, (): &mut (), payload: &[u8]) -> Result<BareTicket> {
        let (group, role) = self.0.enqueue(payload)?;
        Ok(BareTicket(group, role))
    }

    fn wait(&self, BareTicket(group, role): BareTicket) -> Result<()> {
        match role {
            Role::Follow => return group.wait_done(),
            Role::LeadNow => {}
            Role::LeadNext => {
                group.turn.wait()?;
            }
        }
        self.0.lead()?;
        Ok(())
    }
}

/// Group commit carried out by a thread of its own, so that appends become durable although no thread waits for them.
/// For loads with several appends in flight per thread.
#[derive(Debug)]
pub struct BareWriter {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    commit: Commit,
    /// The next order for the writing thread, which sleeps on this word while idle.
    order: AtomicU32,
}

const ORDER_NONE: u32 = 0;
const ORDER_WRITE: u32 = 1;
const ORDER_STOP: u32 = 2;

impl Shared {
    fn give(&self, order: u32) -> Result<()> {
        self.order.store(order, Ordering::Release);
        futex::wake(&self.order, futex::Flags::PRIVATE, 1).context("futex wake")?;
        Ok(())
    }

    fn write_groups(&self) {
        loop {
            match self.order.swap(ORDER_NONE, Ordering::AcqRel) {
                ORDER_STOP => return,
                // A failed write has failed its group; the appending threads report the error.
                ORDER_WRITE => {
                    while self.commit.lead().unwrap_or_else(|_| self.commit.queue.lock().writing) {}
                }
                _ => {
                    // The loop reads the order again whatever ended the sleep.
                    let _ = futex::wait(&self.order, futex::Flags::PRIVATE, ORDER_NONE, None);
                }
            }
        }
    }
}

impl BareWriter {
    /// Starts the thread that writes to `medium`.
    pub fn start(medium: Arc<Mutex<Medium>>) -> Result<BareWriter> {
        let shared = Arc::new(Shared { commit: Commit::new(medium), order: AtomicU32::new(ORDER_NONE) });
        let writer = thread::Builder::new().name("bare-writer".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.write_groups()
        });
        Ok(BareWriter { shared, writer: Some(writer.context("start the writing thread")?) })
    }
}

impl Drop for BareWriter {
    fn drop(&mut self) {
        if self.shared.give(ORDER_STOP).is_ok()
            && let Some(writer) = self.writer.take()
        {
            let _ = writer.join();
        }
    }
}

impl Target for BareWriter {
    type Producer = ();
    type Ticket = Arc<Group>;

    fn producer(&self, _key: u64) {}

    fn append(&self, (): &mut (), payload: &[u8]) -> Result<Arc<Group>> {
        let (group, role) = self.shared.commit.enqueue(payload)?;
        if matches!(role, Role::LeadNow) {
            self.shared.give(ORDER_WRITE)?;
        }
        Ok(group)
    }

    fn wait(&self, group: Arc<Group>) -> Result<()> {
        group.wait_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Drive, drive};
    use seawall_wal::disk::Mode;
    use std::time::Duration;

    fn medium(dir: &tempfile::TempDir) -> Arc<Mutex<Medium>> {
        Arc::new(Mutex::new(Medium::create(dir.path(), "bare", Mode::Buffered, 4 << 20).unwrap()))
    }

    fn of(threads: usize, in_flight: usize, payload: &[u8]) -> Drive<'_> {
        Drive { threads, in_flight, payload, window: Duration::from_millis(30) }
    }

    #[test]
    fn leaders_and_followers_all_finish() {
        let dir = tempfile::tempdir().unwrap();
        let bare = Bare::new(medium(&dir));
        // The larger size fills a buffer with two appends, so some threads must wait for room.
        for (threads, bytes) in [(1, 1), (8, 100), (8, 1_000_000), (3, BUFFER_BYTES + 1)] {
            let sample = drive(&bare, of(threads, 1, &vec![7; bytes])).unwrap();
            assert!(!sample.latency_ns.is_empty());
            let queue = bare.0.queue.lock();
            assert!(!queue.writing && queue.buf.is_empty());
        }
    }

    #[test]
    fn the_writer_finishes_what_is_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let bare = BareWriter::start(medium(&dir)).unwrap();
        for (threads, in_flight, bytes) in [(1, 32, 100), (4, 8, 1000), (2, 4, 1_000_000)] {
            let sample = drive(&bare, of(threads, in_flight, &vec![7; bytes])).unwrap();
            assert!(!sample.latency_ns.is_empty());
        }
    }
}
