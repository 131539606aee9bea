//! Defines what the user of a pump provides: a [`Host`], which is the network and the state machine, and the
//! options.
//!
//! A host applies only entries that are committed and durable on this node. It may send messages as soon as it
//! gets them. An error of the state machine stops the pump.

use std::fmt;

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, Message};
use raft::{ReadState, SoftState};

use crate::adapters::raft_rs::completions::Wake;
use crate::adapters::raft_rs::error::{Error, HostError};
use crate::snapshots::snap::{Offer, SnapshotId, SnapshotReader};
use crate::snapshots::{Error as SnapshotsError, SnapshotSource, Snapshots, Taken};
use crate::types::Owner;

/// The network and the state machine of a node. The pump calls it on the thread that calls the pump.
pub trait Host {
    /// Sends each message in `messages` to its `to`. Messages may be lost, but should keep their order.
    fn send(&mut self, messages: Vec<Message>);

    /// Applies entries that are committed and durable on this node. Each index comes exactly once and in order,
    /// including the empty entries and membership changes of the core, so the last index is the applied index.
    ///
    /// # Errors
    /// An error means that the state machine cannot continue, and stops the pump.
    fn apply(&mut self, entries: &[Entry]) -> std::result::Result<(), HostError>;

    /// Whether entry `index`, which is applied next, may change the members as `change` says. The default
    /// allows it. If the host refuses, the members stay as they are, and the entry is applied like any other.
    ///
    /// The pump asks on every node of the group, and may ask again after a restart. The answer must therefore
    /// depend only on `change` and on the state after entry `index` - 1; otherwise nodes end up with different
    /// members. The pump does not ask about leaving a joint configuration, which completes a change that was
    /// allowed, nor about a change that the members in the log or in a restored snapshot already include.
    fn allow_change(&mut self, _index: u64, _change: &ConfChangeV2) -> bool {
        true
    }

    /// Entry `index`, which is applied next, made `conf` the members. This is already durable.
    fn members_changed(&mut self, _index: u64, _conf: &ConfState) {}

    /// Entry `index`, which is applied next, requests a membership change that the core does not allow. The
    /// members stay as they are, on this node and on every other.
    fn change_refused(&mut self, _index: u64, _why: &raft::Error) {}

    /// The role of the node, or the leader that it knows, changed.
    fn role_changed(&mut self, _role: &SoftState) {}

    /// Returns a source of the current state, after entry `applied`, for a snapshot that is due. The source is
    /// called on another thread and must not see the effects of later entries. `None` if no snapshot is
    /// possible now; the pump asks again later. Called only if the pump has snapshots.
    fn snapshot_source(&mut self, _applied: u64) -> Option<SnapshotSource> {
        None
    }

    /// Replaces the state with the content of `snapshot`. The log already starts after it, durably. The next
    /// entry to apply is the one after [`SnapshotReader::id`].
    ///
    /// # Errors
    /// An error means that the state machine cannot continue, and stops the pump. The default implementation
    /// fails.
    fn restore(&mut self, _snapshot: &mut SnapshotReader) -> std::result::Result<(), HostError> {
        Err("the state machine takes no snapshots".into())
    }

    /// The leader offers a snapshot that this node needs and does not have; the pump drops `message`. Have
    /// `message.from` send the pieces of `offer` ([`snap::Export`](crate::snapshots::snap::Export)), receive
    /// them with [`Snapshots::receive`] on another thread, then step the message again. Until then, or until
    /// the leader learns through [`Pump::report_snapshot`](super::Pump::report_snapshot) that the transfer
    /// failed, it sends nothing else. It repeats an offer that gets no answer, possibly with a newer snapshot;
    /// ignore further offers during a transfer.
    fn snapshot_offered(&mut self, _offer: &Offer, _message: Message) {}

    /// Reports the result of [`NodeHandle::fetch`](super::NodeHandle::fetch). A failure does not stop the node, and the
    /// core's logger gets it as a warning.
    fn snapshot_fetched(
        &mut self,
        _snapshot: SnapshotId,
        _outcome: &std::result::Result<(), SnapshotsError>,
    ) {
    }

    /// The core refused a snapshot that `from` offered, for instance because this node is not among its
    /// members. Tell `from`, so that its host calls [`Pump::report_snapshot`](super::Pump::report_snapshot) and
    /// it offers another one at once instead of after a delay. The logger of the core has the reason.
    fn snapshot_refused(&mut self, _from: u64, _snapshot: SnapshotId) {}

    /// The pump dropped an append of `from`, which sends it again and again: the append is damaged, or an entry
    /// in it is too large for a record of this log. This node lags while the rest of the group keeps
    /// running. It catches up once its log has larger segments, or with a snapshot that covers the entry. See
    /// [`PumpOptions::entry_bytes_max`].
    fn append_refused(&mut self, _from: u64, _why: &Error) {}

    /// Reports the result of a snapshot. A failure does not stop the pump; it tries again when the next
    /// snapshot is due.
    fn snapshot_taken(&mut self, _outcome: &std::result::Result<Taken, SnapshotsError>) {}

    /// The log has no space ([`Outcome::Stalled`](super::Outcome::Stalled)). Called by [`Pump::run`](super::Pump::run)
    /// when it notices, once until there is space again.
    fn stalled(&mut self, _full: &Error) {}

    /// Delivers the answers to [`Pump::read_index`](super::Pump::read_index).
    fn read_states(&mut self, _states: Vec<ReadState>) {}
}

/// Options of a pump.
#[derive(Clone)]
#[non_exhaustive]
pub struct PumpOptions {
    /// Maximum number of Readys in flight, at least 1 (default 256). Each is a record of its own in the log,
    /// and many share a group commit. The limit bounds the memory that waits for a slow disk.
    pub readys_max: usize,
    /// How the pump tells its owner that something became durable or was read, so that
    /// [`Pump::poll`](super::Pump::poll) has work (default none). An owner that calls
    /// [`Pump::wait`](super::Pump::wait) does not need it, and is faster without it: `poll` with a wake-up has a
    /// thread of the log write, while `wait` writes itself where it may. For an owner that does neither, the log
    /// starts to write after up to 2 ms, or at the next poll.
    pub wake: Option<Wake>,
    /// Whether a thread of the engine reads the entries that a slow peer needs and that are not in memory
    /// (default true), so that nothing else waits for the disk. All groups share that thread, which starts when
    /// it is first needed. Each peer has at most one read in progress, of at most 8 MiB. If false, the thread
    /// that calls the pump reads them. With [`Threads::Stepped`](seawall_wal::Threads::Stepped) there is no
    /// such thread, and [`Pump::wait`](super::Pump::wait) does the reads.
    pub async_fetch: bool,
    /// Maximum size of an entry that may be proposed on this node, in bytes of context and data. The default is
    /// what a record of this log can hold ([`Pump::entry_bytes_max`](super::Pump::entry_bytes_max)). A node
    /// cannot store a larger entry, so a group whose nodes have segments of different sizes must set the limit
    /// of the smallest log on all nodes. A node whose log cannot hold an entry of this size does not start.
    pub entry_bytes_max: Option<usize>,
    /// The owner of the log. The pump compares it with the owner in the log, or stores it if the log has none
    /// ([`Engine::set_owner`](crate::Engine::set_owner)). By default the pump compares the core's id with the
    /// node of the log's owner, if the log has one. Set the owner if the ids of the cores differ from the id of
    /// the node, as when each group has its own ids.
    pub owner: Option<Owner>,
    /// The snapshots of the group, opened by [`Snapshots::open`], which also returns the value for
    /// `Config::applied`. With none, the default, no snapshot is taken, sent or installed.
    pub snapshots: Option<Snapshots>,
    /// The logger of the core. By default, warnings and errors go to standard error, one line each, because the
    /// core reports some faults in no other way. `slog::Logger::root(slog::Discard, slog::o!())` discards them.
    pub logger: Option<slog::Logger>,
}

impl Default for PumpOptions {
    fn default() -> PumpOptions {
        PumpOptions {
            readys_max: 256,
            wake: None,
            async_fetch: true,
            entry_bytes_max: None,
            owner: None,
            snapshots: None,
            logger: None,
        }
    }
}

seawall_wal::disk::setters!(PumpOptions {
    readys_max: usize => with_readys_max,
    wake: Option<Wake> => with_wake,
    async_fetch: bool => with_async_fetch,
    entry_bytes_max: Option<usize> => with_entry_bytes_max,
    owner: Option<Owner> => with_owner,
    snapshots: Option<Snapshots> => with_snapshots,
    logger: Option<slog::Logger> => with_logger,
});

impl fmt::Debug for PumpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PumpOptions")
            .field("readys_max", &self.readys_max)
            .field("async_fetch", &self.async_fetch)
            .finish_non_exhaustive()
    }
}
