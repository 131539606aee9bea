//! Looking at a log without changing it: what is in the files, and what open would conclude.
//!
//! Takes no lock, writes nothing, discards nothing (INV-10). On a log that is being written the end may look
//! torn. Fails only if the directory holds no log or the medium cannot be read.

use crate::directory::{failed, list, read_identity};
use crate::disk::{Access, AlignedBuf, Disk, read_exact_medium};
use crate::error::Error;
use crate::facts::{Damage, Head, SegmentFacts};
use crate::frame::{GroupHeader, Identity, RecordRef};
use crate::options::Suspect;
use crate::scan::{records, scan};
use crate::segment::file_name;
use crate::types::Lsn;
use crate::verdict::{Verdict, decide};

/// A log as it lies on the disk.
#[derive(Debug)]
pub struct Inspection {
    /// Who it is.
    pub identity: Identity,
    /// Every segment file, ascending.
    pub segments: Vec<SegmentFacts>,
    /// What open would conclude, or every damaged place.
    pub verdict: Result<Verdict, Vec<Damage>>,
    /// Names of unfinished spares.
    pub unfinished: Vec<String>,
    /// Names that are not the log's.
    pub foreign: Vec<String>,
}

/// Looks at the log in `disk`.
pub fn inspect(disk: &dyn Disk) -> Result<Inspection, Error> {
    let names = list(disk)?;
    if !names.identity {
        return Err(Error::NotALog { path: disk.location(), found: "no IDENTITY" });
    }
    let identity = read_identity(disk)?;
    let mut segments = Vec::new();
    for &sequence in &names.segments {
        let name = file_name(sequence);
        let file = disk.open(&name, Access::Read).map_err(|e| failed(disk, "open", &name, e))?;
        let facts = scan(&*file, sequence, &identity.uuid, identity.block_bytes)
            .map_err(|e| failed(disk, "read", &name, e))?;
        segments.push(facts);
    }
    let verdict = decide(&segments, identity.block_bytes, Suspect::Refuse);
    Ok(Inspection { identity, segments, verdict, unfinished: names.unfinished, foreign: names.foreign })
}

/// Hands every record of the valid group `head` of segment `sequence` to `each`.
pub fn visit_records(
    disk: &dyn Disk,
    facts: &SegmentFacts,
    head: &Head,
    each: &mut dyn FnMut(&RecordRef<'_>),
) -> Result<(), Error> {
    let Ok(header) = facts.header else { return Ok(()) };
    let name = file_name(facts.sequence);
    let io = |e| failed(disk, "read", &name, e);
    let file = disk.open(&name, Access::Read).map_err(io)?;
    let length = (head.end - head.offset) as usize;
    let mut bytes = AlignedBuf::zeroed(length);
    read_exact_medium(&*file, &mut bytes, u64::from(head.offset), length).map_err(io)?;
    let lsn = Lsn::new(facts.sequence, head.offset);
    if let Some(group) = GroupHeader::decode(&bytes, header.salt, lsn)
        && group.check(header.salt, &bytes).is_ok()
    {
        records(&group, header.salt, &bytes).for_each(|record| each(&record));
    }
    Ok(())
}
