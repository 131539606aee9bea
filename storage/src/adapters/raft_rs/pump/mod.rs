//! The pump owns the core and carries each of its Readys to the network, the log and the state machine.
//!
//! The steps of a Ready, in order (`process_ready`, then `write`):
//!
//! 1. Check the store: an entry that could not be read stops the pump before a message leaves. Report the role.
//! 2. Send the immediate messages.
//! 3. Write snapshot, entries and hard state to the log: as one record, or as several if they are too large.
//! 4. Queue the Ready with its ticket, if it must be durable, and the messages that wait for it. The log's thread makes it
//!    durable, or the pump's own thread once it waits (`persist`).
//! 5. Return the Ready to the core (`advance_append_async`).
//! 6. Apply the committed entries. A membership change must be durable before its entry is applied.
//!
//! Once the record is durable, again in the order of the Readys (`complete`). A Ready that need not be durable
//! (`must_sync` is false) has no ticket and completes with the Ready before it:
//!
//! 7. Tell the core (`on_persist_ready`).
//! 8. Have the state machine load the snapshot that the Ready installed.
//! 9. Send the kept messages.
//!
//! *Why immediate messages may leave before the write.* The core releases at once only messages that claim
//! nothing about this node's disk: those of a leader, whose commit index counts this node's copy of an entry
//! only after step 7. Messages that depend on this disk, such as acknowledgements and votes, are the kept
//! ones (`persisted_messages`).
//!
//! *Why every applied entry is durable here.* The core hands out a committed entry only after step 7 has
//! covered it. `storage/tests/raft_rs/pump/order.rs` shows it (`a_single_node_applies_what_is_durable`).
//!
//! The public calls cannot be combined in an order that makes the core panic or return wrong results. The
//! first error other than back-pressure or a refusal stops the pump for good; after that no message leaves
//! (INV-7).

pub(crate) mod apply;
pub(crate) mod input;
pub(crate) mod join;
pub(crate) mod leaving;
pub(crate) mod message_check;
pub(crate) mod offers;
pub(crate) mod persist;
pub(crate) mod reads;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod stop;

pub use state::Pump;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Message;
use raft::{Config, RawNode};

use crate::adapters::raft_rs::codec;
use crate::adapters::raft_rs::completions::Completions;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::{Host, PumpOptions};
use crate::adapters::raft_rs::outcome::{Outcome, PumpStats};
use crate::adapters::raft_rs::pump::join::JOIN_INDEX_MIN;
use crate::adapters::raft_rs::pump::state::{Leaving, Offers, Part, PendingReadys, Reads};
use crate::adapters::raft_rs::snapshot_offer;
use crate::adapters::raft_rs::storage::GroupStorage;
use crate::adapters::raft_rs::storage::async_fetch::AsyncFetches;
use crate::adapters::raft_rs::warnings;
use crate::engine::Engine;
use crate::error::Error as EngineError;
use crate::types::{GroupId, HardState, Owner};
use crate::write::WriteBatch;

/// Limit for the committed entries in a Ready, in bytes, if the core's config has no limit. The core reads them
/// into memory.
const COMMITTED_BYTES_MAX: u64 = 8 << 20;

/// How often a pump that waits for space in the log tries again; the log uses the same interval.
const RETRY: Duration = Duration::from_millis(100);

impl<H: Host> Pump<H> {
    /// Starts a node on group `group`. `config.applied` is the last index that the state machine has applied,
    /// or 0 for one that starts empty and gets the whole log again.
    ///
    /// If `config.max_committed_size_per_ready` has no limit, which is the core's default, it is set to 8 MiB.
    /// Otherwise a starting node would read all unapplied entries of its log into memory. [`Host::apply`] gets
    /// at most this much in one call.
    ///
    /// # Errors
    /// [`Error::NoMembers`]; [`Error::JoinNeedsSnapshots`]; [`Error::Applied`] if the log and the state machine
    /// do not match; the engine's `OtherOwner` if the log belongs to another node; [`Error::Core`] for an
    /// invalid `config`; [`Error::NoReadys`]; [`Error::EntryLimit`]; an error if the snapshots belong to
    /// another group; or an error of the engine.
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
        // The commit index is written along with later records, so after a crash it may be below the applied
        // index.
        if hard.commit < applied {
            batch.hard_state(group, HardState { commit: applied, ..hard });
            drop(engine.write(&mut batch)?);
        }
        let logger = options.logger.unwrap_or_else(|| warnings::logger(group, config.id));
        let mut node = RawNode::new(config, store.clone(), &logger)?;
        if joins {
            // Until a snapshot is restored, the core accepts no entries and requests a snapshot from its
            // leader.
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
            idle: false,
            stopping: None,
            late_ticks: 0,
            offers: Offers::default(),
            leaving: Leaving::default(),
            logger,
            reads: Reads::new(),
            stopped: None,
        })
    }

    // ---- the loop --------------------------------------------------------------------------------

    /// Does everything that can be done without waiting; the result tells whether there was anything. It blocks
    /// only while the log's queue is full and until the next segment is prepared.
    ///
    /// # Errors
    /// The error that stopped the pump for good, now or earlier. Back-pressure (a full disk, no file
    /// descriptor left) is not an error: it is [`Outcome::Stalled`].
    pub fn poll(&mut self) -> Result<Outcome> {
        let outcome = self.advance();
        // The owner may sleep next, or polls until something is durable; so this thread does not write.
        let idle = outcome.as_ref().is_ok_and(Outcome::is_idle);
        if self.flight.tells_owner() || (idle && self.idle) {
            self.request_wake();
        }
        self.idle = idle;
        outcome
    }

    /// As [`Pump::poll`], for a thread that calls [`Pump::write_while_waiting`] before it sleeps.
    pub(in crate::adapters::raft_rs) fn advance(&mut self) -> Result<Outcome> {
        self.running()?;
        let result = self.drive();
        let result = self.latched(result);
        self.running()?;
        if let Some(end) = self.ended() {
            self.fail_reads(&Error::Stopping);
            return Ok(Outcome::Ended(end));
        }
        match result {
            // Back-pressure (a full disk, no file descriptor left) is the only error here that does not stop a pump.
            Err(full) if self.running().is_ok() => Ok(Outcome::Stalled(full)),
            result => result.map(Outcome::of),
        }
    }

    /// Blocks until something in flight is durable, a read of entries for a peer ends, or `timeout` has passed;
    /// then does the same as [`Pump::poll`]. If nothing is in flight or being read it does not block, except
    /// that it sleeps for at most 100 ms while the disk is full.
    ///
    /// On a follower and on the only voter this thread writes the log itself if no other thread does, which
    /// spares waking one. The timeout does not interrupt such a write; a timeout of 0 prevents it. A leader with
    /// other voters never writes here, so that it ticks even if its disk stalls.
    ///
    /// # Errors
    /// Like [`Pump::poll`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Outcome> {
        self.running()?;
        let reading = self.fetches.as_ref().is_some_and(|fetches| {
            // Without threads, the caller does the work that it waits for.
            while fetches.under_way() && self.store.engine().step_beside() {}
            fetches.under_way()
        });
        if reading || self.in_flight() > 0 {
            if timeout.is_zero() || !self.write_while_waiting() {
                self.request_wake();
                self.flight.wait(timeout, self.settling.as_ref().map(|(_, ticket)| ticket));
            }
        } else if self.is_stalled() {
            std::thread::sleep(timeout.min(RETRY));
        }
        self.idle = false;
        self.advance()
    }

    fn drive(&mut self) -> Result<bool> {
        let mut progress = self.complete()?;
        progress |= self.resume_stalled()?;
        self.check_ends()?;
        progress |= self.deliver()?;
        self.hand_over();
        progress |= self.request_reads();
        progress |= self.process_readys()?;
        progress |= self.make_reads();
        if self.stopping.is_none() {
            self.take_snapshot();
        }
        Ok(progress)
    }

    /// Processes the Readys of the core; returns whether there were any.
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

    /// Does steps 7 to 9 of the Readys that are durable.
    pub(in crate::adapters::raft_rs) fn complete(&mut self) -> Result<bool> {
        let Some((number, kept)) = self.flight.complete()? else { return Ok(false) };
        self.node.on_persist_ready(number);
        self.check_store()?;
        self.restore(number)?;
        self.send(kept);
        self.hand_off();
        Ok(true)
    }

    /// Delivers entries that were read for peers, if the core still asks for them.
    fn deliver(&mut self) -> Result<bool> {
        let Some(fetches) = &self.fetches else { return Ok(false) };
        let delivered = fetches.deliver(|context| self.node.on_entries_fetched(context));
        self.check_store()?;
        Ok(delivered)
    }

    /// Resumes after a full disk or a membership change that was not durable; returns whether something was
    /// done.
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
        // Committed entries are applied before the next Ready is taken.
        let applies = self.committed.is_empty();
        applies && self.flight.len() < self.readys_max && self.node.has_ready()
    }

    /// Does steps 1 to 6 of the next Ready. Returns false if the Ready lacks committed entries because there
    /// was no file descriptor to read them; a later call gets the rest.
    fn process_ready(&mut self) -> Result<bool> {
        let (mut ready, hindered) = self.store.for_ready(|| self.node.ready());
        // Checked before any message leaves: the core may have asked for an entry that could not be read.
        self.check_store()?;
        if let Some(role) = ready.ss() {
            self.host.role_changed(role);
        }
        self.send(ready.take_messages());
        self.write(ready)?;
        Ok(!hindered)
    }

    fn send(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.host.send(messages);
        }
    }
}

/// Checks that the log belongs to this node.
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
