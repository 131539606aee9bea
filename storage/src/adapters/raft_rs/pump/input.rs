//! What goes into the core: proposals, messages of peers, ticks, elections; and compaction of the log.
//! Place on the data's way: before the pump's loop. Invariants: before any step the core knows what is
//! durable and no Ready is half done; a step that would make the core panic is not made.
//! Fails: with a refusal, which stops nothing; or with what stopped the pump.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Message, MessageType};
use raft::{SnapshotStatus, StateRole};

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::outcome::Outcome;
use crate::adapters::raft_rs::pump::Pump;
use crate::adapters::raft_rs::pump::snapshot::Snapshot;
use crate::adapters::raft_rs::snapshot_offer;
use crate::write::WriteBatch;

impl<H: Host> Pump<H> {
    /// Proposes an entry.
    ///
    /// # Errors
    /// [`Error::Core`] if it was dropped, for want of a leader, or because a change in the log is about to take this leader's
    /// vote: propose it again, to the next leader; the engine's `EntryTooLarge`; a full disk
    /// ([`Error::is_no_space`]): nothing was proposed, and the pump runs on. Or what stopped the pump.
    pub fn propose(&mut self, context: Vec<u8>, data: Vec<u8>) -> Result<()> {
        self.steppable()?;
        self.proposable()?;
        self.check_proposal(context.len(), data.len())?;
        let result = self.node.propose(context, data);
        self.stepped(result)
    }

    /// Proposes a change of the members. A node that it removes steps down if it leads, and must not be stopped for good
    /// before the others have applied the change: until then they may need its vote.
    ///
    /// # Errors
    /// As [`Pump::propose`].
    pub fn propose_conf_change(&mut self, context: Vec<u8>, change: ConfChangeV2) -> Result<()> {
        self.steppable()?;
        self.proposable()?;
        let bytes = usize::try_from(change.compute_size()).unwrap_or(usize::MAX);
        self.check_proposal(context.len(), bytes)?;
        let result = self.node.propose_conf_change(context, change);
        self.stepped(result)
    }

    /// Takes a message of a peer. A vote for this node that comes while its own entries are in flight is
    /// dropped: it answers no request that has left. A snapshot that is not here yet goes to
    /// [`Host::snapshot_offered`].
    ///
    /// # Errors
    /// [`Error::Snapshot`], [`Error::SnapshotMessage`], [`Error::Snapshots`], [`Error::Append`], [`Error::Core`], and the
    /// engine's `EntryTooLarge` for an entry that no record of this log can hold: the message is dropped, and nothing stops. [`Error::LostEntries`] stops the pump. Or as [`Pump::propose`].
    pub fn step(&mut self, message: Message) -> Result<()> {
        self.steppable()?;
        self.judge(&message)?;
        let mut restores = None;
        match message.get_msg_type() {
            MessageType::MsgSnapshot => match self.judge_snapshot(&message)? {
                Snapshot::Step => {
                    let id =
                        snapshot_offer::id(self.store.group().id(), message.get_snapshot().get_metadata());
                    // The core does not look at what comes from a term that is over.
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

    /// The core's clock ticks. Call it at equal intervals: [`Config::election_tick`](raft::Config::election_tick) counts
    /// them. A node that must not campaign now ages all the same, so that a follower's lease for its leader ends. While the
    /// disk is full the core cannot be called; such a call tries to go on, as [`Pump::poll`] does, and the tick is made up for
    /// later: a leader that heard of no quorum meanwhile steps down before it answers anything.
    ///
    /// # Errors
    /// What stopped the pump, now or earlier.
    pub fn tick(&mut self) -> Result<Outcome> {
        self.count_down();
        match self.steppable() {
            // The only error that does not stop a pump here.
            Err(full) if self.running().is_ok() => {
                self.stats.ticks_missed += 1;
                // Twice: the first check of the quorum counts those that were heard of before the disk was full.
                let most = 2 * self.node.raft.election_timeout();
                self.late_ticks = most.min(self.late_ticks + 1);
                return Ok(Outcome::Stalled(full));
            }
            steppable => steppable?,
        }
        let worked = if self.cannot_campaign() { self.age() } else { self.node.tick() };
        self.repeat_offers();
        self.stats.ticks += 1;
        self.stepped(Ok(()))?;
        Ok(Outcome::of(worked))
    }

    /// A tick for a node that must not campaign: a leader's is the core's own. Whether there may be a Ready now.
    fn age(&mut self) -> bool {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader {
            return raft.tick();
        }
        raft.election_elapsed += 1;
        false
    }

    /// Starts an election, after everything that is committed was applied. The only voter of a group cannot while entries
    /// are in flight, a node that is no voter never can, and no node while it installs a snapshot.
    ///
    /// # Errors
    /// As [`Pump::propose`].
    pub fn campaign(&mut self) -> Result<()> {
        self.steppable()?;
        // A core that starts an election reads all entries that it has not been told to be applied, in one piece.
        let taken = self.process_readys();
        self.latched(taken)?;
        if self.cannot_campaign() {
            return Err(raft::Error::ProposalDropped.into());
        }
        let result = self.node.campaign();
        self.stepped(result)
    }

    /// Asks for a read index; the answer comes by [`Host::read_states`], and may not come.
    ///
    /// # Errors
    /// What stopped the pump; or a full disk, and nothing was asked.
    pub fn read_index(&mut self, context: Vec<u8>) -> Result<()> {
        self.steppable()?;
        self.node.read_index(context);
        self.stepped(Ok(()))
    }

    /// Hands the leadership to `to`, if this is the leader.
    ///
    /// # Errors
    /// What stopped the pump; or a full disk, and nothing was done.
    pub fn transfer_leader(&mut self, to: u64) -> Result<()> {
        self.steppable()?;
        self.node.transfer_leader(to);
        self.stepped(Ok(()))
    }

    /// Says that messages to `peer` are lost. While the disk is full this has no effect.
    ///
    /// # Errors
    /// What stopped the pump, now or earlier.
    pub fn report_unreachable(&mut self, peer: u64) -> Result<()> {
        match self.steppable() {
            Err(_) if self.running().is_ok() => return Ok(()),
            steppable => steppable?,
        }
        self.node.report_unreachable(peer);
        self.stepped(Ok(()))
    }

    /// Says what became of a snapshot that was sent to `peer`: that it did not arrive, or that fetching it failed.
    /// The core sends that peer nothing else meanwhile; it hears of success from the peer itself. An offer of which
    /// nothing is heard is repeated after 10 to 20 election timeouts. While the disk is full the report waits.
    ///
    /// # Errors
    /// What stopped the pump, now or earlier.
    pub fn report_snapshot(&mut self, peer: u64, status: SnapshotStatus) -> Result<()> {
        self.running()?;
        self.reports.retain(|(of, _)| *of != peer);
        self.reports.push((peer, status));
        match self.steppable() {
            Err(_) if self.running().is_ok() => Ok(()),
            steppable => steppable,
        }
    }

    /// Drops the entries up to and including `index` from the log. With snapshots that happens by itself. Without, a
    /// peer that still needs one of them cannot catch up, and a state machine must not start below `index`.
    ///
    /// # Errors
    /// [`Error::NotApplied`], [`Error::NotCovered`]; the engine's `Compacted` if they are gone; or what stopped the pump.
    pub fn compact(&mut self, index: u64) -> Result<()> {
        // Not as before a step: a Ready that found the disk full does not keep it from being freed.
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
        // A commit index that covers `index` stands before it in the log: nothing is applied sooner.
        batch.compact(self.store.group().id(), index);
        self.store.engine().write(&mut batch)?;
        Ok(())
    }

    /// Refuses proposals of a node that stops, and of a leader that is about to lose its vote.
    pub(in crate::adapters::raft_rs) fn proposable(&mut self) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::Stopping);
        }
        let checked = self.check_leaving();
        let fault = self.check_store();
        self.latched(fault)?;
        checked
    }

    /// Before any step: what is durable is told the core, no Ready is half done, late ticks and reports that waited are
    /// given.
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

    /// After a step: a refusal is the caller's, a fault in the store stops the pump.
    fn stepped(&mut self, result: raft::Result<()>) -> Result<()> {
        let fault = self.check_store();
        self.latched(fault)?;
        Ok(result?)
    }

    /// Whether becoming the leader now would make the core panic: a leader's log is persisted, and a vote
    /// request leaves only when it is.
    fn unsettled(&self) -> bool {
        let raft = &self.node.raft;
        raft.state != StateRole::Leader && raft.raft_log.persisted < raft.raft_log.last_index()
    }

    /// As [`Pump::unsettled`], for a node that needs nobody else's vote.
    fn elects_itself_unsettled(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters().ids();
        self.unsettled() && voters.iter().all(|voter| voter == self.node.raft.id)
    }

    /// Whether an election now would make the core panic: of the only voter of a group, or while a snapshot is not
    /// durable, when the core looks for changes of the members in entries that the log has no more. Or whether this node
    /// is no voter, which the core does not ask when it is told to campaign: one without members would elect itself.
    fn cannot_campaign(&self) -> bool {
        let stops = self.stopping.is_some() && self.node.raft.state != StateRole::Leader;
        let voter = self.node.raft.promotable();
        stops || !voter || !self.installing.is_empty() || self.elects_itself_unsettled()
    }
}
