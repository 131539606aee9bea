//! Connects the snapshot messages of the core with the group's catalog: offers, checks, installs and takes
//! snapshots.
//!
//! The core gets a snapshot only if it is in the catalog and verified, so a Ready with a snapshot can be
//! written at once. Messages are checked first, because the core would panic at invalid ones (INV-9). A refusal
//! does not stop the pump.

use std::collections::BTreeSet;

use raft::eraftpb::{self, Message};

use crate::adapters::raft_rs::error::{Error, Result, SnapshotFault};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;
use crate::adapters::raft_rs::snapshot_offer::{core_members, id};
use crate::snapshots::Error as SnapshotsError;
use crate::snapshots::snap::{Offer, SnapshotId};
use crate::types::INDEX_MAX;

/// How to handle a message with a snapshot.
#[derive(Debug)]
pub(in crate::adapters::raft_rs) enum Snapshot {
    /// Pass it to the core: the snapshot is in the catalog, or is not needed.
    Step,
    /// Fetch the snapshot first.
    Fetch(Offer),
}

/// Whether the members are consistent; the core panics at others.
fn sound(conf: &eraftpb::ConfState) -> bool {
    let once = |list: &[u64]| {
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).all(|pair| pair.first() != pair.last()) && !sorted.contains(&0)
    };
    let (voters, learners) = (&conf.voters[..], &conf.learners[..]);
    let (outgoing, next) = (&conf.voters_outgoing[..], &conf.learners_next[..]);
    let set = |list: &[u64]| list.iter().copied().collect::<BTreeSet<u64>>();
    let apart = |list: &[u64], other: &[u64]| set(list).is_disjoint(&set(other));
    !voters.is_empty()
        && [voters, learners, outgoing, next].into_iter().all(once)
        && apart(learners, voters)
        && apart(learners, outgoing)
        && apart(next, voters)
        && set(next).is_subset(&set(outgoing))
        && (!outgoing.is_empty() || !conf.auto_leave)
}

/// The members in a canonical order.
fn sorted(conf: &eraftpb::ConfState) -> eraftpb::ConfState {
    let mut conf = conf.clone();
    for list in [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next] {
        list.sort_unstable();
    }
    conf
}

impl<H: Host> Pump<H> {
    /// Checks a message with a snapshot before the core gets it.
    pub(in crate::adapters::raft_rs) fn judge_snapshot(&mut self, message: &Message) -> Result<Snapshot> {
        let from = message.from;
        let Some(snapshots) = &self.snapshots else { return Err(Error::Snapshot { from }) };
        let refused = |fault| Err(Error::SnapshotMessage { from, fault });
        let metadata = message.get_snapshot().get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        if index == 0 || index > INDEX_MAX || term == 0 || term > message.term {
            return refused(SnapshotFault::Entry { index, term });
        }
        if !sound(metadata.get_conf_state()) {
            return refused(SnapshotFault::Members);
        }
        let raft = &self.node.raft;
        let known = index <= raft.raft_log.committed || raft.raft_log.match_term(index, term);
        let conf = metadata.get_conf_state();
        let member = [&conf.voters, &conf.learners, &conf.voters_outgoing];
        let member = member.into_iter().any(|list| list.contains(&raft.id));
        if message.term < raft.term || known || !member {
            // The core answers these without the content: it refuses a snapshot that does not have this node as
            // a member.
            return Ok(Snapshot::Step);
        }
        let offer = match Offer::decode(&message.get_snapshot().data) {
            Ok(offer) => offer,
            Err(fault) => return refused(SnapshotFault::Offer(fault)),
        };
        let id = id(self.store.group().id(), metadata);
        if offer.id() != id {
            return refused(SnapshotFault::Another);
        }
        if !snapshots.has(&offer)? {
            return Ok(Snapshot::Fetch(offer));
        }
        let reader = snapshots.catalog().reader(id).map_err(SnapshotsError::from)?;
        let members = snapshots.members(&reader)?.map(|members| sorted(&core_members(&members)));
        if members.as_ref() != Some(&sorted(metadata.get_conf_state())) {
            return refused(SnapshotFault::Members);
        }
        // Pinned from here on, because the Ready that brings it back must find it.
        self.incoming = Some(reader.pin());
        Ok(Snapshot::Step)
    }

    /// Tells the host if the core dropped snapshot `id` of `from`. Called after the core has got it.
    pub(in crate::adapters::raft_rs) fn check_restored(&mut self, from: u64, id: SnapshotId) {
        if self.node.raft.raft_log.committed < id.index {
            self.incoming.take_if(|pin| pin.id() == id);
            self.host.snapshot_refused(from, id);
        }
        if self.node.raft.raft_log.unstable.snapshot.is_some() {
            // The snapshot brings these entries to the state machine. The core has the snapshot's members now,
            // and must not get earlier changes.
            self.committed.clear();
            self.settling = None;
        }
    }

    /// Has the state machine load the newest of the snapshots in Readys up to `number`, which are durable.
    pub(in crate::adapters::raft_rs) fn restore(&mut self, number: u64) -> Result<()> {
        let durable = self.installing.iter().take_while(|(ready, _)| *ready <= number).count();
        let Some((_, pin)) = self.installing.drain(..durable).next_back() else { return Ok(()) };
        let Some(snapshots) = &self.snapshots else { return Ok(()) };
        let mut reader = snapshots.installed(pin.id())?;
        self.host.restore(&mut reader).map_err(|error| Error::Host(error.into()))?;
        self.applied = pin.id().index;
        self.conf_index = self.conf_index.max(self.applied);
        self.node.advance_apply_to(self.applied);
        self.check_store()
    }

    /// Starts a snapshot if one is due and everything that it must cover is applied. Also reports the result of
    /// the last one.
    pub(in crate::adapters::raft_rs) fn take_snapshot(&mut self) {
        let Some(snapshots) = &self.snapshots else { return };
        if let Some(outcome) = snapshots.outcome() {
            self.host.snapshot_taken(&outcome);
        }
        // After a restart the members are those at the end of the log, until the state machine has caught up.
        let whole =
            self.committed.is_empty() && self.installing.is_empty() && self.conf_index <= self.applied;
        if !whole || !snapshots.due(self.applied) {
            return;
        }
        let Some(dump) = self.host.snapshot_source(self.applied) else { return };
        match snapshots.start(self.applied, b"", dump) {
            Err(error) => self.host.snapshot_taken(&Err(error)),
            Ok(()) => {
                if let Some(outcome) = snapshots.outcome() {
                    self.host.snapshot_taken(&outcome);
                }
            }
        }
    }
}
