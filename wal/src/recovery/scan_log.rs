//! Reads the segments of a log, as much of each as the verdict needs, and decides.
//!
//! `footer_proof` decides which segments can be skipped; `scan` decides how much of the others to read. No log is
//! refused before all of it is read, so a refusal names every damaged range, and a footer never makes a verdict more
//! lenient. Segments are read in parallel, on as many threads as the caller allows.

use crate::damage::Damage;
use crate::error::Error;
use crate::format::{Identity, SegmentHeader};
use crate::options::{OpenMode, UnexplainedTail};
use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
use crate::recovery::footer_proof::unproven;
use crate::recovery::record_feed::RecordFeed;
use crate::recovery::scan::{ScannedGroup, read_header, scan_with};
use crate::recovery::verdict::{Verdict, decide_closed};
use crate::segment::directory::{failed, failed_to_open};
use crate::segment::footer::{FooterLocation, head_at, locate};
use crate::segment::names::file_name;
use crate::sync::share_out;
use crate::types::Lsn;
use seawall_disk::{Access, Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of segment files from which one more thread pays off.
const THREAD_BYTES: u64 = 8 << 20;

/// The segment files of one log. Each is opened only while it is read, so no more are open than are read at a time.
pub(crate) struct SegmentFiles<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) identity: &'a Identity,
    /// Numbers of the segments, ascending.
    pub(crate) numbers: &'a [u32],
    /// How the files are opened.
    pub(crate) access: Access,
    /// Segments whose files could not be opened; empty unless the log is opened in salvage mode.
    pub(crate) unopened: Vec<u32>,
    /// Durable end of the log according to the `CLOSED` file.
    pub(crate) closed: Lsn,
    /// How damage is treated. A file that cannot be read is an error except in salvage mode.
    pub(crate) mode: OpenMode,
    /// Number of threads that may read.
    pub(crate) threads: usize,
}

/// The scan results, ascending by number, and the verdict over them.
pub(crate) type Surveyed = (Vec<SegmentScan>, Result<Verdict, Vec<Damage>>);

/// Header and first head of a segment; `None` for each that is missing or not valid.
type Start = (Option<SegmentHeader>, Option<GroupHead>);

impl SegmentFiles<'_> {
    /// Reads no more than the verdict needs: segments that are proven by their footer are not read whole. Adds the
    /// records of segments that no other one follows to `seen`, if it is given.
    pub(crate) fn survey(
        &self,
        policy: UnexplainedTail,
        seen: Option<&mut BTreeMap<u32, RecordFeed>>,
    ) -> Result<Surveyed, Error> {
        let block_bytes = self.identity.block_bytes;
        let mut scans = self.ends(seen)?;
        loop {
            let mut whole = unproven(&scans, block_bytes);
            if whole.is_empty() {
                let verdict = decide_closed(OpenMode::Strict, &scans, block_bytes, policy, self.closed);
                let left = scans.iter().filter(|s| s.extent != ScanExtent::Whole).map(|s| s.sequence);
                whole = if verdict.is_err() { left.collect() } else { Vec::new() };
                if whole.is_empty() {
                    return Ok((scans, verdict));
                }
            }
            for (read, ()) in self.scan(&whole, false, &|_| (), &|(), _| {})? {
                if let Ok(i) = scans.binary_search_by_key(&read.sequence, |s| s.sequence) {
                    scans[i] = read;
                }
            }
        }
    }

    /// Reads every block. Hands each segment's valid groups, in order, to `see` with the value that `start` made for
    /// the segment, and returns those values.
    pub(crate) fn survey_all<V: Send>(
        &self,
        policy: UnexplainedTail,
        start: &(impl Fn(u32) -> V + Sync),
        see: &(impl Fn(&mut V, &ScannedGroup<'_>) + Sync),
    ) -> Result<(Surveyed, Vec<V>), Error> {
        let all = self.numbers;
        let (mut scans, seen): (Vec<_>, Vec<_>) = self.scan(all, false, start, see)?.into_iter().unzip();
        scans.extend(self.unopened.iter().map(|&sequence| SegmentScan::unreadable(sequence)));
        scans.sort_unstable_by_key(|s| s.sequence);
        let block_bytes = self.identity.block_bytes;
        let verdict = decide_closed(self.mode, &scans, block_bytes, policy, self.closed);
        Ok(((scans, verdict), seen))
    }

    /// Scans the segments `numbers`: all of their blocks, or if `bounded` only those that can hold groups.
    fn scan<V: Send>(
        &self,
        numbers: &[u32],
        bounded: bool,
        start: &(impl Fn(u32) -> V + Sync),
        see: &(impl Fn(&mut V, &ScannedGroup<'_>) + Sync),
    ) -> Result<Vec<(SegmentScan, V)>, Error> {
        let Identity { uuid, block_bytes, .. } = self.identity;
        self.each(numbers, &|sequence, file| {
            let mut seen = start(sequence);
            let scan =
                scan_with(file, sequence, uuid, *block_bytes, bounded, &mut |group| see(&mut seen, group));
            let lenient = self.mode == OpenMode::Salvage;
            let scan = if lenient { scan.or_else(|_| Ok(SegmentScan::unreadable(sequence))) } else { scan };
            Ok((scan?, seen))
        })
    }

    /// Reads the ends of every segment that has a footer where the first group of another segment says that it ended;
    /// reads the others as far as they can hold groups.
    fn ends(&self, seen: Option<&mut BTreeMap<u32, RecordFeed>>) -> Result<Vec<SegmentScan>, Error> {
        let all = self.numbers;
        let starts = self.each(all, &|sequence, file| self.start(sequence, file))?;
        // The ends of each segment that later segments name. There are several if a recovery dropped the first
        // segment that followed.
        let mut links: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (_, first) in starts.iter().rev() {
            let link = first.map_or(Lsn::ZERO, |head| head.previous_end);
            links.entry(link.segment()).or_default().push(link.offset());
        }
        let starts: BTreeMap<u32, Start> = all.iter().copied().zip(starts).collect();
        let left = |sequence: &&u32| links.contains_key(sequence);
        let sealed: Vec<u32> = all.iter().filter(left).copied().collect();
        let sealed = self.each(&sealed, &|sequence, file| {
            let Some((Some(header), Some(first))) = starts.get(&sequence) else { return Ok(None) };
            for &end in links.get(&sequence).into_iter().flatten() {
                if let Some(footer) = locate(file, FooterLocation::from(header), end)? {
                    return Ok(Some(ends_of(
                        header,
                        first,
                        GroupHead::of(&footer, self.identity.block_bytes),
                    )));
                }
            }
            Ok(None)
        })?;
        let mut scans: Vec<SegmentScan> = sealed.into_iter().flatten().collect();
        let done: Vec<u32> = scans.iter().map(|s| s.sequence).collect();
        let rest: Vec<u32> = all.iter().copied().filter(|n| done.binary_search(n).is_err()).collect();
        let last = |n: u32| (seen.is_some() && !links.contains_key(&n)).then(RecordFeed::default);
        let add = |seen: &mut Option<RecordFeed>, group: &ScannedGroup<'_>| {
            seen.iter_mut().for_each(|s| s.add(group.records()))
        };
        let (read, found): (Vec<_>, Vec<_>) = self.scan(&rest, true, &last, &add)?.into_iter().unzip();
        if let Some(seen) = seen {
            seen.extend(rest.iter().copied().zip(found).filter_map(|(n, found)| Some((n, found?))));
        }
        scans.extend(read);
        scans.sort_unstable_by_key(|s| s.sequence);
        Ok(scans)
    }

    fn start(&self, sequence: u32, file: &dyn DiskFile) -> io::Result<Start> {
        let Identity { uuid, block_bytes, .. } = self.identity;
        let Ok(header) = read_header(file, sequence, uuid, *block_bytes)? else { return Ok((None, None)) };
        let first = head_at(file, FooterLocation::from(&header), *block_bytes)?;
        Ok((Some(header), first.map(|group| GroupHead::of(&group, *block_bytes))))
    }

    /// The results of `read` for the segments `numbers`, in their order.
    fn each<T: Send>(
        &self,
        numbers: &[u32],
        read: &(impl Fn(u32, &dyn DiskFile) -> io::Result<T> + Sync),
    ) -> Result<Vec<T>, Error> {
        let Some(&first) = numbers.first() else { return Ok(Vec::new()) };
        // All segments have about the same length.
        let bytes = self.open(first)?.len().unwrap_or(0).saturating_mul(numbers.len() as u64);
        let worth = usize::try_from(bytes / THREAD_BYTES).unwrap_or(usize::MAX).max(1);
        let read = |i: usize| {
            let sequence = numbers[i];
            read(sequence, &*self.open(sequence)?)
                .map_err(|e| failed(self.disk, "read", &file_name(sequence), e))
        };
        share_out(self.threads.min(worth), numbers.len(), &read).into_iter().collect()
    }

    fn open(&self, sequence: u32) -> Result<Arc<dyn DiskFile>, Error> {
        let name = file_name(sequence);
        self.disk.open(&name, self.access).map_err(|e| failed_to_open(self.disk, "open", &name, e))
    }
}

fn ends_of(header: &SegmentHeader, first: &GroupHead, footer: GroupHead) -> SegmentScan {
    // In a segment that stayed empty, the footer is the first group.
    let mut heads = vec![*first, footer];
    heads.dedup_by_key(|head| head.offset);
    let (sequence, zeros_from) = (header.sequence, footer.end);
    let (header, extent, strange) = (Ok(*header), ScanExtent::EndsOnly, Vec::new());
    SegmentScan { sequence, header, extent, heads, zeros_from, unexplained_blocks: strange }
}
