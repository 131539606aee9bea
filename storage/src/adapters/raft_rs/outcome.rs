//! The results of the pump's loop, and its counters.

use crate::adapters::raft_rs::error::Error;

/// The result of [`Pump::poll`](super::Pump::poll), [`Pump::wait`](super::Pump::wait) or
/// [`Pump::tick`](super::Pump::tick). The pump keeps running after each of them except [`Outcome::Ended`],
/// which follows only [`Pump::stop`](super::Pump::stop). Without such a call, only an `Err` of these three
/// calls means that the pump has stopped.
#[derive(Clone, Debug)]
#[must_use = "check for `Stalled`: the disk may be full"]
pub enum Outcome {
    /// The pump did some work, and there may be more: call [`Pump::poll`](super::Pump::poll) again.
    Worked,
    /// There is nothing to do until a write becomes durable, a read ends, or the core gets input.
    Idle,
    /// The log has no space, so a Ready or a membership change could not be written. The error tells where.
    /// Nothing is lost. Until there is space the pump steps nothing into its core, so the node neither votes
    /// nor leads; the core gets missed ticks later ([`PumpStats::ticks_missed`]). Each later call tries again,
    /// so a loop that ticks recovers by itself; do not end it.
    Stalled(Error),
    /// The pump has stopped as requested by [`Pump::stop`](super::Pump::stop): end the loop.
    Ended(End),
}

/// How a pump stopped after [`Pump::stop`](super::Pump::stop).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct End {
    /// Whether this node still leads other voters because none of them took over in time. They elect another
    /// leader after an election timeout.
    pub leads: bool,
    /// Whether everything was durable, sent and applied. If false, the ticks ran out first, and unfinished work
    /// is lost as after a kill; nothing that was acknowledged is lost.
    pub drained: bool,
}

impl Outcome {
    /// Whether the pump did some work, so that there may be more.
    pub fn is_worked(&self) -> bool {
        matches!(self, Outcome::Worked)
    }

    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        matches!(self, Outcome::Idle)
    }

    /// Whether the pump waits for space in the log.
    pub fn is_stalled(&self) -> bool {
        matches!(self, Outcome::Stalled(_))
    }

    pub(super) fn of(worked: bool) -> Outcome {
        if worked { Outcome::Worked } else { Outcome::Idle }
    }
}

/// Counters of a running pump, from its start; see [`Pump::stats`](super::Pump::stats).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PumpStats {
    /// Ticks that the core got.
    pub ticks: u64,
    /// Ticks that the core did not get in time because the disk was full. The pump makes up for them once there
    /// is space, up to two election timeouts.
    pub ticks_missed: u64,
    /// Calls that found the disk full.
    pub stalls: u64,
    /// Appends of peers that were dropped ([`Host::append_refused`](super::Host::append_refused)).
    pub appends_refused: u64,
    /// Waits in which the pump's thread wrote the log itself, so that no other thread had to be woken.
    pub own_writes: u64,
    /// Wake-ups that the pump requested from the log, because another thread writes.
    pub wake_ups: u64,
}
