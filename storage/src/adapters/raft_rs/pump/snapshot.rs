//! Snapshots between the core's messages and the group's catalog: offered, judged, installed, taken.
//! Place on the data's way: beside the pump's loop. Invariants: the core is given a snapshot only when it is here and
//! was verified, so a Ready with one can be written at once; what a message says is checked before the core, which
//! would panic, sees it (INV-9). Fails: with a refusal, which stops nothing; or with what stops the pump.

use std::collections::BTreeSet;

use raft::eraftpb::{self, Message};

use crate::adapters::raft_rs::error::{Error, Result, SnapshotFault};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;
use crate::adapters::raft_rs::snapshot_offer::{core_members, id};
use crate::snapshots::Error as SnapshotsError;
use crate::snapshots::snap::{Offer, SnapshotId};
use crate::types::INDEX_MAX;

/// What is to be done with a snapshot's message.
#[derive(Debug)]
pub(in crate::adapters::raft_rs) enum Snapshot {
    /// The core decides: the snapshot is here, or is not needed.
    Step,
    /// It has to be fetched first.
    Fetch(Offer),
}

/// Whether the core can be given these members: it panics at others.
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

/// The members without the order in which they are named.
fn sorted(conf: &eraftpb::ConfState) -> eraftpb::ConfState {
    let mut conf = conf.clone();
    for list in [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next] {
        list.sort_unstable();
    }
    conf
}

impl<H: Host> Pump<H> {
    /// Judges a snapshot's message before the core sees it.
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
            // The core answers these without the content: it refuses what does not have this node.
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
        // Kept from here on: the Ready that brings it back must find it.
        self.incoming = Some(reader.pin());
        Ok(Snapshot::Step)
    }

    /// After the core was given the snapshot `id` of `from`: tells the host if the core dropped it.
    pub(in crate::adapters::raft_rs) fn check_restored(&mut self, from: u64, id: SnapshotId) {
        if self.node.raft.raft_log.committed < id.index {
            self.incoming.take_if(|pin| pin.id() == id);
            self.host.snapshot_refused(from, id);
        }
        if self.node.raft.raft_log.unstable.snapshot.is_some() {
            // The state machine gets them with the snapshot. The core has the snapshot's members now, and must not be told
            // of changes before it.
            self.committed.clear();
            self.settling = None;
        }
    }

    /// The state machine gets the newest of the snapshots that Readys up to `number` brought, which are durable.
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

    /// Begins a snapshot if one is due and everything that it has to have is applied; and tells of the last.
    pub(in crate::adapters::raft_rs) fn take_snapshot(&mut self) {
        let Some(snapshots) = &self.snapshots else { return };
        if let Some(outcome) = snapshots.outcome() {
            self.host.snapshot_taken(&outcome);
        }
        // After a restart the members are those of the log's end, until the state machine is there.
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
