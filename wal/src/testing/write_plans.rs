//! Fixes how a log writes, so that its own choice can be compared with every fixed one.

pub use crate::commit::WritePlan;
use crate::wal::Wal;

/// The plans that a log chooses from if it may have `in_flight` writes in flight.
pub fn all(in_flight: usize) -> Vec<WritePlan> {
    crate::commit::plans(in_flight)
}

/// Lets `wal` choose from `plans` only. What it has measured is forgotten.
pub fn restrict(wal: &Wal, plans: Vec<WritePlan>) {
    wal.log().lock_state().restrict_plans(plans);
}

/// The plan that `wal` follows now.
pub fn current(wal: &Wal) -> WritePlan {
    wal.log().lock_state().plan()
}
