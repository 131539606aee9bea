//! What the user of a pump brings: the network and the state machine, and options.
//! Place on the data's way: both ends of it, above the core. Invariants: what a host is given to apply is
//! committed and durable on this node; what it is given to send may leave at once.
//! Fails: as the state machine does, and that stops the pump.

use std::fmt;

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, Message};
use raft::{ReadState, SoftState};

use crate::adapters::raft_rs::error::{Error, HostError};
use crate::adapters::raft_rs::pump::completions::Wake;
use crate::snapshots::snap::{Offer, SnapshotId, SnapshotReader};
use crate::snapshots::{Error as SnapshotsError, SnapshotSource, Snapshots, Taken};
use crate::types::Owner;

/// What a pump drives: the network and the state machine. Called on the thread that calls the pump.
pub trait Host {
    /// Sends `messages`, each to its `to`. They may be lost; they should keep their order.
    fn send(&mut self, messages: Vec<Message>);

    /// Applies entries that are committed, and durable here: every index once and in order, the core's
    /// own empty entries and membership changes included, so that the last index is the applied one.
    ///
    /// # Errors
    /// Whatever keeps the state machine from going on: it stops the pump.
    fn apply(&mut self, entries: &[Entry]) -> std::result::Result<(), HostError>;

    /// Whether entry `index`, which is applied next, may change the members as `change` says; yes by default. If not, the
    /// members stay as they are, and the entry is applied like any other.
    ///
    /// Every node of the group is asked, and one that restarts may be asked again, so the answer must depend on `change`
    /// and on the state behind entry `index` - 1 alone: nodes that answer differently have different members. Not asked
    /// about leaving a joint configuration, which completes a change that was allowed, nor about a change that the log's
    /// members or a restored snapshot have already.
    fn allow_change(&mut self, _index: u64, _change: &ConfChangeV2) -> bool {
        true
    }

    /// Entry `index`, which is applied next, made `conf` the members; durable already.
    fn members_changed(&mut self, _index: u64, _conf: &ConfState) {}

    /// Entry `index`, which is applied next, would change the members in a way that the core does not allow. The members
    /// stay as they are, here as on every node.
    fn change_refused(&mut self, _index: u64, _why: &raft::Error) {}

    /// The node's role, or the leader it knows, changed.
    fn role_changed(&mut self, _role: &SoftState) {}

    /// Gives the state as it is now, behind entry `applied`, for a snapshot that is due; what it returns is called on
    /// another thread, so it must not be reached by what is applied later. `None` if that is not possible now: it
    /// is asked again. Only called if the pump has snapshots.
    fn snapshot_source(&mut self, _applied: u64) -> Option<SnapshotSource> {
        None
    }

    /// Makes the content of `snapshot` the state, instead of what it was; the log starts behind it already, durably.
    /// The next entry to apply is the one behind [`SnapshotReader::id`].
    ///
    /// # Errors
    /// Whatever keeps the state machine from going on: it stops the pump. So does the default.
    fn restore(&mut self, _snapshot: &mut SnapshotReader) -> std::result::Result<(), HostError> {
        Err("the state machine takes no snapshots".into())
    }

    /// The leader offers a snapshot that this node needs and does not have: `message` is dropped. Have the pieces of
    /// `offer` sent by `message.from` ([`snap::Export`](crate::snapshots::snap::Export)) and received by
    /// [`Snapshots::receive`], on another thread; then step the message again. The leader sends nothing else until
    /// then, or until its [`Pump::report_snapshot`](super::Pump::report_snapshot) is told that it failed. It repeats an offer
    /// of which it hears nothing, with a newer snapshot perhaps; ignore what comes while you fetch.
    fn snapshot_offered(&mut self, _offer: &Offer, _message: Message) {}

    /// The core refused a snapshot that `from` offered: this node is not among its members, for instance. Tell `from`, whose
    /// host says [`Pump::report_snapshot`](super::Pump::report_snapshot), so that it offers another one at once and not
    /// after a while. The core's logger has the reason.
    fn snapshot_refused(&mut self, _from: u64, _snapshot: SnapshotId) {}

    /// An append of `from` was dropped, which sends it again and again: an entry of it is larger than a record of this
    /// node's log can be, or the message is damaged. This node falls behind, and the group runs on with the others. It
    /// catches up once its log has larger segments, or from a snapshot beyond that entry. See
    /// [`PumpOptions::entry_bytes_max`].
    fn append_refused(&mut self, _from: u64, _why: &Error) {}

    /// What became of a snapshot that was taken. A failure stops nothing: it is tried again when the next is due.
    fn snapshot_taken(&mut self, _outcome: &std::result::Result<Taken, SnapshotsError>) {}

    /// Answers to [`Pump::read_index`](super::Pump::read_index).
    fn read_states(&mut self, _states: Vec<ReadState>) {}
}

/// Options of a pump.
#[derive(Clone)]
pub struct PumpOptions {
    /// Readys that may be in flight, at least 1; default 256. Each is a record of its own in the log, and
    /// many share a group commit; the bound keeps what waits for a slow disk from growing.
    pub readys_max: usize,
    /// How the owner hears that something became durable or was read, so that [`Pump::poll`](super::Pump::poll) has
    /// work; not needed by one that calls [`Pump::wait`](super::Pump::wait). None by default.
    pub wake: Option<Wake>,
    /// Whether entries for a peer that is behind, and that memory does not have, are read by a thread of the engine, so
    /// that nothing else waits for the disk; on by default. The thread is one for all groups, and is started when
    /// it is first needed. At most one read is under way for each peer, of at most 8 MiB. Without, the thread that
    /// calls the pump reads them. With [`Threads::Stepped`](seawall_wal::Threads::Stepped) there is no thread:
    /// [`Pump::wait`](super::Pump::wait) reads.
    pub async_fetch: bool,
    /// Most bytes of an entry that may be proposed here, its context included; by default what a record of this node's log
    /// can hold ([`Pump::entry_bytes_max`](super::Pump::entry_bytes_max)). A group whose nodes have segments of different
    /// sizes must agree on what the smallest log can hold, since a node cannot store an entry that is larger:
    /// give the same number on all nodes. A node whose log cannot hold it does not start.
    pub entry_bytes_max: Option<usize>,
    /// Whose log the engine's is, for the pump to compare, and to say where the log does not say it
    /// ([`Engine::set_owner`](crate::Engine::set_owner)). By default the pump compares the core's id with the node of the
    /// log's owner, if it has one: give the owner if the ids of the cores are not the node's, as where each group
    /// has its own.
    pub owner: Option<Owner>,
    /// The group's snapshots, whose [`Snapshots::open`] said where `Config::applied` is; none by default: then
    /// none are taken, sent or installed.
    pub snapshots: Option<Snapshots>,
    /// Where the core logs to. By default its warnings and errors are written to standard error, a line each: it reports
    /// some faults in no other way. `slog::Logger::root(slog::Discard, slog::o!())` discards them.
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

impl fmt::Debug for PumpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PumpOptions")
            .field("readys_max", &self.readys_max)
            .field("fetch_beside", &self.async_fetch)
            .finish_non_exhaustive()
    }
}
