//! Reads many entries of a group: iterators, cursors that follow it, and pinned readers.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use seawall_wal::Lsn;

use crate::engine::group::Group;
use crate::engine::user_handle::UserHandle;
use crate::error::{Error, Result};
use crate::read::Pinned;
use crate::types::{Entry, GroupId};

/// Most bytes of payload that are read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Most entries whose durability is looked up at a time.
const CHUNK_ENTRIES: u64 = 1024;

impl Group {
    /// Iterates over the entries with the indexes in `range`, and reads about 1 MiB at a time. The range is that at the
    /// time of the call: without bounds it goes from the first entry to the last one.
    ///
    /// The entries are those that exist when they are read. If they are compacted meanwhile, the iterator returns
    /// [`Error::Compacted`], and if they are truncated, [`Error::Unavailable`]; it ends after an error. To read entries as
    /// they are now, whatever happens to them, use [`Group::pin`].
    ///
    /// ```
    /// # use seawall::{Engine, EntryRef, Options, WriteBatch};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = Engine::create(dir.path().join("log"), &Options::default()).unwrap();
    /// # let mut batch = WriteBatch::new();
    /// # for index in 1..=3 {
    /// #     batch.append(7, &[EntryRef { index, term: 1, payload: b"x" }]);
    /// # }
    /// # engine.write(&mut batch).unwrap().wait().unwrap();
    /// let mut bytes = 0;
    /// for entry in engine.group(7).iter(2..) {
    ///     bytes += entry?.payload.len();
    /// }
    /// # assert_eq!(bytes, 2);
    /// # Ok::<(), seawall::Error>(())
    /// ```
    pub fn iter(&self, range: impl RangeBounds<u64>) -> Entries {
        let next = match range.start_bound() {
            Bound::Included(low) => *low,
            Bound::Excluded(low) => low.saturating_add(1),
            Bound::Unbounded => self.first_index(),
        };
        let high = match range.end_bound() {
            Bound::Included(high) => high.saturating_add(1),
            Bound::Excluded(high) => *high,
            Bound::Unbounded => self.last_index().saturating_add(1),
        };
        Entries { group: self.clone(), next, high: high.max(next), chunk: VecDeque::new() }
    }

    /// Makes a reader of the entries from `low` up to, but not including, `high`, as they are now, even if they are
    /// compacted, overwritten or removed later. Waits until the entries are durable.
    ///
    /// The reader keeps the files of the segments that hold these entries from being recycled, each until it has read
    /// past it. It does not keep the log from releasing segments and does not affect other groups.
    /// [`Stats::readers`](crate::stats::Stats::readers) lists the readers.
    ///
    /// # Errors
    /// As [`Group::entries`].
    pub fn pin(&self, low: u64, high: u64) -> Result<PinnedReader> {
        PinnedReader::new(Arc::clone(&self.core), self.id, low, high)
    }

    /// Follows the group from entry `index` on: returns its entries as they become durable.
    ///
    /// An entry that a new leader replaces may have been returned before; entries up to the commit index are final. The
    /// cursor holds neither entries nor files: if the entry that it needs next is compacted, it returns
    /// [`Error::Compacted`], and the caller has to start from a snapshot.
    pub fn follow(&self, index: u64) -> Cursor {
        Cursor {
            group: self.clone(),
            _following: Following::new(&self.core),
            next: index,
            term: None,
            chunk: VecDeque::new(),
        }
    }
}

/// Iterator over entries of a group; see [`Group::iter`].
pub struct Entries {
    group: Group,
    next: u64,
    high: u64,
    chunk: VecDeque<Entry>,
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.chunk.is_empty() && self.next < self.high {
            match self.group.entries(self.next, self.high, Some(CHUNK_BYTES)) {
                Ok(chunk) => self.chunk = chunk.into(),
                Err(error) => {
                    self.high = self.next;
                    return Some(Err(error));
                }
            }
        }
        let entry = self.chunk.pop_front()?;
        self.next = entry.index.saturating_add(1);
        Some(Ok(entry))
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("group", &self.group)
            .field("range", &(self.next..self.high))
            .finish_non_exhaustive()
    }
}

/// Follows the durable entries of a group; see [`Group::follow`].
pub struct Cursor {
    group: Group,
    _following: Following,
    next: u64,
    /// Term of the last entry that was read.
    term: Option<u64>,
    chunk: VecDeque<Entry>,
}

impl Cursor {
    /// Index of the entry that is returned next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Returns the next entry. Waits for it for up to `timeout`; `None` if it is not there and durable by then.
    ///
    /// # Errors
    /// [`Error::Compacted`] if the entry is gone; [`Error::Replaced`] if an entry that was returned before has been
    /// replaced; [`Error::DamagedEntry`] and the other errors of [`Group::entries`]; [`Error::Closed`]; the error of the
    /// log. The position does not change: a later call tries again.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Entry>> {
        let end = Instant::now().checked_add(timeout);
        loop {
            if let Some(entry) = self.chunk.pop_front() {
                self.next = entry.index.saturating_add(1);
                return Ok(Some(entry));
            }
            let written = self.group.written();
            self.fill(self.group.durable()?)?;
            if self.chunk.is_empty() {
                let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    return Ok(None);
                }
                self.group.wait_for(self.next, written, left)?;
            }
        }
    }

    /// Reads the next entries that are below `durable`.
    fn fill(&mut self, durable: Lsn) -> Result<()> {
        let high = self.group.durable_from(self.next, self.next.saturating_add(CHUNK_ENTRIES), durable);
        if high > self.next {
            self.chunk = self.group.entries(self.next, high, Some(CHUNK_BYTES))?.into();
        } else if self.next < self.group.first_index() {
            let (group, index, point) = (self.group.id(), self.next, self.group.compaction_point().0);
            return Err(Error::Compacted { group, index, point });
        }
        // An entry that replaces an earlier one has another term, and truncates all after it.
        let before = self.next.saturating_sub(1);
        let replaced = self.term.is_some_and(|term| match self.group.term(before) {
            Ok(now) => now != term,
            // Compacted entries were committed, and therefore final.
            Err(Error::Compacted { .. }) => false,
            Err(_) => true,
        });
        if replaced {
            self.chunk.clear();
            return Err(Error::Replaced { group: self.group.id(), index: before });
        }
        self.term = self.chunk.back().map(|last| last.term).or(self.term);
        Ok(())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("group", &self.group).field("next", &self.next).finish_non_exhaustive()
    }
}

/// While it exists, writes are counted.
struct Following(Arc<UserHandle>);

impl Following {
    fn new(core: &Arc<UserHandle>) -> Following {
        core.followers.fetch_add(1, Ordering::SeqCst);
        Following(Arc::clone(core))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads a range of one group, from first to last, as it was when [`Group::pin`](super::Group::pin) made the reader.
/// Use it for a peer that lags far, or to copy a range. Dropping it releases the files that it holds.
pub struct PinnedReader {
    core: Arc<UserHandle>,
    id: u64,
    pinned: Pinned,
}

impl PinnedReader {
    pub(super) fn new(core: Arc<UserHandle>, group: GroupId, low: u64, high: u64) -> Result<PinnedReader> {
        let pinned = Pinned::new(core.store(&*core.wal()?), group, low, high)?;
        let id = core.readers.add(&pinned);
        Ok(PinnedReader { core, id, pinned })
    }

    /// The group that is read.
    pub fn group(&self) -> GroupId {
        self.pinned.group()
    }

    /// Index of the entry that is read next, and one past the index of the last entry.
    pub fn range(&self) -> (u64, u64) {
        self.pinned.range()
    }

    /// Reads the next entries; none at the end of the range. With `max_bytes`, reads as many as have at most that
    /// many bytes of payload in total, but at least one. Without it, reads all that are left. Entries of segments
    /// that the log has released are read from the files that the reader holds; each file is read once, from its
    /// start.
    ///
    /// # Errors
    /// [`Error::DamagedEntry`](crate::Error::DamagedEntry) or [`Error::Compressed`](crate::Error::Compressed) if the
    /// next entry cannot be read; [`Error::Closed`](crate::Error::Closed); or the error of the log. The position of
    /// the reader does not change.
    pub fn read(&mut self, max_bytes: Option<u64>) -> Result<Vec<Entry>> {
        let core = &*self.core;
        let read = self.pinned.read(core.store(&*core.wal()?), max_bytes.unwrap_or(u64::MAX));
        core.readers.update(self.id, &self.pinned);
        read
    }
}

impl Drop for PinnedReader {
    fn drop(&mut self) {
        self.core.readers.remove(self.id);
    }
}

impl fmt::Debug for PinnedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedReader")
            .field("group", &self.group())
            .field("range", &self.range())
            .finish_non_exhaustive()
    }
}
