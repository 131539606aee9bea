//! What a call of the pump's loop came to, and figures of a running pump.
//! Place on the data's way: returned to the user's loop. Invariants: a full disk is no end; a pump that
//! stopped without being told to says so with an error. Nothing here fails.

use crate::adapters::raft_rs::error::Error;

/// What a call of [`Pump::poll`](super::Pump::poll), [`Pump::wait`](super::Pump::wait) or
/// [`Pump::tick`](super::Pump::tick) came to. The pump runs on after each of them but [`Outcome::Ended`], which comes after
/// [`Pump::stop`](super::Pump::stop) alone: else only an `Err` of these three calls means that it has stopped.
#[derive(Clone, Debug)]
#[must_use = "the disk may be full: the pump runs on, and somebody should know"]
pub enum Outcome {
    /// Something was done, and there may be more: call [`Pump::poll`](super::Pump::poll) again.
    Worked,
    /// There is nothing to do until a write becomes durable, a read ends, or the core is given something.
    Idle,
    /// The log has no room, so a Ready or a change of the members could not be written. The error says where. Nothing is
    /// lost. Until there is room the pump steps nothing into its core, so the node neither votes nor leads; ticks are
    /// given to the core later ([`PumpStats::ticks_missed`]). Each later call tries again, so a loop that ticks goes on by itself; do not
    /// end it.
    Stalled(Error),
    /// The pump has stopped in order, after [`Pump::stop`](super::Pump::stop): end the loop.
    Ended(End),
}

/// How a pump stopped that was told to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct End {
    /// Whether this node still leads other voters, since none of them took over in time: they elect another leader when
    /// they notice.
    pub leads: bool,
    /// Whether everything was durable, sent and applied. Otherwise the time was over before that: what is missing is as
    /// after a kill, so nothing that was acknowledged.
    pub drained: bool,
}

impl Outcome {
    /// Whether something was done, so that there may be more to do.
    pub fn is_worked(&self) -> bool {
        matches!(self, Outcome::Worked)
    }

    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        matches!(self, Outcome::Idle)
    }

    /// Whether the pump waits for room in the log.
    pub fn is_stalled(&self) -> bool {
        matches!(self, Outcome::Stalled(_))
    }

    pub(super) fn of(worked: bool) -> Outcome {
        if worked { Outcome::Worked } else { Outcome::Idle }
    }
}

/// Figures of a running pump; see [`Pump::stats`](super::Pump::stats). All count from the pump's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PumpStats {
    /// Ticks that the core was given.
    pub ticks: u64,
    /// Ticks that the core was not given at their time, since the disk was full. When there is room they are made up for, as far
    /// as two election timeouts.
    pub ticks_missed: u64,
    /// Calls that found the disk full.
    pub stalls: u64,
    /// Appends of peers that were dropped ([`Host::append_refused`](super::Host::append_refused)).
    pub appends_refused: u64,
}
