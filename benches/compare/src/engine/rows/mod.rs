//! The rows: each a load, what is measured of it, and the bars. One file each.

mod many_groups;
mod reading;
mod reopening;

use crate::args::Site;
use crate::turns::Outcome;
use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Row {
    /// Row 1: durable appends to many groups, beside one group per thread
    ManyGroups(many_groups::Load),
    /// Row 4: ranges and single entries of sealed segments
    Reading(reading::Load),
    /// Row 6: time and memory of opening
    Reopening(reopening::Load),
    /// One opening, measured in a process of its own by `reopening`
    #[command(hide = true)]
    OpenOnce(reopening::Once),
}

impl Row {
    /// Does what needs no place of its own, if this is that; else `false`.
    pub(crate) fn run_alone(&self) -> Result<bool> {
        match self {
            Row::OpenOnce(once) => once.run().map(|()| true),
            _ => Ok(false),
        }
    }

    /// The same with sizes that take a moment.
    pub(crate) fn tiny(self) -> Row {
        match self {
            Row::ManyGroups(load) => Row::ManyGroups(load.tiny()),
            Row::Reading(load) => Row::Reading(load.tiny()),
            Row::Reopening(load) => Row::Reopening(load.tiny()),
            other @ Row::OpenOnce(_) => other,
        }
    }

    /// Room that it takes, all engines together.
    pub(crate) fn needed_bytes(&self) -> u64 {
        match self {
            Row::ManyGroups(load) => load.needed_bytes(),
            Row::Reading(load) => load.needed_bytes(),
            Row::Reopening(load) => load.needed_bytes(),
            Row::OpenOnce(_) => 0,
        }
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        match self {
            Row::ManyGroups(load) => load.run(site),
            Row::Reading(load) => load.run(site),
            Row::Reopening(load) => load.run(site),
            Row::OpenOnce(_) => Ok(Vec::new()),
        }
    }
}
