//! Input of the core: proposals, messages of peers, ticks and elections; and compaction of the log.
//!
//! Before any step the core knows what is durable, and no Ready is half processed. A step that would make the
//! core panic is not taken. A refusal does not stop the pump.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Message, MessageType};
use raft::{SnapshotStatus, StateRole};

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::outcome::Outcome;
use crate::adapters::raft_rs::pump::snapshot::Snapshot;
use crate::adapters::raft_rs::pump::state::Pump;
use crate::adapters::raft_rs::snapshot_offer;
use crate::write::WriteBatch;

impl<H: Host> Pump<H> {
    /// Proposes an entry.
    ///
    /// # Errors
    /// [`Error::Core`] if the core dropped the proposal because there is no leader, or because a membership
    /// change in the log is about to take this leader's vote: propose it again, to the next leader. The
    /// engine's `EntryTooLarge`. A full disk ([`Error::is_back_pressure`]): nothing was proposed, and the pump keeps
    /// running. Or the error that stopped the pump.
    pub fn propose(&mut self, context: Vec<u8>, data: Vec<u8>) -> Result<()> {
        self.steppable()?;
        self.proposable()?;
        self.check_proposal(context.len(), data.len())?;
        let result = self.node.propose(context, data);
        self.stepped(result)
    }

    /// Proposes a membership change. A leader that the change removes steps down. Do not stop a removed node
    /// for good before the others have applied the change: until then they may need its vote.
    ///
    /// # Errors
    /// Like [`Pump::propose`].
    pub fn propose_conf_change(&mut self, context: Vec<u8>, change: ConfChangeV2) -> Result<()> {
        self.steppable()?;
        self.proposable()?;
        let bytes = usize::try_from(change.compute_size()).unwrap_or(usize::MAX);
        self.check_proposal(context.len(), bytes)?;
        let result = self.node.propose_conf_change(context, change);
        self.stepped(result)
    }

    /// Steps a message of a peer. A vote for this node is dropped while its own entries are in flight, because
    /// it answers no request that was sent. A snapshot that this node does not have goes to
    /// [`Host::snapshot_offered`].
    ///
    /// # Errors
    /// [`Error::Snapshot`], [`Error::SnapshotMessage`], [`Error::Snapshots`], [`Error::Append`],
    /// [`Error::Core`], and the engine's `EntryTooLarge` for an entry that no record of this log can hold: the
    /// message is dropped, and the pump keeps running. [`Error::LostEntries`] stops the pump. Otherwise like
    /// [`Pump::propose`].
    pub fn step(&mut self, message: Message) -> Result<()> {
        self.steppable()?;
        self.judge(&message)?;
        let mut restores = None;
        match message.get_msg_type() {
            MessageType::MsgSnapshot => match self.judge_snapshot(&message)? {
                Snapshot::Step => {
                    let id =
                        snapshot_offer::id(self.store.group().id(), message.get_snapshot().get_metadata());
                    // The core ignores messages of an earlier term.
                    restores = (message.term >= self.node.raft.term).then_some((message.from, id));
                }
                Snapshot::Fetch(offer) => {
                    self.host_mut().snapshot_offered(&offer, message);
                    return Ok(());
                }
            },
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
                if self.unsettled() =>
            {
                return Ok(());
            }
            MessageType::MsgTimeoutNow if self.cannot_campaign() => return Ok(()),
            MessageType::MsgAppendResponse if !self.heed_request(&message) => return Ok(()),
            _ => {}
        }
        let result = self.node.step(message);
        if let Some((from, id)) = restores {
            self.check_restored(from, id);
        }
        self.stepped(result)
    }

    /// Advances the clock of the core. Call it at equal intervals:
    /// [`Config::election_tick`](raft::Config::election_tick) counts them. The clock also advances on a node
    /// that must not campaign, so that a follower's lease for its leader ends. While the disk is full the core
    /// cannot be called; the call then tries to resume, like [`Pump::poll`], and the core gets the tick later,
    /// up to two election timeouts of them. A leader that heard of no quorum in the meantime steps down before
    /// it answers anything.
    ///
    /// # Errors
    /// The error that stopped the pump, now or earlier.
    pub fn tick(&mut self) -> Result<Outcome> {
        self.count_down();
        match self.steppable() {
            // Back-pressure (a full disk, no file descriptor left) is the only error here that does not stop a
            // pump.
            Err(full) if self.running().is_ok() => {
                self.stats.ticks_missed += 1;
                // Two timeouts: the first quorum check still counts peers that were active before the disk was
                // full.
                let most = 2 * self.node.raft.election_timeout();
                self.late_ticks = most.min(self.late_ticks + 1);
                return Ok(Outcome::Stalled(full));
            }
            steppable => steppable?,
        }
        let worked = if self.cannot_campaign() { self.age() } else { self.node.tick() };
        self.repeat_offers();
        self.age_reads();
        self.stats.ticks += 1;
        self.stepped(Ok(()))?;
        Ok(Outcome::of(worked))
    }

    /// Advances the clock of a node that must not campaign; a leader ticks normally. Returns whether there may
    /// be a Ready.
    fn age(&mut self) -> bool {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader {
            return raft.tick();
        }
        raft.election_elapsed += 1;
        false
    }

    /// Starts an election after all committed entries are applied.
    ///
    /// # Errors
    /// [`Error::Core`] with `ProposalDropped` if this node may not campaign now: it is the only voter and has
    /// entries in flight, is not a voter, installs a snapshot, or is being stopped. Otherwise like
    /// [`Pump::propose`].
    pub fn campaign(&mut self) -> Result<()> {
        self.steppable()?;
        // At an election the core reads all entries that it does not know to be applied, in one piece.
        let taken = self.process_readys();
        self.latched(taken)?;
        if self.cannot_campaign() {
            return Err(raft::Error::ProposalDropped.into());
        }
        let result = self.node.campaign();
        self.stepped(result)
    }

    /// Requests a read index. The answer comes through [`Host::read_states`], or not at all. [`Pump::read`] repeats the
    /// request and waits until the index is applied.
    ///
    /// # Errors
    /// The error that stopped the pump; or a full disk, and nothing was requested.
    pub fn read_index(&mut self, context: Vec<u8>) -> Result<()> {
        self.steppable()?;
        self.node.read_index(context);
        self.stepped(Ok(()))
    }

    /// Transfers the leadership to `to`, if this node is the leader.
    ///
    /// # Errors
    /// The error that stopped the pump; or a full disk, and nothing was done.
    pub fn transfer_leader(&mut self, to: u64) -> Result<()> {
        self.steppable()?;
        self.node.transfer_leader(to);
        self.stepped(Ok(()))
    }

    /// Reports that messages to `peer` were lost. Has no effect while the disk is full.
    ///
    /// # Errors
    /// The error that stopped the pump, now or earlier.
    pub fn report_unreachable(&mut self, peer: u64) -> Result<()> {
        match self.steppable() {
            Err(_) if self.running().is_ok() => return Ok(()),
            steppable => steppable?,
        }
        self.node.report_unreachable(peer);
        self.stepped(Ok(()))
    }

    /// Reports the result of a snapshot that was sent to `peer`: that it did not arrive, or that the peer could
    /// not fetch it. Until then the core sends that peer nothing else; it learns of success from the peer
    /// itself. An offer without an answer is repeated after 10 to 20 election timeouts. While the disk is full
    /// the report waits.
    ///
    /// # Errors
    /// The error that stopped the pump, now or earlier.
    pub fn report_snapshot(&mut self, peer: u64, status: SnapshotStatus) -> Result<()> {
        self.running()?;
        self.reports.retain(|(of, _)| *of != peer);
        self.reports.push((peer, status));
        match self.steppable() {
            Err(_) if self.running().is_ok() => Ok(()),
            steppable => steppable,
        }
    }

    /// Removes the entries up to and including `index` from the log. With snapshots the pump does this itself.
    /// Without, a peer that still needs one of them cannot catch up, and a state machine must not start below
    /// `index`.
    ///
    /// # Errors
    /// [`Error::NotApplied`], [`Error::NotCovered`]; the engine's `Compacted` if the entries are already gone;
    /// or the error that stopped the pump.
    pub fn compact(&mut self, index: u64) -> Result<()> {
        // Not `steppable`: a Ready that found the disk full must not prevent compaction, which frees space.
        self.running()?;
        let result = self.complete().and_then(|_| self.check_ends());
        self.latched(result)?;
        if index > self.applied {
            return Err(Error::NotApplied { index, applied: self.applied });
        }
        if let Some(snapshots) = &self.snapshots {
            let floor = snapshots.release_floor().unwrap_or(0);
            if index > floor {
                return Err(Error::NotCovered { index, floor });
            }
        }
        let mut batch = WriteBatch::new();
        // The log has a commit index that covers `index` before this record, because nothing is applied
        // earlier.
        batch.compact(self.store.group().id(), index);
        drop(self.store.engine().write(&mut batch)?);
        Ok(())
    }

    /// Refuses proposals if the node is being stopped, or is a leader that is about to lose its vote.
    pub(in crate::adapters::raft_rs) fn proposable(&mut self) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::Stopping);
        }
        let checked = self.check_leaving();
        let fault = self.check_store();
        self.latched(fault)?;
        checked
    }

    /// Prepares a step: tells the core what is durable, finishes a half-processed Ready, and delivers late
    /// ticks and reports.
    fn steppable(&mut self) -> Result<()> {
        self.running()?;
        let result = self.complete().and_then(|_| self.resume_stalled()).and_then(|_| self.check_ends());
        self.latched(result)?;
        if self.late_ticks == 0 && self.reports.is_empty() {
            return Ok(());
        }
        for _ in 0..std::mem::take(&mut self.late_ticks) {
            self.age();
        }
        for (peer, status) in std::mem::take(&mut self.reports) {
            self.node.report_snapshot(peer, status);
        }
        self.stepped(Ok(()))
    }

    /// Finishes a step: a fault in the store stops the pump; a refusal goes to the caller.
    fn stepped(&mut self, result: raft::Result<()>) -> Result<()> {
        let fault = self.check_store();
        self.latched(fault)?;
        Ok(result?)
    }

    /// Whether becoming the leader now would make the core panic. The core requires that the log of a leader is
    /// persisted; normally a vote request leaves only once it is.
    fn unsettled(&self) -> bool {
        let raft = &self.node.raft;
        raft.state != StateRole::Leader && raft.raft_log.persisted < raft.raft_log.last_index()
    }

    /// Like [`Pump::unsettled`], for a node that needs no vote but its own.
    fn elects_itself_unsettled(&self) -> bool {
        self.unsettled() && self.is_only_voter()
    }

    /// Whether this node must not campaign. An election would make the core panic if this node is the only
    /// voter with entries in flight, or while a snapshot is not durable, because the core then looks for
    /// membership changes in entries that the log no longer has. A node that is not a voter must not campaign
    /// either: the core does not check this when told to campaign, and a node without members would elect
    /// itself. A node that is being stopped does not campaign unless it leads.
    fn cannot_campaign(&self) -> bool {
        let stops = self.stopping.is_some() && self.node.raft.state != StateRole::Leader;
        let voter = self.node.raft.promotable();
        stops || !voter || !self.installing.is_empty() || self.elects_itself_unsettled()
    }
}
