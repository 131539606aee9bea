//! The pump: owns the core and carries each of its Readys to the network, the log and the state machine.
//! Place on the data's way: the loop of a Raft node; `take` is where its steps stand in order.
//! Invariants: what the core may panic or lie about when called in another order cannot be called in another
//! order. Fails: with the first error that matters, for good; from then on nothing leaves (INV-7).

pub(crate) mod apply;
pub(crate) mod completions;
pub(crate) mod input;
pub(crate) mod join;
pub(crate) mod leaving;
pub(crate) mod message_check;
pub(crate) mod offers;
pub(crate) mod pending_readys;
pub(crate) mod snapshot;
pub(crate) mod stop;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{Entry, Message};
use raft::{Config, Raft, RawNode, Ready, SnapshotStatus};
use seawall_wal::Ticket;

use crate::adapters::raft_rs::async_fetch::AsyncFetches;
use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::{Host, PumpOptions};
use crate::adapters::raft_rs::outcome::{Outcome, PumpStats};
use crate::adapters::raft_rs::pump::completions::Completions;
use crate::adapters::raft_rs::pump::join::JOIN_INDEX_MIN;
use crate::adapters::raft_rs::pump::leaving::Leaving;
use crate::adapters::raft_rs::pump::offers::Offers;
use crate::adapters::raft_rs::pump::pending_readys::PendingReadys;
use crate::adapters::raft_rs::pump::stop::Stopping;
use crate::adapters::raft_rs::snapshot_offer;
use crate::adapters::raft_rs::storage::{GroupStorage, hard_state};
use crate::adapters::raft_rs::warnings;
use crate::engine::Engine;
use crate::error::Error as EngineError;
use crate::snapshots::Snapshots;
use crate::snapshots::snap::{Pin, SnapshotId};
use crate::types::{GroupId, HardState, Owner};
use crate::write::WriteBatch;

/// Bytes of committed entries in a Ready, where the core's config has no limit: it reads them into memory.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;

/// How often a pump that waits for room in the log tries again: as often as the log does.
const RETRY: Duration = Duration::from_millis(100);

/// A Raft node on a group of an engine: the core, its log, and a [`Host`].
///
/// Not a thread: whoever owns it calls [`Pump::poll`] after it stepped, proposed or ticked, and when
/// [`PumpOptions::wake`] was called; or [`Pump::wait`], which blocks.
pub struct Pump<H: Host> {
    pub(in crate::adapters::raft_rs) node: RawNode<GroupStorage>,
    pub(in crate::adapters::raft_rs) store: GroupStorage,
    pub(in crate::adapters::raft_rs) host: H,
    pub(in crate::adapters::raft_rs) flight: PendingReadys,
    fetches: Option<Arc<AsyncFetches>>,
    pub(in crate::adapters::raft_rs) batch: WriteBatch,
    readys_max: usize,
    /// What the group has agreed on.
    entry_bytes_max: Option<usize>,
    pub(in crate::adapters::raft_rs) applied: u64,
    /// Membership changes up to this entry are in the members that the core started with.
    pub(in crate::adapters::raft_rs) conf_index: u64,
    pub(in crate::adapters::raft_rs) snapshots: Option<Snapshots>,
    /// The snapshot that the core was given last: it does not go before it is installed.
    pub(in crate::adapters::raft_rs) incoming: Option<Pin>,
    /// Snapshots that the log was told of, with their Readys; the state machine has them when those are durable.
    pub(in crate::adapters::raft_rs) installing: VecDeque<(u64, Pin)>,
    /// A Ready that found the disk full: it comes before everything else.
    stalled: Option<Ready>,
    /// What the log has of it.
    part: Part,
    /// Entries that are to be applied next.
    pub(in crate::adapters::raft_rs) committed: Vec<Entry>,
    /// Members that the core has and that found the disk full; the first of `committed` made them.
    pub(in crate::adapters::raft_rs) changing: Option<raft::eraftpb::ConfState>,
    /// Members that are in the log and not durable yet; the first of `committed` made them.
    pub(in crate::adapters::raft_rs) settling: Option<(raft::eraftpb::ConfState, Ticket)>,
    /// What became of snapshots that were sent, the last of each peer; the core is told as soon as it can be.
    pub(in crate::adapters::raft_rs) reports: Vec<(u64, SnapshotStatus)>,
    pub(in crate::adapters::raft_rs) stats: PumpStats,
    pub(in crate::adapters::raft_rs) stopping: Option<Stopping>,
    /// Ticks that came while the disk was full and nothing could be stepped.
    pub(in crate::adapters::raft_rs) late_ticks: usize,
    pub(in crate::adapters::raft_rs) offers: Offers,
    pub(in crate::adapters::raft_rs) leaving: Leaving,
    stopped: Option<Error>,
}

/// What the log has of a Ready that needs several records.
#[derive(Default)]
struct Part {
    /// The snapshot.
    installed: bool,
    /// So many entries.
    entries: usize,
}

impl<H: Host> Pump<H> {
    /// A node on group `group`; `config.applied` is the last index that the state machine has, and 0 for
    /// one that starts empty and gets the whole log again.
    ///
    /// Where `config.max_committed_size_per_ready` is without a limit, which is the core's default, it is set to 8 MiB: a
    /// node that starts would read all of its log that is not applied into memory. [`Host::apply`] gets no more than that
    /// in one call.
    ///
    /// # Errors
    /// [`Error::NoMembers`]; [`Error::JoinNeedsSnapshots`]; [`Error::Applied`] if log and state machine do not fit together;
    /// the engine's `OtherOwner` if the log is another node's; [`Error::Core`] for an invalid `config`; [`Error::NoReadys`], [`Error::EntryLimit`]; snapshots of another group; or the engine's error.
    pub fn new(
        engine: &Engine,
        group: GroupId,
        config: &Config,
        host: H,
        options: PumpOptions,
    ) -> Result<Pump<H>> {
        let mut store = GroupStorage::new(engine, group);
        if let Some(snapshots) = &options.snapshots {
            snapshot_offer::check_group(snapshots, group)?;
            store = store.with_snapshots(snapshots.clone());
        }
        let signal = Arc::new(Completions::new(options.wake));
        let fetches = options.async_fetch.then(|| Arc::new(AsyncFetches::new(Arc::clone(&signal))));
        if let Some(fetches) = &fetches {
            store = store.with_fetches(Arc::clone(fetches));
        }
        config.validate()?;
        if options.readys_max == 0 {
            return Err(Error::NoReadys);
        }
        if let Some(value) = options.entry_bytes_max {
            let max = engine.entry_bytes_max()?.saturating_sub(codec::OVERHEAD_BYTES);
            if value > max {
                return Err(Error::EntryLimit { value, max });
            }
        }
        let mut config = config.clone();
        if config.max_committed_size_per_ready == raft::NO_LIMIT {
            config.max_committed_size_per_ready = COMMITTED_BYTES_MAX;
        }
        let config = &config;
        check_owner(engine, config.id, options.owner.as_ref())?;
        let members = store.group().conf_state().ok_or(Error::NoMembers { group })?;
        let (conf_index, joins) = (members.index, members.voters.is_empty());
        if joins && options.snapshots.is_none() {
            return Err(Error::JoinNeedsSnapshots { group });
        }
        let (point, last_index) = (store.group().compaction_point().0, store.group().last_index());
        let applied = config.applied;
        if applied < point || applied > last_index {
            return Err(Error::Applied { applied, point, last_index });
        }
        let mut batch = WriteBatch::new();
        let hard = store.group().hard_state();
        // The commit index rides along with later writes, so a crash can leave it behind what was applied.
        if hard.commit < applied {
            batch.hard_state(group, HardState { commit: applied, ..hard });
            engine.write(&mut batch)?;
        }
        let logger = options.logger.unwrap_or_else(|| warnings::logger(group, config.id));
        let mut node = RawNode::new(config, store.clone(), &logger)?;
        if joins {
            // From now until a snapshot is restored the core takes no entries, and asks its leader for one.
            node.raft.pending_request_snapshot = JOIN_INDEX_MIN;
        }
        Ok(Pump {
            node,
            store,
            host,
            flight: PendingReadys::new(signal),
            fetches,
            batch,
            readys_max: options.readys_max,
            entry_bytes_max: options.entry_bytes_max,
            applied,
            conf_index,
            snapshots: options.snapshots,
            incoming: None,
            installing: VecDeque::new(),
            stalled: None,
            part: Part::default(),
            committed: Vec::new(),
            changing: None,
            settling: None,
            reports: Vec::new(),
            stats: PumpStats::default(),
            stopping: None,
            late_ticks: 0,
            offers: Offers::default(),
            leaving: Leaving::default(),
            stopped: None,
        })
    }

    // ---- the loop --------------------------------------------------------------------------------

    /// Does everything that can be done without waiting; says whether there was anything. Waits for nothing but room in
    /// the log's queue.
    ///
    /// # Errors
    /// What stopped the pump for good, now or earlier. A full disk does not: it is [`Outcome::Stalled`].
    pub fn poll(&mut self) -> Result<Outcome> {
        self.running()?;
        let result = self.drive();
        let result = self.latched(result);
        self.running()?;
        if let Some(end) = self.ended() {
            return Ok(Outcome::Ended(end));
        }
        match result {
            // The only error that does not stop a pump here.
            Err(full) if self.running().is_ok() => Ok(Outcome::Stalled(full)),
            result => result.map(Outcome::of),
        }
    }

    /// Blocks until something in flight is durable, entries for a peer were read, or `timeout` is over; then as
    /// [`Pump::poll`]. Does not block if nothing is in flight or being read, unless the disk is full: then for 100 ms at
    /// most.
    ///
    /// # Errors
    /// As [`Pump::poll`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Outcome> {
        self.running()?;
        let reading = self.fetches.as_ref().is_some_and(|fetches| {
            // Without threads whoever waits does what it waits for.
            while fetches.under_way() && self.store.engine().step_beside() {}
            fetches.under_way()
        });
        if reading || self.in_flight() > 0 {
            self.flight.wait(timeout, self.settling.as_ref().map(|(_, ticket)| ticket));
        } else if self.is_stalled() {
            std::thread::sleep(timeout.min(RETRY));
        }
        self.poll()
    }

    fn drive(&mut self) -> Result<bool> {
        let mut progress = self.complete()?;
        progress |= self.resume_stalled()?;
        self.check_ends()?;
        progress |= self.deliver()?;
        self.hand_over();
        progress |= self.process_readys()?;
        if self.stopping.is_none() {
            self.take_snapshot();
        }
        Ok(progress)
    }

    /// Takes the Readys that the core has; says whether there were any.
    pub(in crate::adapters::raft_rs) fn process_readys(&mut self) -> Result<bool> {
        let mut progress = false;
        while self.may_take() {
            let whole = self.process_ready()?;
            self.complete()?;
            progress |= whole;
            if !whole {
                break;
            }
        }
        Ok(progress)
    }

    /// What became durable: the core hears of it first, then the state machine of a snapshot; only then do the
    /// messages leave that rest on it.
    pub(in crate::adapters::raft_rs) fn complete(&mut self) -> Result<bool> {
        let Some((number, kept)) = self.flight.complete()? else { return Ok(false) };
        self.node.on_persist_ready(number);
        self.check_store()?;
        self.restore(number)?;
        self.send(kept);
        Ok(true)
    }

    /// Entries that were read for peers, if the core still asks for them.
    fn deliver(&mut self) -> Result<bool> {
        let Some(fetches) = &self.fetches else { return Ok(false) };
        let delivered = fetches.deliver(|context| self.node.on_entries_fetched(context));
        self.check_store()?;
        Ok(delivered)
    }

    /// What a full disk or a change of the members interrupted; says whether something was done.
    pub(in crate::adapters::raft_rs) fn resume_stalled(&mut self) -> Result<bool> {
        let (stalled, before) = (self.stalled.take(), self.committed.len());
        let interrupted = stalled.is_some();
        match stalled {
            Some(ready) => self.write(ready)?,
            None => self.apply()?,
        }
        Ok(interrupted || self.committed.len() < before)
    }

    fn may_take(&self) -> bool {
        // What is to be applied comes before what is behind it.
        let applies = self.committed.is_empty();
        applies && self.flight.len() < self.readys_max && self.node.has_ready()
    }

    /// Takes a Ready; says whether it has all that it should have. It has not if there was no file descriptor to read
    /// committed entries with: then the rest is for a later call.
    fn process_ready(&mut self) -> Result<bool> {
        let (mut ready, hindered) = self.store.for_ready(|| self.node.ready());
        // Before anything leaves: the core may have asked for an entry that could not be read.
        self.check_store()?;
        if let Some(role) = ready.ss() {
            self.host.role_changed(role);
        }
        self.send(ready.take_messages());
        self.write(ready)?;
        Ok(!hindered)
    }

    /// Everything of one Ready behind its immediate messages, in the order that the core asks for. A
    /// Ready that finds the disk full is kept; it was not written then.
    fn write(&mut self, mut ready: Ready) -> Result<()> {
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
        let states = ready.take_read_states();
        self.committed = ready.take_committed_entries();
        // Applying a membership change steps the core, so the Ready is given back before.
        self.node.advance_append_async(ready);
        if !states.is_empty() {
            self.host.read_states(states);
        }
        self.apply()
    }

    /// Writes snapshot, entries and hard state as one record, or as several if no record can hold them: then the
    /// snapshot, term and vote go first, the commit index last. After a full disk it goes on behind what it has written.
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

    fn send(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.host.send(messages);
        }
    }

    // ---- what may go wrong -----------------------------------------------------------------------

    pub(in crate::adapters::raft_rs) fn running(&self) -> Result<()> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    pub(in crate::adapters::raft_rs) fn check_store(&self) -> Result<()> {
        self.store.fault().map_or(Ok(()), Err)
    }

    /// The group belongs to the pump. Had somebody else removed it, cut it off or compacted entries that are
    /// still to be applied, the core would panic, or leave them out.
    pub(in crate::adapters::raft_rs) fn check_ends(&self) -> Result<()> {
        let group = self.store.group();
        let (point, last_index, applied) = (group.compaction_point().0, group.last_index(), self.applied);
        // With a snapshot under way the state machine lags behind the log, or the log behind the core.
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

    /// An error stops the pump for good, unless it is a full disk that left something to be written again.
    pub(in crate::adapters::raft_rs) fn latched<T>(&mut self, result: Result<T>) -> Result<T> {
        match &result {
            Err(error) if error.is_no_space() && self.is_stalled() => self.stats.stalls += 1,
            Err(error) => self.stopped = Some(error.clone()),
            Ok(_) => {}
        }
        result
    }

    /// Whether there is nothing to be done, nor in flight.
    pub(in crate::adapters::raft_rs) fn at_rest(&self) -> bool {
        let nothing_in_flight = self.flight.len() == 0 && self.installing.is_empty();
        nothing_in_flight && !self.is_stalled() && self.committed.is_empty() && !self.node.has_ready()
    }

    /// Whether a full disk left something to be written again.
    fn is_stalled(&self) -> bool {
        self.stalled.is_some() || self.changing.is_some()
    }

    // ---- questions -------------------------------------------------------------------------------

    /// The core, for looking at: term, role, leader, progress of the peers.
    pub fn raft(&self) -> &Raft<GroupStorage> {
        &self.node.raft
    }

    /// The network and the state machine.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The network and the state machine.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// The last index that the state machine was given.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Bytes of context and data that an entry proposed here may have: what the group has agreed on
    /// ([`PumpOptions::entry_bytes_max`]), or else what a record of this log can hold, which depends on the size of
    /// its segments. Nodes can tell each other theirs, and agree on the smallest.
    ///
    /// # Errors
    /// The engine is closed.
    pub fn entry_bytes_max(&self) -> Result<usize> {
        let max = self.store.engine().entry_bytes_max()?.saturating_sub(codec::OVERHEAD_BYTES);
        Ok(self.entry_bytes_max.map_or(max, |agreed| agreed.min(max)))
    }

    /// Figures of this pump.
    pub fn stats(&self) -> PumpStats {
        self.stats
    }

    /// What stopped the pump, if something did; the calls that drive it return the same error.
    pub fn stopped(&self) -> Option<&Error> {
        self.stopped.as_ref()
    }

    /// Readys that are not durable yet, and a change of the members that is not.
    pub fn in_flight(&self) -> usize {
        self.flight.len() + usize::from(self.settling.is_some())
    }

    /// The host; what is in flight may still become durable, but none of its messages leaves.
    pub fn into_host(self) -> H {
        self.host
    }
}

/// The log is this node's.
fn check_owner(engine: &Engine, id: u64, given: Option<&Owner>) -> Result<()> {
    match (given, engine.owner()?) {
        (Some(given), _) => Ok(engine.set_owner(given)?),
        (None, Some(stored)) if stored.node != id => {
            let given = Owner { node: id, ..stored.clone() };
            Err(EngineError::OtherOwner { stored: Box::new(stored), given: Box::new(given) }.into())
        }
        (None, _) => Ok(()),
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
