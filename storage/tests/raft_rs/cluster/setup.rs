//! Provides the settings of a run.

use seawall::ConfState;

use crate::random::Rng;

/// Settings of a run.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Number of nodes that the group starts with.
    pub founders: usize,
    /// Number of all nodes.
    pub nodes: usize,
    /// Whether snapshots are taken.
    pub snapshots: bool,
    /// Number of entries after which a snapshot is due; `None` for a random number.
    pub every: Option<u64>,
    /// Whether entries that are not in memory are read outside of the pump's calls.
    pub async_fetch: bool,
    pub check_quorum: bool,
    /// Whether nodes crash seldom, so that more happens between crashes.
    pub calm: bool,
    /// Whether transfers of snapshots fail.
    pub faults: bool,
    /// Whether the state machines allow every change of the members.
    pub lenient: bool,
}

impl Setup {
    pub fn random(rng: &mut Rng) -> Setup {
        let changes = rng.chance(60);
        Setup {
            founders: if changes { 1 + rng.pick(3) } else { 3 },
            nodes: if changes { 6 } else { 3 },
            snapshots: rng.chance(70),
            every: None,
            async_fetch: rng.chance(70),
            check_quorum: rng.chance(50),
            calm: rng.chance(50),
            faults: true,
            lenient: false,
        }
    }

    /// Returns the founding members: the first nodes.
    pub fn members(&self) -> ConfState {
        ConfState { voters: (1..=self.founders as u64).collect(), ..ConfState::default() }
    }
}
