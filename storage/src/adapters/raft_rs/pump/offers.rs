//! Repeats snapshot offers of a leader that got no answer.
//!
//! The core sends a peer nothing else until it gets a report about the snapshot. The offer, the answer and the
//! installation can all be lost unnoticed, and repeating an offer is cheap.

use raft::{ProgressState, SnapshotStatus, StateRole};

use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;

/// Minimum time before an offer is repeated, in election timeouts. The maximum is twice as long.
const PATIENCE: usize = 10;

impl<H: Host> Pump<H> {
    /// Counts a tick. At intervals, reports those offers to the core as failed that were pending at the
    /// previous check as well.
    pub(in crate::adapters::raft_rs) fn repeat_offers(&mut self) {
        let raft = &self.node.raft;
        self.offers.ticks += 1;
        if self.offers.ticks < PATIENCE * raft.election_timeout() {
            return;
        }
        self.offers.ticks = 0;
        let mut pending = Vec::new();
        if raft.state == StateRole::Leader {
            let waits = |state| state == ProgressState::Snapshot;
            let waiting = raft.prs().iter().filter(|(_, progress)| waits(progress.state));
            pending.extend(waiting.map(|(peer, progress)| (*peer, progress.pending_snapshot)));
        }
        for (peer, _) in pending.iter().filter(|offer| self.offers.pending.contains(offer)) {
            self.node.report_snapshot(*peer, SnapshotStatus::Failure);
        }
        self.offers.pending = pending;
    }
}
