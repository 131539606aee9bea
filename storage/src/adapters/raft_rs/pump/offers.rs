//! Snapshots that a leader offered and heard nothing of: they are offered again.
//!
//! The core sends a peer nothing else until it hears of the snapshot. The offer, the answer, and the peer that installs
//! it can all be lost without anybody noticing, and an offer costs nothing.

use raft::{ProgressState, SnapshotStatus, StateRole};

use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;

/// Election timeouts after which an offer is repeated at the earliest; at the latest it is after twice as many.
const PATIENCE: usize = 10;

/// Offers without an answer.
#[derive(Default)]
pub(in crate::adapters::raft_rs) struct Offers {
    ticks: usize,
    /// Peers that were waited for at the last look, with the index of the snapshot.
    pending: Vec<(u64, u64)>,
}

impl<H: Host> Pump<H> {
    /// Counts a tick; at times, tells the core that the offers failed which were there the last time already.
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
