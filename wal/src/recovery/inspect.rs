//! Inspects a log without changing it: what its files hold, and what an open would conclude.
//!
//! Takes no lock, writes nothing, discards nothing (INV-10). If another process is writing the log, its end may look
//! torn.

use crate::damage::{Damage, Witness};
use crate::env::Threads;
use crate::error::Error;
use crate::format::layout::{PART_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES, RawRecordHeader};
use crate::format::{GroupHeader, Identity, RecordRef, SegmentHeader, record_at};
use crate::options::{OpenMode, UnexplainedTail};
use crate::recovery::evidence::{GroupHead, SegmentScan};
use crate::recovery::scan::ScannedGroup;
use crate::recovery::scan_log::{SegmentFiles, Surveyed};
use crate::recovery::verdict::Verdict;
use crate::segment::directory::{failed_to_open, list, read_closed, read_identity};
use crate::segment::names::file_name;
use crate::segment::read_ahead::ReadAhead;
use crate::types::{Lsn, len32};
use seawall_disk::{Access, AlignedBuf, Disk, read_exact_medium};
use std::ops::ControlFlow;
use zerocopy::FromBytes;

/// Largest part of a damaged range that is searched for remains of records, in bytes.
const REMNANT_BYTES_MAX: u32 = 64 << 20;

/// Findings of an inspection in the files of a log.
#[derive(Debug)]
pub struct Inspection {
    /// Identity of the log.
    pub identity: Identity,
    /// Contents of the `CLOSED` file, which a clean close writes.
    pub witness: Witness,
    /// Every segment file, ascending.
    pub segments: Vec<SegmentScan>,
    /// The verdict of a strict open, or every damaged range.
    pub verdict: Result<Verdict, Vec<Damage>>,
    /// Names of unfinished spares.
    pub unfinished: Vec<String>,
    /// Names that do not belong to the log.
    pub foreign: Vec<String>,
}

/// Inspects the log on `disk`: reads every block of every segment.
///
/// # Errors
/// [`Error::NotALog`], or an error if the identity or the medium cannot be read. Damage is no error: see
/// [`Inspection::verdict`].
pub fn inspect(disk: &dyn Disk) -> Result<Inspection, Error> {
    Ok(inspect_with(disk, |_| (), |(), _| {})?.0)
}

/// As [`inspect`], and hands every valid group to `see` while its bytes are in memory, kept or not: only the verdict
/// knows which are kept. `see` gets the groups of one segment in order, with the value that `start` made for the
/// segment. Segments are read in parallel. Returns the values of `start`, ascending by segment.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with<V: Send>(
    disk: &dyn Disk,
    start: impl Fn(u32) -> V + Sync,
    see: impl Fn(&mut V, &ScannedGroup<'_>) + Sync,
) -> Result<(Inspection, Vec<V>), Error> {
    look(disk, |files| files.survey_all(UnexplainedTail::Refuse, &start, &see))
}

/// As [`inspect`], but reads only what an open would read; [`SegmentScan::extent`] tells how much that was.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_as_open(disk: &dyn Disk) -> Result<Inspection, Error> {
    Ok(look(disk, |files| Ok((files.survey(UnexplainedTail::Refuse, None)?, ())))?.0)
}

fn look<T>(
    disk: &dyn Disk,
    survey: impl FnOnce(&SegmentFiles<'_>) -> Result<(Surveyed, T), Error>,
) -> Result<(Inspection, T), Error> {
    let names = list(disk)?;
    if let Some(found) = names.instead_of_log() {
        return Err(Error::NotALog { path: disk.location(), found });
    }
    let identity = read_identity(disk)?;
    let witness = read_closed(disk, &names, &identity.uuid);
    let threads = Threads::Spawned.readers();
    let ((segments, verdict), more) = survey(&SegmentFiles {
        disk,
        identity: &identity,
        numbers: &names.segments,
        access: Access::Read,
        unopened: Vec::new(),
        closed: witness.durable(),
        mode: OpenMode::Strict,
        threads,
    })?;
    let (unfinished, foreign) = (names.unfinished, names.foreign);
    Ok((Inspection { identity, witness, segments, verdict, unfinished, foreign }, more))
}

/// Hands every head of a scanned segment whose group overlaps the bytes `[from, to)` to `each`, with the group if it
/// is valid, until `each` breaks. Reads the segment in large pieces, each once.
///
/// # Errors
/// If the file cannot be opened or read.
pub fn visit_groups(
    disk: &dyn Disk,
    scan: &SegmentScan,
    (from, to): (u32, u32),
    each: &mut dyn FnMut(&GroupHead, Option<&ScannedGroup<'_>>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let Ok(header) = scan.header else { return Ok(()) };
    let name = file_name(scan.sequence);
    let io = |e| failed_to_open(disk, "read", &name, e);
    let file = disk.open(&name, Access::Read).map_err(io)?;
    let mut window = ReadAhead::whole(length_of(&header));
    for head in scan.heads.iter().filter(|h| h.end > from && h.offset < to) {
        let flow = if head.fault.is_none() {
            let bytes = window.range(&*file, head.offset, head.end - head.offset).map_err(io)?;
            let lsn = Lsn::new(scan.sequence, head.offset);
            let group = GroupHeader::decode(bytes, header.salt, lsn)
                .filter(|group| group.check(header.salt, bytes).is_ok());
            let group =
                group.as_ref().map(|group| ScannedGroup { head, header: group, salt: header.salt, bytes });
            each(head, group.as_ref())
        } else {
            each(head, None)
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// Hands every record of the valid group `head` of a scanned segment to `each`.
///
/// # Errors
/// If the file cannot be opened or read.
pub fn visit_records(
    disk: &dyn Disk,
    scan: &SegmentScan,
    head: &GroupHead,
    each: &mut dyn FnMut(&RecordRef<'_>),
) -> Result<(), Error> {
    visit_groups(disk, scan, (head.offset, head.end), &mut |found, group| {
        if let Some(group) = group.filter(|_| found == head) {
            group.records().for_each(|record| each(&record));
        }
        ControlFlow::Continue(())
    })
}

/// Searches the damaged bytes `[from, to)` of a scanned segment for remains of records. Hands each record whose
/// header, `meta` and part table pass their checksum at their own position to `each`, with the numbers of its parts
/// that fail theirs. Such a record belongs to no valid group: use it to report damage, not to read the log.
///
/// Returns whether the whole range was searched. It is not if the range is larger than 64 MiB, or full of bytes that
/// look like record headers and are none.
///
/// # Errors
/// If the file cannot be opened or read.
pub fn visit_remnants(
    disk: &dyn Disk,
    scan: &SegmentScan,
    (from, to): (u32, u32),
    each: &mut dyn FnMut(&RecordRef<'_>, &[u32]),
) -> Result<bool, Error> {
    let Ok(header) = scan.header else { return Ok(false) };
    let from = from & !(header.block_bytes - 1);
    let end = to.min(length_of(&header));
    let length =
        end.saturating_sub(from).min(REMNANT_BYTES_MAX).next_multiple_of(header.block_bytes) as usize;
    if length == 0 || from as usize + length > length_of(&header) as usize {
        return Ok(true);
    }
    let name = file_name(scan.sequence);
    let io = |e| failed_to_open(disk, "read", &name, e);
    let file = disk.open(&name, Access::Read).map_err(io)?;
    let mut bytes = AlignedBuf::zeroed(length);
    read_exact_medium(&*file, &mut bytes, u64::from(from), length).map_err(io)?;
    // Bytes that may be checksummed for records that turn out to be none. Bounded, since bytes may imitate headers,
    // each with a long claim.
    let mut budget = length.saturating_mul(16);
    let mut at = 0;
    while at + RECORD_HEADER_BYTES <= length {
        let lsn = Lsn::new(scan.sequence, from.saturating_add(len32(at)));
        match record_at(&bytes, at, header.salt, lsn) {
            Ok(record) => {
                each(&record, &record.bad_parts());
                at = (at + record.len()).next_multiple_of(RECORD_ALIGN as usize);
                continue;
            }
            Err(_) => match budget.checked_sub(claimed(&bytes[at..])) {
                Some(left) => budget = left,
                None => return Ok(false),
            },
        }
        at += RECORD_ALIGN as usize;
    }
    Ok(end.saturating_sub(from) <= REMNANT_BYTES_MAX)
}

/// Bytes that were checksummed to find that `bytes` does not start with a record: none if the lengths do not fit.
fn claimed(bytes: &[u8]) -> usize {
    let Ok((raw, _)) = RawRecordHeader::ref_from_prefix(bytes) else { return 0 };
    let table = (raw.part_count.get() as usize).saturating_mul(PART_BYTES);
    let head = RECORD_HEADER_BYTES.saturating_add(raw.meta_bytes.get() as usize).saturating_add(table);
    let length = raw.length.get() as usize;
    if head <= length && length <= bytes.len() { head } else { 0 }
}

/// The file's length in bytes, which was checked to fit 32 bits.
fn length_of(header: &SegmentHeader) -> u32 {
    u32::try_from(header.file_bytes).unwrap_or(u32::MAX)
}
