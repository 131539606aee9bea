//! The state of a pump, and what every step of it needs: the error that stopped it, checks, and queries.

mod pending_readys;
mod read_requests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use raft::eraftpb::Entry;
use raft::{Raft, RawNode, Ready, SnapshotStatus};
use seawall_wal::Ticket;

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::outcome::PumpStats;
use crate::adapters::raft_rs::storage::GroupStorage;
use crate::adapters::raft_rs::storage::async_fetch::AsyncFetches;
use crate::error::Error as EngineError;
use crate::snapshots::Snapshots;
use crate::snapshots::snap::Pin;
use crate::write::WriteBatch;
pub(super) use pending_readys::PendingReadys;
pub(super) use read_requests::Reads;

/// A Raft node on a group of an engine: the core, its log, and a [`Host`].
///
/// A pump has no thread. Its owner calls [`Pump::poll`] after each step, proposal or tick, and when
/// [`PumpOptions::wake`](crate::adapters::raft_rs::PumpOptions::wake) was signalled; or [`Pump::wait`], which blocks.
pub struct Pump<H: Host> {
    pub(super) node: RawNode<GroupStorage>,
    pub(super) store: GroupStorage,
    pub(in crate::adapters::raft_rs) host: H,
    pub(super) flight: PendingReadys,
    pub(super) fetches: Option<Arc<AsyncFetches>>,
    pub(super) batch: WriteBatch,
    pub(super) readys_max: usize,
    /// [`PumpOptions::entry_bytes_max`](crate::adapters::raft_rs::PumpOptions::entry_bytes_max): the limit that
    /// the group has agreed on.
    pub(super) entry_bytes_max: Option<usize>,
    pub(super) applied: u64,
    /// The members that the core started with include the membership changes up to this entry.
    pub(super) conf_index: u64,
    pub(super) snapshots: Option<Snapshots>,
    /// Pins the last snapshot that the core got, until it is installed.
    pub(super) incoming: Option<Pin>,
    /// Snapshots whose Readys were written to the log, with the numbers of those Readys. The state machine
    /// loads them once the Readys are durable.
    pub(super) installing: VecDeque<(u64, Pin)>,
    /// A Ready that found the disk full. It is written before anything else.
    pub(super) stalled: Option<Ready>,
    /// How much of `stalled` the log already has.
    pub(super) part: Part,
    /// Committed entries that are not applied yet.
    pub(super) committed: Vec<Entry>,
    /// Members that the core has adopted and that could not be written because the disk was full. The first of
    /// `committed` made them.
    pub(super) changing: Option<raft::eraftpb::ConfState>,
    /// Members that are written to the log but not durable yet. The first of `committed` made them.
    pub(super) settling: Option<(raft::eraftpb::ConfState, Ticket)>,
    /// The last snapshot report for each peer, until the core can take it.
    pub(super) reports: Vec<(u64, SnapshotStatus)>,
    pub(super) stats: PumpStats,
    /// Whether the last call was a poll that found nothing to do.
    pub(super) idle: bool,
    pub(super) stopping: Option<Stopping>,
    /// Ticks that came while the disk was full and the core could not be called.
    pub(super) late_ticks: usize,
    pub(super) offers: Offers,
    pub(super) leaving: Leaving,
    /// The logger of the core.
    pub(in crate::adapters::raft_rs) logger: slog::Logger,
    /// [`Pump::read`].
    pub(super) reads: Reads<H>,
    pub(super) stopped: Option<Error>,
}

/// How much of a Ready that needs several records the log already has.
#[derive(Default)]
pub(super) struct Part {
    /// Whether the log has the snapshot.
    pub(super) installed: bool,
    /// Number of entries that the log has.
    pub(super) entries: usize,
}

/// A stop in progress.
#[derive(Default, Debug)]
pub(super) struct Stopping {
    /// Ticks until the pump ends regardless of what is left.
    pub(super) ticks_left: u64,
    /// Members that were asked to lead in this round and did not take over within an election timeout.
    pub(super) asked: Vec<u64>,
}

/// Offers without an answer.
#[derive(Default)]
pub(super) struct Offers {
    pub(super) ticks: usize,
    /// Peers that had no answer at the last check, with the index of the snapshot.
    pub(super) pending: Vec<(u64, u64)>,
}

/// The result of the last search of the log, and the values that it depends on.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Leaving {
    pub(super) term: u64,
    pub(super) pending_index: u64,
    pub(super) takes_vote: bool,
}

impl<H: Host> Pump<H> {
    // ---- errors ----------------------------------------------------------------------------------

    pub(super) fn running(&self) -> Result<()> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    pub(super) fn check_store(&self) -> Result<()> {
        self.store.fault().map_or(Ok(()), Err)
    }

    /// Checks the ends of the log. The group belongs to the pump: if other code removed or truncated it, or
    /// compacted entries that are still to be applied, the core would panic or skip them.
    pub(super) fn check_ends(&self) -> Result<()> {
        let group = self.store.group();
        let (point, last_index, applied) = (group.compaction_point().0, group.last_index(), self.applied);
        // While a snapshot is being installed, the state machine lags the log, or the log lags the core.
        if applied < point && self.installing.is_empty() {
            return Err(Error::Applied { applied, point, last_index });
        }
        if self.node.raft.raft_log.unstable.snapshot.is_some() {
            return Ok(());
        }
        let stable = self.node.raft.raft_log.unstable.offset - 1;
        if last_index < stable {
            return Err(EngineError::Unavailable { group: group.id(), index: stable, last_index }.into());
        }
        Ok(())
    }

    /// Stops the pump for good on an error, except for back-pressure (a full disk, no file descriptor
    /// left) that left a write to be repeated.
    pub(super) fn latched<T>(&mut self, result: Result<T>) -> Result<T> {
        match &result {
            Err(error) if error.is_back_pressure() && self.is_stalled() => self.stats.stalls += 1,
            Err(error) => {
                self.stopped = Some(error.clone());
                self.fail_reads(error);
            }
            Ok(_) => {}
        }
        result
    }

    /// Fails all reads.
    pub(super) fn fail_reads(&mut self, why: &Error) {
        for read in self.reads.take() {
            read(Err(why.clone()));
        }
    }

    /// Whether there is nothing to do and nothing in flight.
    pub(super) fn at_rest(&self) -> bool {
        let nothing_in_flight = self.flight.len() == 0 && self.installing.is_empty();
        nothing_in_flight && !self.is_stalled() && self.committed.is_empty() && !self.node.has_ready()
    }

    /// Whether a full disk left a write to be repeated.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some() || self.changing.is_some()
    }

    /// Whether the group has no other voter.
    pub(super) fn is_only_voter(&self) -> bool {
        let raft = &self.node.raft;
        raft.prs().conf().voters().ids().iter().all(|voter| voter == raft.id)
    }

    // ---- queries ---------------------------------------------------------------------------------

    /// The core, for inspection: term, role, leader, progress of the peers.
    pub fn raft(&self) -> &Raft<GroupStorage> {
        &self.node.raft
    }

    /// The host: the network and the state machine.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The host, mutably.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// The last index that the state machine has applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Maximum size of an entry that may be proposed on this node, in bytes of context and data:
    /// [`PumpOptions::entry_bytes_max`](crate::adapters::raft_rs::PumpOptions::entry_bytes_max), if set, or else
    /// what a record of this log can hold, which depends on the segment size. Nodes can exchange their values and
    /// agree on the smallest.
    ///
    /// # Errors
    /// An error of the engine if it is closed.
    pub fn entry_bytes_max(&self) -> Result<usize> {
        let max = self.store.engine().entry_bytes_max()?.saturating_sub(codec::OVERHEAD_BYTES);
        Ok(self.entry_bytes_max.map_or(max, |agreed| agreed.min(max)))
    }

    /// Counters of this pump.
    pub fn stats(&self) -> PumpStats {
        self.stats
    }

    /// The error that stopped the pump, if one did. The calls that drive it return the same error.
    pub fn stopped(&self) -> Option<&Error> {
        self.stopped.as_ref()
    }

    /// Number of Readys that are not durable yet, plus 1 for a membership change that is not.
    pub fn in_flight(&self) -> usize {
        self.flight.len() + usize::from(self.settling.is_some())
    }

    /// Returns the host. Writes in flight may still become durable, but none of their messages is sent.
    pub fn into_host(self) -> H {
        self.host
    }
}

impl<H: Host> fmt::Debug for Pump<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump")
            .field("group", &self.store.group().id())
            .field("applied", &self.applied)
            .field("flight", &self.flight)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
