//! Recovery: sync the files, read them from the medium, decide, and hand over what the write side starts with.
//!
//! The steps stand in order in [`recover`]. It writes nothing: no byte and no name changes. INV-3: everything
//! found was synced before it was read. Fails with every damaged place.

pub(crate) mod evidence;
pub(crate) mod footer_proof;
pub(crate) mod inspect;
pub(crate) mod pieces;
pub(crate) mod record_feed;
pub(crate) mod scan;
pub(crate) mod scan_log;
pub(crate) mod verdict;

use crate::damage::{Damage, DamageKind, Dropped, Witness};
use crate::disk::{Access, Clock, Disk, FileId, LazyMap, no_descriptors};
use crate::error::Error;
use crate::format::layout::FORMAT_VERSION;
use crate::format::{HeaderFault, Identity, READ_ONLY_COMPATIBLE_KNOWN, SegmentHeader};
use crate::options::{OpenMode, Options};
use crate::recovery::evidence::SegmentScan;
use crate::recovery::scan::untouched;
use crate::recovery::scan_log::{SegmentFiles, Surveyed};
use crate::recovery::verdict::{Verdict, decide_fresh};
use crate::segment::descriptors::{Descriptors, Key, SegmentFile};
use crate::segment::directory::{
    DirectoryListing, IDENTITY, check_blocks, failed, failed_to_open, list, read_closed, read_identity,
};
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::{OpenSegment, Segment, file_name};
use crate::sync::{AtomicBool, AtomicU32, share_out};
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Files that are synced at a time.
const SYNCS: usize = 16;

/// What open found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryReport {
    /// Identity of the log.
    pub uuid: [u8; 16],
    /// Lowest live segment.
    pub first_live: u32,
    /// Number of live segments with kept groups.
    pub segments: u32,
    /// Number of kept groups that were read; those of `by_footer` were not.
    pub groups: u64,
    /// Kept segments that were taken on the word of their footer, ascending: nothing between their first
    /// group's header and the footer was read. Empty with [`Options::verify_on_open`].
    pub by_footer: Vec<u32>,
    /// End of the kept log; zero if it is empty.
    pub end: Lsn,
    /// What the file of a clean close says.
    pub witness: Witness,
    /// Largest watermark found, or the end of the last clean close: everything below it was known durable.
    pub watermark: Lsn,
    /// What was there and is not kept; none of it was acknowledged.
    pub dropped: Vec<Dropped>,
    /// Damaged and missing places of the log, ascending: reading them is an error. Empty in strict mode,
    /// which refuses them.
    pub damaged: Vec<Damage>,
    /// The mode in which the log was opened.
    pub mode: OpenMode,
    /// Whether the directory is locked: only a log that is opened for reading may do without, where the file system
    /// locks no directories, and there is no `LOCK` file or it cannot be read. Then another process may be writing.
    pub locked: bool,
    /// Names of unfinished spares that the start of the log removed.
    pub removed: Vec<String>,
    /// Names that are not the log's; left alone.
    pub foreign: Vec<String>,
    /// Where the time went.
    pub took: Timings,
}

/// Where the time of an open went, by the log's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings {
    /// Making everything found durable, before it was read (INV-3).
    pub sync: Duration,
    /// Reading and checking the segments: of those in use and of spares as much as groups can have been written to,
    /// of the others two ends, or everything.
    pub scan: Duration,
    /// All of it, up to the durable mark that ends an open.
    pub total: Duration,
}

/// A log that was found sound.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) identity: Identity,
    pub(crate) verdict: Verdict,
    /// All segments from the first live one on.
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    /// Those of them that the log goes on in, and the spares behind it.
    pub(crate) open: BTreeMap<u32, OpenSegment>,
    /// Numbers of all segment files, also dead ones.
    pub(crate) files: Vec<u32>,
    /// Names of unfinished spares, which the start of the log removes.
    pub(crate) unfinished: Vec<String>,
    /// The sealer has seen all records of the segment in which the log goes on.
    pub(crate) shown: bool,
    pub(crate) report: RecoveryReport,
}

/// Which file each segment's is.
type Ids = BTreeMap<u32, Option<FileId>>;

/// Segments by number, and those of them that are open.
type Live = (BTreeMap<u32, Arc<Segment>>, BTreeMap<u32, OpenSegment>);

/// Finds the end of the log on the disk of `descriptors`, whose directory the caller has locked, on up to `readers`
/// threads; of the log that is being created with the identity `fresh`, its start. Shows `sealer` the records of the
/// segment in which the log goes on, if they were read.
pub(crate) fn recover(
    descriptors: &Arc<Descriptors>,
    clock: &dyn Clock,
    options: &Options,
    readers: usize,
    fresh: Option<Identity>,
    sealer: Option<&mut (dyn SegmentIndexBuilder + 'static)>,
) -> Result<Recovered, Error> {
    let (begin, disk) = (clock.now_ns(), &**descriptors.disk());
    let identity = fresh.map_or_else(|| read_identity(disk), Ok)?;
    let unknown = identity.read_only_compatible & !READ_ONLY_COMPATIBLE_KNOWN;
    if unknown != 0 {
        let (path, file) = (disk.location(), IDENTITY.into());
        return Err(Error::UnsupportedFeatures { path, file, bits: unknown });
    }
    let names = list(disk)?;
    let salvage = options.mode == OpenMode::Salvage && fresh.is_none();
    if !salvage {
        check_blocks(disk, &identity)?;
    }
    let ids = if salvage { ids_to_read(disk, &names)? } else { sync_all(disk, &names, readers)? };
    let synced = clock.now_ns();
    let witness = read_closed(disk, &names, &identity.uuid);
    let mut seen = sealer.is_some().then(BTreeMap::new);
    let (facts, verdict) = match fresh {
        Some(_) => survey_fresh(disk, &names.segments, &identity)?,
        None => {
            let numbers: Vec<u32> = ids.keys().copied().collect();
            let unopened = names.segments.iter().filter(|n| !ids.contains_key(n)).copied().collect();
            let access = if salvage { Access::Read } else { Access::Write };
            let (identity, numbers, mode, threads) = (&identity, &numbers[..], options.mode, readers);
            let closed = witness.durable();
            let files = SegmentFiles { disk, identity, numbers, access, unopened, closed, mode, threads };
            if options.verify_on_open || options.mode != OpenMode::Strict {
                files.survey_all(options.unexplained_tail, &|_| (), &|(), _| {})?.0
            } else {
                files.survey(options.unexplained_tail, seen.as_mut())?
            }
        }
    };
    let scanned = clock.now_ns();
    let verdict = verdict.map_err(|damage| refusal(disk.location(), &damage))?;
    // Otherwise nothing is in there yet.
    let goes_on = facts.iter().any(|s| s.sequence == verdict.next.at.segment() && !s.heads.is_empty());
    let seen = seen.and_then(|mut seen| seen.remove(&verdict.next.at.segment()));
    if let (Some(sealer), Some(seen)) = (sealer, &seen) {
        seen.show(sealer, verdict.end);
    }
    let shown = seen.is_some() || !goes_on;
    let (segments, open) = live(descriptors, &identity, &verdict, &facts, &ids)?;
    let report = RecoveryReport {
        uuid: identity.uuid,
        first_live: verdict.first_live,
        segments: u32::try_from(verdict.kept.len()).unwrap_or(u32::MAX),
        groups: verdict.kept.iter().filter_map(|k| k.groups).map(u64::from).sum(),
        by_footer: verdict.kept.iter().filter(|k| k.groups.is_none()).map(|k| k.segment).collect(),
        end: verdict.end,
        witness,
        watermark: verdict.watermark,
        dropped: verdict.dropped.clone(),
        damaged: verdict.damaged.clone(),
        mode: options.mode,
        locked: true,
        removed: Vec::new(),
        foreign: names.foreign.clone(),
        took: Timings { sync: since(begin, synced), scan: since(synced, scanned), ..Timings::default() },
    };
    let DirectoryListing { segments: files, unfinished, .. } = names;
    Ok(Recovered { identity, verdict, segments, open, files, unfinished, shown, report })
}

fn since(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}

/// Makes what is there durable before it is believed: a killed process may have left it in the page
/// cache only, and a failed sync may have left pages that the device never got. Each file is open for its sync alone.
fn sync_all(disk: &dyn Disk, names: &DirectoryListing, readers: usize) -> Result<Ids, Error> {
    // Each waits for a flush of the device, which those under way at a time share.
    let threads = if readers == 1 { 1 } else { SYNCS };
    let sync = |i: usize| {
        let sequence = names.segments[i];
        let name = file_name(sequence);
        let file = disk.open(&name, Access::Write).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        file.sync().map_err(|e| failed(disk, "sync", &name, e))?;
        file.distrust_cache();
        Ok((sequence, file.id()))
    };
    let ids = share_out(threads, names.segments.len(), &sync).into_iter().collect::<Result<Ids, Error>>()?;
    disk.sync().map_err(|e| failed(disk, "sync", "", e))?;
    Ok(ids)
}

/// Made a moment ago, by this process: there is nothing to look for.
fn survey_fresh(disk: &dyn Disk, numbers: &[u32], identity: &Identity) -> Result<Surveyed, Error> {
    let mut facts = Vec::with_capacity(numbers.len());
    for &sequence in numbers {
        let name = file_name(sequence);
        let file = disk.open(&name, Access::Write).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        let found = untouched(&*file, sequence, &identity.uuid, identity.block_bytes);
        facts.push(found.map_err(|e| failed(disk, "read", &name, e))?);
    }
    let verdict = decide_fresh(&facts, identity.block_bytes);
    Ok((facts, verdict))
}

/// Finds what can be opened, and changes nothing: what was written and not synced may be seen.
fn ids_to_read(disk: &dyn Disk, names: &DirectoryListing) -> Result<Ids, Error> {
    let mut ids = Ids::new();
    for &sequence in &names.segments {
        let name = file_name(sequence);
        match disk.open(&name, Access::Read) {
            Ok(file) => _ = ids.insert(sequence, file.id()),
            // Not a fault of the file.
            Err(e) if no_descriptors(&e) => return Err(failed_to_open(disk, "open", &name, e)),
            Err(_) => {}
        }
    }
    Ok(ids)
}

/// The error that names a refusal best.
fn refusal(path: String, damage: &[Damage]) -> Error {
    for d in damage {
        if let DamageKind::Header(HeaderFault::Version(found)) = d.what {
            let file = file_name(d.from.segment());
            return Error::UnsupportedVersion { path, file, found, supported: FORMAT_VERSION };
        }
    }
    Error::Corrupt { path, damage: damage.into() }
}

/// The segments from the first live one on, and those of them that are written to from now on, which are opened.
fn live(
    descriptors: &Arc<Descriptors>,
    identity: &Identity,
    verdict: &Verdict,
    facts: &[SegmentScan],
    ids: &Ids,
) -> Result<Live, Error> {
    let (disk, next) = (&**descriptors.disk(), verdict.next.at);
    let (mut segments, mut open) = (BTreeMap::new(), BTreeMap::new());
    for found in facts.iter().filter(|f| f.sequence >= verdict.first_live) {
        let (Ok(header), Some(id)) = (found.header, ids.get(&found.sequence)) else { continue };
        let SegmentHeader { sequence, salt, block_bytes, .. } = header;
        let (name, key) = (file_name(sequence), Key { uuid: identity.uuid, sequence, salt, block_bytes });
        let segment = |file, written_to: u64| {
            let file_bytes = u32::try_from(header.file_bytes).unwrap_or(u32::MAX);
            let written_to = u32::try_from(written_to).unwrap_or(u32::MAX) & !(block_bytes - 1);
            Arc::new(Segment {
                sequence,
                salt,
                prior: header.prior,
                reach_blocks: header.reach_blocks,
                file_bytes,
                file,
                written_to: AtomicU32::new(written_to),
                map: LazyMap::default(),
                left: AtomicBool::new(false),
            })
        };
        if verdict.next.read_only || sequence < next.segment() {
            let file = SegmentFile::closed(descriptors, name, key, *id);
            segments.insert(sequence, segment(file, header.file_bytes));
            continue;
        }
        let pinned = disk.open(&name, Access::Write).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        pinned.distrust_cache();
        // From the end of the kept log on: a copy may have turned zeros inside of groups into holes,
        // and what lies before a hole is not written again.
        let from = if sequence == next.segment() { next.offset() } else { 0 };
        let written_to =
            pinned.written_end(u64::from(from)).map_err(|e| failed(disk, "examine", &name, e))?;
        let segment = segment(SegmentFile::opened(descriptors, name, key, &pinned, true), written_to);
        segments.insert(sequence, Arc::clone(&segment));
        open.insert(sequence, OpenSegment { segment, pinned });
    }
    Ok((segments, open))
}
