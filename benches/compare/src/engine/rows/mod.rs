//! The rows, one file each: a load, its measurements, and the bars.

mod device_bytes;
mod following;
mod full_disk;
mod index_memory;
mod many_groups;
mod not_durable;
mod raft_node;
mod reading;
mod reopening;
mod slow_groups;

use crate::args::Site;
use crate::turns::Outcome;
use anyhow::Result;
use clap::Subcommand;

/// The row to measure.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Row {
    /// Row 1: durable appends to many groups, compared with one group per thread
    ManyGroups(many_groups::Load),
    /// Row 2: memory per live entry
    IndexMemory(index_memory::Load),
    /// Row 3: disk and latency while slow groups are rewritten
    SlowGroups(slow_groups::Load),
    /// Row 4: ranges and single entries of sealed segments
    Reading(reading::Load),
    /// Row 5: entries read by another thread soon after they were appended
    Following(following::Load),
    /// Row 6: time and memory of opening
    Reopening(reopening::Load),
    /// Row 7: a small file system that is filled, freed and used again
    FullDisk(full_disk::Load),
    /// Row 8: bytes that the device writes per byte of payload
    DeviceBytes(device_bytes::Load),
    /// Row 9: proposals through a Raft node, from the call until they are applied
    RaftNode(raft_node::Load),
    /// Row 10: appends that nobody waits for
    NotDurable(not_durable::Load),
    /// One opening, measured in its own process by `reopening`
    #[command(hide = true)]
    OpenOnce(reopening::Once),
}

impl Row {
    /// Runs a subcommand that needs no directory of its own and returns true; returns false for all others.
    pub(crate) fn run_alone(&self) -> Result<bool> {
        match self {
            Row::OpenOnce(once) => once.run().map(|()| true),
            _ => Ok(false),
        }
    }

    /// The row with tiny sizes, for a quick run.
    pub(crate) fn tiny(self) -> Row {
        match self {
            Row::ManyGroups(load) => Row::ManyGroups(load.tiny()),
            Row::IndexMemory(load) => Row::IndexMemory(load.tiny()),
            Row::SlowGroups(load) => Row::SlowGroups(load.tiny()),
            Row::Reading(load) => Row::Reading(load.tiny()),
            Row::Following(load) => Row::Following(load.tiny()),
            Row::Reopening(load) => Row::Reopening(load.tiny()),
            Row::FullDisk(load) => Row::FullDisk(load.tiny()),
            Row::DeviceBytes(load) => Row::DeviceBytes(load.tiny()),
            Row::RaftNode(load) => Row::RaftNode(load.tiny()),
            Row::NotDurable(load) => Row::NotDurable(load.tiny()),
            other @ Row::OpenOnce(_) => other,
        }
    }

    /// Disk space that the row needs, all engines together, in bytes.
    pub(crate) fn needed_bytes(&self) -> u64 {
        match self {
            Row::ManyGroups(load) => load.needed_bytes(),
            Row::IndexMemory(load) => load.needed_bytes(),
            Row::SlowGroups(load) => load.needed_bytes(),
            Row::Reading(load) => load.needed_bytes(),
            Row::Following(load) => load.needed_bytes(),
            Row::Reopening(load) => load.needed_bytes(),
            Row::FullDisk(load) => load.needed_bytes(),
            Row::DeviceBytes(load) => load.needed_bytes(),
            Row::RaftNode(load) => load.needed_bytes(),
            Row::NotDurable(load) => load.needed_bytes(),
            Row::OpenOnce(_) => 0,
        }
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        match self {
            Row::ManyGroups(load) => load.run(site),
            Row::IndexMemory(load) => load.run(site),
            Row::SlowGroups(load) => load.run(site),
            Row::Reading(load) => load.run(site),
            Row::Following(load) => load.run(site),
            Row::Reopening(load) => load.run(site),
            Row::FullDisk(load) => load.run(site),
            Row::DeviceBytes(load) => load.run(site),
            Row::RaftNode(load) => load.run(site),
            Row::NotDurable(load) => load.run(site),
            Row::OpenOnce(_) => Ok(Vec::new()),
        }
    }
}
