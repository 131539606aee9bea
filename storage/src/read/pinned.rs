//! Reads a range of one group as it was when the reader was made.
//!
//! The reader holds the files of all segments that contain entries still to be read, and nothing else. If the log
//! releases such a segment, its file is kept until no reader holds it, and is then removed instead of being recycled.
//! An error does not change the position of the reader.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use seawall_wal::Lsn;

use super::locate::{PayloadLocation, ReadRequest, select};
use super::payloads::from_log;
use super::store::Store;
use crate::compression::Compressor;
use crate::error::{Error, Result};
use crate::types::{Entry, GroupId, Location};

/// Largest number of entries that are read with one call. The caller limits how much is returned.
const RUN_ENTRIES_MAX: usize = 256;

/// A range of a group, of which the entries before `next` were read.
#[derive(Debug)]
pub(crate) struct Pinned {
    group: GroupId,
    low: u64,
    next: u64,
    /// Term and location of each entry, from `low` on.
    places: Vec<(u64, Location)>,
    files: BTreeMap<u32, File>,
}

/// A segment that contains entries still to be read.
#[derive(Debug)]
struct File {
    /// Holds the file, and reads it once the log has released the segment.
    records: seawall_wal::RecordIter,
    /// Number of entries still to be read.
    rest: usize,
    /// Position of its last entry in the range, from 0.
    last: usize,
    /// Offset and length of each entry still to be read. Made once, when the log has released the segment.
    wanted: Option<HashMap<u32, u32>>,
    /// Payloads that were read before it was their turn, by offset: copied entries are not in the order of their
    /// indexes.
    passed: HashMap<u32, Vec<u8>>,
}

impl Pinned {
    /// Selects the range as it is now. Waits until it is durable.
    pub(crate) fn new(
        Store { wal, groups, usage, .. }: Store<'_>,
        group: GroupId,
        low: u64,
        high: u64,
    ) -> Result<Pinned> {
        let wanted = ReadRequest { group, low, high, max_bytes: u64::MAX };
        let (places, hold) = select(groups, usage, wanted)?;
        // Only durable bytes are certain to be in a file.
        if places.iter().any(|place| place.lsn() >= wal.durable()) {
            wal.flush()?;
        }
        let mut files = BTreeMap::<u32, File>::new();
        for (at, place) in places.iter().enumerate() {
            let segment = place.at.segment;
            let open = || File {
                records: wal.records_between(Lsn::new(segment, 0), Lsn::new(segment.saturating_add(1), 0)),
                rest: 0,
                last: at,
                wanted: None,
                passed: HashMap::new(),
            };
            let file = files.entry(segment).or_insert_with(open);
            (file.rest, file.last) = (file.rest + 1, at);
        }
        // From here on the files are held, and the log may release the segments.
        drop(hold);
        let places = places.into_iter().map(|place| (place.term, place.at)).collect();
        Ok(Pinned { group, low, next: low, places, files })
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    /// Index of the next entry, and one past the index of the last.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.next, self.low + self.places.len() as u64)
    }

    /// Segments that are held, ascending.
    pub(crate) fn segments(&self) -> Arc<[u32]> {
        self.files.keys().copied().collect()
    }

    /// Reads the next entries: as many as have at most `max_bytes` bytes of payload in total, but at least one.
    pub(crate) fn read(&mut self, store: Store<'_>, max_bytes: u64) -> Result<Vec<Entry>> {
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        loop {
            let run = self.run(max_bytes.saturating_sub(bytes), entries.is_empty());
            let Some(first) = run.first() else { break };
            let mut read = self.read_run(store, &run);
            if read.is_err() && run.len() > 1 {
                // The entries before the one that fails are intact.
                read = self.read_run(store, std::slice::from_ref(first));
            }
            let read = match read {
                Ok(read) => read,
                // The entries read so far are returned; the next call meets the error again.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            };
            for entry in read {
                bytes = bytes.saturating_add(entry.payload.len() as u64);
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                self.done();
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn read_run(&mut self, store: Store<'_>, run: &[PayloadLocation]) -> Result<Vec<Entry>> {
        match from_log(store, self.group, run) {
            Err(Error::Log(seawall_wal::Error::NotInLog { .. })) => self.read_files(store.compressor, run),
            read => read,
        }
    }

    /// The next entries, all of one segment, with about `max_bytes` bytes in total; with `least`, at least one if
    /// there is one.
    fn run(&self, max_bytes: u64, least: bool) -> Vec<PayloadLocation> {
        let from = usize::try_from(self.next - self.low).unwrap_or(usize::MAX);
        let (mut run, mut bytes) = (Vec::<PayloadLocation>::new(), 0u64);
        for ((term, at), index) in self.places.iter().skip(from).take(RUN_ENTRIES_MAX).zip(self.next..) {
            bytes = bytes.saturating_add(u64::from(at.length));
            let other = run.first().is_some_and(|first| first.at.segment != at.segment);
            if other || (bytes > max_bytes && !(least && run.is_empty())) {
                break;
            }
            run.push(PayloadLocation { index, term: *term, at: *at });
        }
        run
    }

    /// Called after entry `next` was read: stops holding its segment if it was the last one there.
    fn done(&mut self) {
        let at = usize::try_from(self.next - self.low).ok().and_then(|at| self.places.get(at));
        let Some((_, Location { segment, offset, .. })) = at else { return };
        if let Some(file) = self.files.get_mut(segment) {
            file.rest -= 1;
            file.passed.remove(offset);
            if file.rest == 0 {
                self.files.remove(segment);
            }
        }
        self.next += 1;
    }

    /// Reads `run`, entries of one segment that the log has released, from the file of the segment.
    fn read_files(&mut self, compressor: &Compressor, run: &[PayloadLocation]) -> Result<Vec<Entry>> {
        let (group, from) = (self.group, usize::try_from(self.next - self.low).unwrap_or(usize::MAX));
        let Some(segment) = run.first().map(|place| place.at.segment) else { return Ok(Vec::new()) };
        let Some(file) = self.files.get_mut(&segment) else { return Ok(Vec::new()) };
        let wanted = file.wanted.get_or_insert_with(|| {
            let rest = self.places.get(from..=file.last).unwrap_or_default().iter();
            rest.filter(|(_, at)| at.segment == segment).map(|(_, at)| (at.offset, at.length)).collect()
        });
        let mut entries = Vec::with_capacity(run.len());
        for place in run {
            let damaged =
                Error::DamagedEntry { group, index: place.index, term: place.term, at: place.lsn() };
            while place.at.length > 0 && !file.passed.contains_key(&place.at.offset) {
                let record = match file.records.next() {
                    Some(Ok(record)) => record,
                    // A damaged range; reading continues after it.
                    Some(Err(seawall_wal::Error::Corrupt { .. })) => continue,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(damaged),
                };
                for (part, bytes) in record.parts() {
                    if wanted.get(&part.offset) == Some(&part.length) && part.length > 0 {
                        file.passed.insert(part.offset, bytes.to_vec());
                    }
                }
            }
            // Kept until the entry was returned: another limit may exclude it now.
            let stored = file.passed.get(&place.at.offset).cloned().unwrap_or_default();
            entries.push(place.entry(compressor, group, Bytes::from(stored))?);
        }
        Ok(entries)
    }
}
