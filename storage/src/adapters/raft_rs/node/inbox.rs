//! The input of a node's thread: messages of peers, and calls of other threads.
//!
//! The number and the size of the waiting messages is bounded. A message beyond the bound is dropped, which Raft allows.
//! Calls are not bounded; each has a caller that waits for it.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use protobuf::Message as _;
use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType};
use seawall_wal::notify::Bell;

use crate::adapters::raft_rs::completions::Wake;
use crate::adapters::raft_rs::error::Result;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::node::pending::{Pending, pending};
use crate::adapters::raft_rs::pump::Pump;
use crate::snapshots::snap::{Offer, SnapshotId};
use crate::snapshots::{self, Snapshots};

/// Largest number of waiting messages, and of their bytes.
const MESSAGES_MAX: usize = 4096;
const BYTES_MAX: usize = 64 << 20;

/// Most inputs that are taken before the pump runs.
const BATCH: usize = 1024;

pub(in crate::adapters::raft_rs) type Call<H> = Box<dyn FnOnce(&mut Pump<H>) + Send>;

enum Input<H: Host> {
    Message(Box<Message>, usize),
    Call(Call<H>),
}

/// Reaches a node from other threads. A clone reaches the same node.
pub struct NodeHandle<H: Host> {
    inputs: Sender<Input<H>>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The snapshots of the node, until its inbox is dropped: a handle that outlives the node must not keep their directory
    /// locked.
    snapshots: Mutex<Option<Snapshots>>,
    /// Rung for each input, and by the log when a write is durable.
    bell: Arc<Bell>,
}

/// The inputs of a node; see [`Pump::run`](crate::adapters::raft_rs::Pump::run).
pub struct Inbox<H: Host> {
    inputs: Receiver<Input<H>>,
    waiting: Arc<Waiting>,
}

/// Returns a handle of a node that is still to be made, with the snapshots that its pump will have, and the inputs that
/// its pump will get.
///
/// Users of [`Node::open`](crate::adapters::raft_rs::Node::open) do not need it.
pub fn inbox<H: Host>(snapshots: Option<Snapshots>) -> (NodeHandle<H>, Inbox<H>) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(Waiting { snapshots: Mutex::new(snapshots), ..Waiting::default() });
    (NodeHandle { inputs: sender, waiting: Arc::clone(&waiting) }, Inbox { inputs: receiver, waiting })
}

impl<H: Host> NodeHandle<H> {
    /// Gives a peer's message to the node, which steps it and drops it if the core refuses it. Returns whether the node
    /// takes it: false if it has ended, or if 4096 messages or 64 MiB of them are waiting.
    pub fn step(&self, message: Message) -> bool {
        let bytes = usize::try_from(message.compute_size()).unwrap_or(usize::MAX).min(BYTES_MAX);
        let Waiting { messages, bytes: sum, .. } = &*self.waiting;
        if messages.load(Ordering::Relaxed) >= MESSAGES_MAX || sum.load(Ordering::Relaxed) >= BYTES_MAX {
            return false;
        }
        messages.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(bytes, Ordering::Relaxed);
        self.input(Input::Message(Box::new(message), bytes))
    }

    /// Sends a snapshot to the peer that calls [`NodeHandle::fetch`] at the other end of `stream` ([`Snapshots::send`]).
    ///
    /// # Errors
    /// As [`Snapshots::send`].
    pub fn send_snapshot(&self, stream: &mut (impl Read + Write)) -> Result<()> {
        let snapshots = self.waiting.snapshots.lock().clone();
        snapshots.map_or(Ok(()), |snapshots| snapshots.send(stream).map(drop)).map_err(Into::into)
    }

    /// Fetches the snapshot that `message` offers ([`Snapshots::fetch`]) from the peer to which `open` connects, on a thread
    /// of its own, and then gives `message` to the node, which installs it. Call it in [`Host::snapshot_offered`]. The host
    /// learns the result ([`Host::snapshot_fetched`]); after a failure the leader offers a snapshot again by itself.
    pub fn fetch<S: Read + Write>(
        &self,
        offer: &Offer,
        message: Message,
        open: impl FnOnce() -> io::Result<S> + Send + 'static,
    ) where
        H: 'static,
    {
        let (node, offer) = (self.clone(), *offer);
        let fetch = move || {
            let fetched = node.fetch_from(&offer, open);
            if fetched.is_ok() {
                node.step(message);
            }
            node.send(Box::new(move |pump| pump.fetched(offer.id(), &fetched)));
        };
        if let Err(error) = std::thread::Builder::new().name("seawall-fetch".into()).spawn(fetch) {
            let failed = Err(snapshots::Error::Stream(Arc::new(error)));
            self.send(Box::new(move |pump| pump.fetched(offer.id(), &failed)));
        }
    }

    fn fetch_from<S: Read + Write>(
        &self,
        offer: &Offer,
        open: impl FnOnce() -> io::Result<S>,
    ) -> std::result::Result<(), snapshots::Error> {
        let Some(snapshots) = self.waiting.snapshots.lock().clone() else { return Ok(()) };
        let mut stream = open().map_err(|error| snapshots::Error::Stream(Arc::new(error)))?;
        snapshots.fetch(offer, &mut stream)
    }

    /// Tells the node that `message` did not reach its peer: the connection failed, or a queue was full. Without this a
    /// leader keeps sending to a peer that is gone, and sends nothing else to a peer whose snapshot was lost.
    pub fn not_sent(&self, message: &Message) {
        let (to, snapshot) = (message.to, message.get_msg_type() == MessageType::MsgSnapshot);
        self.send(Box::new(move |pump| {
            // The error that stops a pump is returned by its next poll.
            let _ = match snapshot {
                true => pump.report_snapshot(to, SnapshotStatus::Failure),
                false => pump.report_unreachable(to),
            };
        }));
    }

    /// Calls `call` with the pump, on the thread of the node. The answer is what it returns.
    pub fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Pump<H>) -> T + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = pending();
        self.send(Box::new(move |pump| answer.give(Ok(call(pump)))));
        pending
    }

    /// Calls `read` with the host, on the thread of the node, once its state includes everything that is committed now
    /// in the group ([`Pump::read`]). The answer is what it returns.
    pub fn read<T: Send + 'static>(&self, read: impl FnOnce(&H) -> T + Send + 'static) -> Pending<T> {
        let (answer, pending) = pending();
        self.send(Box::new(move |pump| pump.read(|host| answer.give(host.map(read)))));
        pending
    }

    /// Stops the node ([`Pump::stop`]). [`Pump::run`] then returns, after `ticks` ticks at the latest.
    pub fn stop(&self, ticks: u64) -> Pending<Result<()>> {
        self.call(move |pump| pump.stop(ticks).map(drop))
    }

    /// The wake-up for [`PumpOptions::wake`](crate::adapters::raft_rs::PumpOptions::wake) of a pump that
    /// [`Pump::run`](crate::adapters::raft_rs::Pump::run) is to run.
    pub fn wake(&self) -> Wake {
        Wake::Bell(Arc::clone(&self.waiting.bell))
    }

    /// If the node has ended, the call is dropped.
    pub(in crate::adapters::raft_rs) fn send(&self, call: Call<H>) {
        self.input(Input::Call(call));
    }

    /// Returns false if the node has ended.
    fn input(&self, input: Input<H>) -> bool {
        let sent = self.inputs.send(input).is_ok();
        self.waiting.bell.ring();
        sent
    }
}

impl<H: Host> Pump<H> {
    /// Reports the result of a fetch.
    fn fetched(&mut self, snapshot: SnapshotId, outcome: &std::result::Result<(), snapshots::Error>) {
        if let Err(error) = outcome {
            slog::warn!(self.logger, "a snapshot was not fetched"; "snapshot" => %snapshot, "error" => %error);
        }
        self.host.snapshot_fetched(snapshot, outcome);
    }
}

impl<H: Host> Inbox<H> {
    /// How often an input came or a write became durable; for [`Inbox::wait`].
    pub(in crate::adapters::raft_rs) fn rung(&self) -> u32 {
        self.waiting.bell.rung()
    }

    /// Waits until something has happened since [`Inbox::rung`] returned `rung`, for up to `timeout`.
    pub(in crate::adapters::raft_rs) fn wait(&self, rung: u32, timeout: Duration) {
        self.waiting.bell.wait(rung, Some(timeout));
    }

    /// Gives waiting inputs to `pump`; returns whether there were any. The pump drops messages that it refuses.
    pub(in crate::adapters::raft_rs) fn serve(&self, pump: &mut Pump<H>) -> bool {
        let mut served = false;
        for input in self.inputs.try_iter().take(BATCH) {
            served = true;
            match input {
                Input::Message(message, bytes) => {
                    self.waiting.messages.fetch_sub(1, Ordering::Relaxed);
                    self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    // The error that stops a pump is returned by its next poll.
                    let _ = pump.step(*message);
                }
                Input::Call(call) => call(pump),
            }
        }
        served
    }
}

impl<H: Host> Drop for Inbox<H> {
    fn drop(&mut self) {
        self.waiting.snapshots.lock().take();
    }
}

impl<H: Host> Clone for NodeHandle<H> {
    fn clone(&self) -> NodeHandle<H> {
        NodeHandle { inputs: self.inputs.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

impl<H: Host> fmt::Debug for NodeHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle")
            .field("messages_waiting", &self.waiting.messages.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl<H: Host> fmt::Debug for Inbox<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}
