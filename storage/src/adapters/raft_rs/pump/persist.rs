//! Writes a Ready to the log, as one record or as several, and decides which thread makes it durable.

use raft::eraftpb::Entry;
use raft::{Ready, StateRole};
use seawall_wal::Ticket;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::{Part, Pump};
use crate::adapters::raft_rs::snapshot_offer;
use crate::adapters::raft_rs::storage::hard_state;
use crate::error::Error as EngineError;
use crate::snapshots::snap::SnapshotId;
use crate::types::HardState;

impl<H: Host> Pump<H> {
    /// Does steps 3 to 6 of a Ready, which the module `pump` lists. If the disk is full, keeps the Ready for a
    /// later call.
    pub(super) fn write(&mut self, mut ready: Ready) -> Result<()> {
        let hard = ready.hs().map(hard_state);
        let snapshot = ready.snapshot().get_metadata();
        let installs = (snapshot.index > 0).then(|| snapshot_offer::id(self.store.group().id(), snapshot));
        let ticket = match self.write_record(installs, ready.entries(), hard, ready.must_sync()) {
            Ok(ticket) => ticket.filter(|_| ready.must_sync()),
            Err(error) => {
                self.stalled = Some(ready);
                return Err(error);
            }
        };
        if installs.is_some() {
            let pin = self.incoming.take();
            self.installing.extend(pin.map(|pin| (ready.number(), pin)));
        }
        let (number, kept) = (ready.number(), ready.take_persisted_messages());
        self.flight.submit(number, ticket, kept);
        self.hand_off();
        let mut states = ready.take_read_states();
        self.take_answers(&mut states);
        self.committed = ready.take_committed_entries();
        // Returns the Ready to the core first, because applying a membership change steps the core.
        self.node.advance_append_async(ready);
        if !states.is_empty() {
            self.host.read_states(states);
        }
        self.apply()
    }

    /// Has the log write what is in flight, unless this thread may write it once it waits: it may not, or it goes on
    /// although an earlier write is in flight.
    pub(super) fn hand_off(&mut self) {
        let other = self.settling.as_ref().map(|(_, ticket)| ticket);
        if self.flight.is_pipelined(other) || !self.may_write() {
            self.request_wake();
        }
    }

    /// Whether this thread may write the log while it waits: on a follower or on the only voter. A disk that stalls
    /// would keep a leader from ticking and so from stepping down, and a node that is being stopped from ending. A
    /// leader's write also overlaps with those of its followers anyway.
    fn may_write(&self) -> bool {
        let leads = self.node.raft.state == StateRole::Leader && !self.is_only_voter();
        !leads && self.stopping.is_none()
    }

    /// Writes on this thread what is in flight, if it may and if no other thread writes. Returns whether
    /// [`Pump::complete`] has something to do then.
    pub(in crate::adapters::raft_rs) fn write_while_waiting(&mut self) -> bool {
        let other = self.settling.as_ref().map(|(_, ticket)| ticket);
        if self.flight.is_settled(other) {
            return true;
        }
        let reads = self.fetches.as_ref().is_some_and(|fetches| fetches.under_way());
        let wrote = !reads && self.may_write() && self.flight.try_write(other);
        self.stats.own_writes += u64::from(wrote);
        wrote && self.flight.is_settled(other)
    }

    /// Requests a wake-up of the log for the oldest write in flight, unless it has been requested.
    pub(in crate::adapters::raft_rs) fn request_wake(&mut self) {
        let other = self.settling.as_ref().map(|(_, ticket)| ticket);
        self.stats.wake_ups += u64::from(self.flight.request_wake(other));
    }

    /// Writes snapshot, entries and hard state as one record, or as several if they are too large for one. In
    /// that case the snapshot, term and vote go first and the commit index last. After a full disk it continues
    /// after the part that is already written.
    fn write_record(
        &mut self,
        installs: Option<SnapshotId>,
        entries: &[Entry],
        hard: Option<HardState>,
        must_sync: bool,
    ) -> Result<Option<Ticket>> {
        let mut count = entries.len().saturating_sub(self.part.entries);
        loop {
            let rest = entries.get(self.part.entries..).unwrap_or_default();
            let part = rest.get(..count).unwrap_or(rest);
            let whole = part.len() == rest.len();
            let commit = self.store.group().hard_state().commit;
            let state = if whole { hard } else { hard.map(|hard| HardState { commit, ..hard }) };
            let installs = installs.filter(|_| !self.part.installed);
            match self.write_part(installs, part, state, must_sync) {
                Ok(ticket) if whole => {
                    self.part = Part::default();
                    return Ok(ticket);
                }
                Ok(_) => {
                    self.part.installed |= installs.is_some();
                    self.part.entries += part.len();
                    count = rest.len() - part.len();
                }
                Err(Error::Engine(EngineError::BatchTooLarge { .. }))
                    if part.len() > 1 || (installs.is_some() && !part.is_empty()) =>
                {
                    count = part.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_part(
        &mut self,
        installs: Option<SnapshotId>,
        entries: &[Entry],
        hard: Option<HardState>,
        must_sync: bool,
    ) -> Result<Option<Ticket>> {
        self.batch.clear();
        if let (Some(id), Some(snapshots)) = (installs, &self.snapshots) {
            self.incoming = Some(snapshots.add_install(id, &mut self.batch)?);
        }
        self.store.append(&mut self.batch, entries);
        if let Some(hard) = hard {
            self.batch.hard_state(self.store.group().id(), hard);
        }
        if self.batch.is_empty() {
            return Ok(None);
        }
        if must_sync {
            self.batch.sync();
        }
        Ok(Some(self.store.engine().write(&mut self.batch)?))
    }
}
