//! Every way the adapter can fail, sorted by who must act.
//! Place on the data's way: returned by the pump's calls; kept by a pump that stopped, and given again.
//! Invariants: cheap to clone; says whether the pump goes on. The engine's errors come through unchanged.
//! An error of the core that concerns one message or proposal stops nothing.

use std::sync::Arc;

use crate::error::Error as EngineError;
use crate::raft_rs::codec::CodecError;
use crate::types::GroupId;

/// What a state machine may fail with.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a call of the adapter failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller: nothing happened, and the pump goes on.
    /// The core refused: a proposal without a leader, a message of an unknown peer, an invalid config.
    #[error("the core refused: {0}")]
    Core(Arc<raft::Error>),
    /// A message asks for what the adapter cannot do yet: snapshots.
    #[error("a snapshot from {from}: snapshots are not supported")]
    Snapshot {
        /// The peer that sent it.
        from: u64,
    },
    /// The group has entries or members already, or the members given cannot start a group.
    #[error("group {group} cannot be bootstrapped: {reason}")]
    Bootstrap {
        /// The group.
        group: GroupId,
        /// What is in the way.
        reason: &'static str,
    },
    /// The group has no members: [`GroupStorage::bootstrap`](super::GroupStorage::bootstrap) it first.
    #[error("group {group} has no members")]
    NoMembers {
        /// The group.
        group: GroupId,
    },
    /// `readys_max` of [`PumpOptions`](super::PumpOptions) is 0.
    #[error("option readys_max is 0; it must be at least 1")]
    NoReadys,
    /// Compaction beyond what is applied.
    #[error("index {index} is not applied yet, {applied} is")]
    NotApplied {
        /// The index asked for.
        index: u64,
        /// The last index applied.
        applied: u64,
    },

    // The operator: state machine and log do not belong together, or the log is damaged.
    /// The state machine is behind the start of the log, or ahead of its end: entries are missing.
    #[error("applied index {applied} does not lie between the compaction point {point} and {last_index}")]
    Applied {
        /// `Config::applied`, which is the state machine's.
        applied: u64,
        /// Index of the compaction point.
        point: u64,
        /// Last index of the log.
        last_index: u64,
    },
    /// The payload of an entry was not written by this adapter.
    #[error("group {group}: entry {index} is not one of the core's")]
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The state machine failed; the entry in question counts as not applied.
    #[error("the state machine failed: {0}")]
    Host(Arc<dyn std::error::Error + Send + Sync>),

    /// The engine or its log failed. Only [`Error::is_no_space`] leaves the pump running.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Error {
    /// Whether the disk was full. Nothing is lost: the same call works again once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Engine(EngineError::Log(seawall_wal::Error::NoSpace { .. })))
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Error {
        Error::Core(Arc::new(error))
    }
}
