//! Recovers a log: syncs its files, reads them from the medium, decides where the log ends, and returns the state
//! with which the write side starts.
//!
//! [`recover`] shows the steps in order. It writes nothing: no byte and no name changes. Every segment is synced before
//! it is read, except in salvage mode (INV-3). A refusal names every damaged range.

pub(crate) mod evidence;
pub(crate) mod footer_proof;
pub(crate) mod inspect;
pub(crate) mod pieces;
pub(crate) mod record_feed;
pub(crate) mod scan;
pub(crate) mod scan_log;
pub(crate) mod verdict;

use crate::damage::{Damage, DamageKind, Dropped, Witness};
use crate::error::Error;
use crate::format::layout::FORMAT_VERSION;
use crate::format::{HeaderFault, Identity, READ_ONLY_COMPATIBLE_KNOWN, SegmentHeader};
use crate::options::{OpenMode, Options};
use crate::recovery::evidence::SegmentScan;
use crate::recovery::scan::untouched;
use crate::recovery::scan_log::{SegmentFiles, Surveyed};
use crate::recovery::verdict::{Verdict, decide_fresh};
use crate::segment::descriptors::{CachedPages, Descriptors, Key, SegmentFile};
use crate::segment::directory::{
    DirectoryListing, IDENTITY, check_blocks, failed, failed_to_open, list, read_closed, read_identity,
};
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::lazy_map::LazyMap;
use crate::segment::names::file_name;
use crate::segment::open_segment::{OpenSegment, Segment};
use crate::sync::{AtomicBool, AtomicU32, share_out};
use crate::types::Lsn;
use seawall_disk::{Access, Disk, FileId, clock::Clock, no_descriptors};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Number of files that are synced at a time.
const SYNCS: usize = 16;

/// The result of an open: what it found and what it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryReport {
    /// Identity of the log.
    pub uuid: [u8; 16],
    /// Number of the lowest live segment.
    pub first_live: u32,
    /// Number of live segments with kept groups.
    pub segments: u32,
    /// Number of kept groups that were read; those of the segments in `by_footer` are not counted.
    pub groups: u64,
    /// Kept segments that were accepted by their footer, ascending: nothing between the header of their first group
    /// and the footer was read. Empty with [`Options::verify_on_open`] and in modes other than strict.
    pub by_footer: Vec<u32>,
    /// End of the kept log; zero if it is empty.
    pub end: Lsn,
    /// Contents of the `CLOSED` file, which a clean close writes.
    pub witness: Witness,
    /// Largest watermark found, or the end of the last clean close if that is larger: everything below it was known
    /// to be durable.
    pub watermark: Lsn,
    /// Ranges that were found and are not kept; none of them was acknowledged.
    pub dropped: Vec<Dropped>,
    /// Damaged and missing ranges of the log, ascending. Reading them is an error. Empty in strict mode, which
    /// refuses to open a log with such ranges.
    pub damaged: Vec<Damage>,
    /// The mode in which the log was opened.
    pub mode: OpenMode,
    /// Whether the directory is locked. `false` only for a log that is opened for reading, on a file system that
    /// cannot lock directories, and where there is no readable `LOCK` file. Another process may then be writing.
    pub locked: bool,
    /// Names of unfinished spares that the start of the log removed.
    pub removed: Vec<String>,
    /// Names that do not belong to the log; they are left alone.
    pub foreign: Vec<String>,
    /// How long the parts of the open took.
    pub took: Timings,
}

impl fmt::Display for RecoveryReport {
    /// One line, then a line for each dropped and each damaged range.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoveryReport { segments, groups, by_footer, end, dropped, damaged, took, .. } = self;
        write!(
            f,
            "log up to {end}: {segments} segments, {} of them read by their footer, {groups} groups read, in {:?}",
            by_footer.len(),
            took.total
        )?;
        for range in dropped {
            write!(
                f,
                "\ndropped {} to {}, which were not acknowledged: {:?}",
                range.from, range.to, range.why
            )?;
        }
        for range in damaged {
            write!(f, "\ndamaged {} to {}: {}", range.from, range.to, range.what)?;
        }
        Ok(())
    }
}

/// How long the parts of an open took, measured with the log's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings {
    /// Making everything found durable, before it is read (INV-3).
    pub sync: Duration,
    /// Reading and checking the segments. Segments in use and spares are read as far as groups can have been written,
    /// other segments at their two ends or completely.
    pub scan: Duration,
    /// The whole open, up to the durable mark that ends it.
    pub total: Duration,
}

/// A log that recovery accepted, as the write side needs it.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) identity: Identity,
    pub(crate) verdict: Verdict,
    /// All segments from the first live one on.
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    /// Those of them that are open for writing: the segment in which the log continues, and the spares after it.
    pub(crate) open: BTreeMap<u32, OpenSegment>,
    /// Numbers of all segment files, including dead ones.
    pub(crate) files: Vec<u32>,
    /// Names of unfinished spares, which the start of the log removes.
    pub(crate) unfinished: Vec<String>,
    /// Whether the index builder has seen all records of the segment in which the log continues.
    pub(crate) shown: bool,
    pub(crate) report: RecoveryReport,
}

/// The file of each segment.
type Ids = BTreeMap<u32, Option<FileId>>;

/// Segments by number, and those of them that are open for writing.
type Live = (BTreeMap<u32, Arc<Segment>>, BTreeMap<u32, OpenSegment>);

/// Finds the end of the log on the disk of `descriptors`, with up to `readers` threads. The caller has locked the
/// directory. With `fresh`, the log is being created with that identity, and its start is found.
///
/// Shows `index_builder` the records of the segment in which the log continues, if the scan read them.
///
/// # Errors
/// [`Error::Corrupt`] with every damaged range, [`Error::UnsupportedVersion`], [`Error::UnsupportedFeatures`],
/// [`Error::ReadOnlyFeatures`], or an
/// error of the disk.
pub(crate) fn recover(
    descriptors: &Arc<Descriptors>,
    clock: &dyn Clock,
    options: &Options,
    readers: usize,
    fresh: Option<Identity>,
    index_builder: Option<&mut (dyn SegmentIndexBuilder + 'static)>,
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
        // Salvage writes nothing, and what these features change is not in the log's own bytes.
        if !identity.features.is_empty() {
            let (path, features) = (disk.location(), identity.features);
            return Err(Error::ReadOnlyFeatures { path, features });
        }
        check_blocks(disk, &identity)?;
    }
    let ids = if salvage { ids_to_read(disk, &names)? } else { sync_all(disk, &names, readers)? };
    let synced = clock.now_ns();
    let witness = read_closed(disk, &names, &identity.uuid);
    let mut seen = index_builder.is_some().then(BTreeMap::new);
    let (scans, verdict) = match fresh {
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
    // Otherwise that segment holds no records yet.
    let holds_groups = scans.iter().any(|s| s.sequence == verdict.next.at.segment() && !s.heads.is_empty());
    let seen = seen.and_then(|mut seen| seen.remove(&verdict.next.at.segment()));
    if let (Some(index_builder), Some(seen)) = (index_builder, &seen) {
        seen.show(index_builder, verdict.end);
    }
    let shown = seen.is_some() || !holds_groups;
    let (segments, open) = live(descriptors, &identity, (&scans, &verdict), &ids, !salvage)?;
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

/// Makes the files durable before they are read: a killed process may have left data only in the page cache, and
/// after a failed sync the cache may hold pages that the device never got. Each file is open only during its sync.
fn sync_all(disk: &dyn Disk, names: &DirectoryListing, readers: usize) -> Result<Ids, Error> {
    // Each sync waits for a flush of the device, which concurrent syncs share.
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

/// Scans the segments of a log that this process has just created: they hold no groups.
fn survey_fresh(disk: &dyn Disk, numbers: &[u32], identity: &Identity) -> Result<Surveyed, Error> {
    let mut scans = Vec::with_capacity(numbers.len());
    for &sequence in numbers {
        let name = file_name(sequence);
        let file = disk.open(&name, Access::Write).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        let found = untouched(&*file, sequence, &identity.uuid, identity.block_bytes);
        scans.push(found.map_err(|e| failed(disk, "read", &name, e))?);
    }
    let verdict = decide_fresh(&scans, identity.block_bytes);
    Ok((scans, verdict))
}

/// Finds the files that can be opened, and changes nothing: data that was written but not synced may be read.
fn ids_to_read(disk: &dyn Disk, names: &DirectoryListing) -> Result<Ids, Error> {
    let mut ids = Ids::new();
    for &sequence in &names.segments {
        let name = file_name(sequence);
        match disk.open(&name, Access::Read) {
            Ok(file) => _ = ids.insert(sequence, file.id()),
            // This is not a fault of the file.
            Err(e) if no_descriptors(&e) => return Err(failed_to_open(disk, "open", &name, e)),
            Err(_) => {}
        }
    }
    Ok(ids)
}

/// The error that describes a refusal best.
fn refusal(path: String, damage: &[Damage]) -> Error {
    for d in damage {
        if let DamageKind::Header(HeaderFault::Version(found)) = d.what {
            let file = file_name(d.from.segment());
            return Error::UnsupportedVersion { path, file, found, supported: FORMAT_VERSION };
        }
    }
    Error::Corrupt { path, damage: damage.into() }
}

/// The segments from the first live one on, and those of them that will be written, which it opens. `synced`: all files
/// were synced before they were read.
fn live(
    descriptors: &Arc<Descriptors>,
    identity: &Identity,
    (scans, verdict): (&[SegmentScan], &Verdict),
    ids: &Ids,
    synced: bool,
) -> Result<Live, Error> {
    let (disk, next) = (&**descriptors.disk(), verdict.next.at);
    let (mut segments, mut open) = (BTreeMap::new(), BTreeMap::new());
    for found in scans.iter().filter(|f| f.sequence >= verdict.first_live) {
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
            let cached = if synced { cached_pages(verdict, sequence) } else { CachedPages::Doubted };
            let file = SegmentFile::closed(descriptors, name, key, *id, cached);
            segments.insert(sequence, segment(file, header.file_bytes));
            continue;
        }
        let pinned = disk.open(&name, Access::Write).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        // Before the first write. After a failed sync of an earlier process the cache may hold what the medium lacks, in
        // pages that look clean. Writing next to them would write them, too, and bring back what recovery drops.
        pinned.drop_cache();
        // The search for unwritten blocks starts at the end of the kept log: a copy may have turned zeros inside
        // groups into holes, and the log does not write below its end again.
        let from = if sequence == next.segment() { next.offset() } else { 0 };
        let written_to =
            pinned.written_end(u64::from(from)).map_err(|e| failed(disk, "examine", &name, e))?;
        let segment = segment(SegmentFile::opened(descriptors, name, key, &pinned), written_to);
        segments.insert(sequence, Arc::clone(&segment));
        open.insert(sequence, OpenSegment { segment, pinned });
    }
    Ok((segments, open))
}

/// Whether the pages of the sealed segment `sequence` that were cached before open may be used.
///
/// They may if the kept part of the segment lies below the watermark. The device has confirmed such blocks, and they
/// were never written again (INV-4), so no page holds bytes that the medium never got. Open read the watermark past the
/// page cache; where the file system cannot do that, `sync_all` has dropped all pages.
fn cached_pages(verdict: &Verdict, sequence: u32) -> CachedPages {
    let kept = verdict.kept.iter().find(|kept| kept.segment == sequence);
    let confirmed = kept.is_some_and(|kept| Lsn::new(sequence, kept.end) <= verdict.watermark);
    if confirmed { CachedPages::Trusted } else { CachedPages::Doubted }
}
