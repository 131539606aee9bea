//! Reports and statistics of an engine.

use std::fmt;

use seawall_wal::Wal;

use crate::compression::CompressionStats;
use crate::engine::handle::Engine;
use crate::engine::inner::EngineInner;
use crate::error::Result;
use crate::group::GroupState;
use crate::read::entry_cache::CacheStats;
use crate::read::readers::ReaderStats;
use crate::reclaim::release::ReemitStats;
use crate::reclaim::rewrite::RewriteStats;
use crate::types::GroupId;

/// Result of opening an engine.
#[derive(Debug)]
pub struct Report {
    /// Report of the log: records kept, records dropped and why, durations.
    pub log: seawall_wal::RecoveryReport,
    /// Number of records in the log, including those that were replayed from the index of their segment:
    /// `log.by_footer` lists the segments of which only the index was read.
    pub records: u64,
    /// Number of groups that exist.
    pub groups: u64,
    /// Number of live entries of all groups.
    pub entries: u64,
}

/// Statistics of a running engine.
#[derive(Debug)]
pub struct Stats {
    /// Statistics of the log.
    pub log: seawall_wal::stats::Stats,
    /// Number of groups that exist.
    pub groups: usize,
    /// Number of live entries of all groups.
    pub entries: u64,
    /// Lowest segment that is kept, and the segment that is being written.
    pub segments: (u32, u32),
    /// The obstacle that keeps the oldest segment from being released; `None` if no segment but the one being written has to be
    /// kept.
    pub blocker: Option<Blocker>,
    /// Pinned readers, in the order in which they were made.
    pub readers: Vec<ReaderStats>,
    /// Hits and misses of the entry cache.
    pub cache: CacheStats,
    /// Entries that were copied out of old segments.
    pub rewrite: RewriteStats,
    /// Small state that was written again so that old segments could be released.
    pub reemit: ReemitStats,
    /// Results of compression.
    pub compression: CompressionStats,
}

/// Describes what keeps the oldest segments of the log from being released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// The lowest segment that has to be kept.
    pub segment: u32,
    /// Bytes of the segments from that one up to, but not including, the one being written: they are kept with it.
    pub held_bytes: u64,
    /// Number of live entries in that segment.
    pub entries: u64,
    /// Approximate bytes that these entries take.
    pub live_bytes: u64,
    /// Number of pieces of small state in that segment that are the latest of their group: hard states, conf states,
    /// compaction points, snapshot markers, metadata values.
    pub states: u64,
    /// The reason why the segment is kept.
    pub by: BlockedBy,
}

/// The reason why a segment is kept. If there are several reasons, the one that lasts longest: entries, then small state, then a
/// call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BlockedBy {
    /// A live entry: the first one of the group with the lowest number. It keeps the segment until it is compacted,
    /// overwritten or copied to the end of the log. An entry that [`RewriteStats::stuck`] names cannot be copied.
    Entry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
    },
    /// The latest small state of a group. The engine writes it again at the end of the log in the background.
    State {
        /// The group; if there are several, the one with the lowest number.
        group: GroupId,
    },
    /// A read or a write under way. A pinned reader does not count: it keeps files, but never the prefix of the log.
    Call,
}

impl Engine {
    /// Returns statistics of the engine and its log. Examines every group if something keeps the oldest segment.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn stats(&self) -> Result<Stats> {
        let core = &*self.0;
        let wal = core.wal()?;
        Ok(Stats {
            log: wal.stats(),
            groups: core.users_groups().len(),
            entries: core.usage.live_entries(),
            segments: (wal.first_segment(), wal.active_segment()),
            cache: core.cache.stats(),
            rewrite: core.rewrite.stats(&core.groups),
            reemit: core.release.stats(),
            compression: core.compressor.stats(),
            blocker: core.blocker(&wal),
            readers: core.readers.stats(&wal),
        })
    }
}

impl EngineInner {
    /// Finds what keeps the oldest segment.
    fn blocker(&self, wal: &Wal) -> Option<Blocker> {
        let (segment, count) = self.usage.blocker(|| wal.active_segment())?;
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        // Entries and state that were released since the count was taken are reported as [`BlockedBy::Call`].
        let first = |has: &dyn Fn(&GroupState) -> bool| self.groups.select(has).into_iter().min();
        let entry = |state: &GroupState| state.entries_up_to(segment).next().map(|(index, ..)| index);
        let by_entry = || {
            let group = first(&|state| entry(state).is_some()).filter(|_| count.entries > 0)?;
            let index = entry(&self.groups.get(group)?.read())?;
            Some(BlockedBy::Entry { group, index })
        };
        let by_state = || {
            let group = first(&|state| state.state_up_to(segment).next().is_some());
            Some(BlockedBy::State { group: group.filter(|_| count.states > 0)? })
        };
        let segments = u64::from(wal.active_segment().saturating_sub(segment));
        Some(Blocker {
            segment,
            held_bytes: segments.saturating_mul(wal.segment_bytes()),
            entries: positive(count.entries),
            live_bytes: positive(count.bytes),
            states: positive(count.states),
            by: by_entry().or_else(by_state).unwrap_or(BlockedBy::Call),
        })
    }
}

impl fmt::Display for Report {
    /// One line, then the lines of the log's report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { log, records, groups, entries } = self;
        write!(f, "{groups} groups with {entries} entries, from {records} records\n{log}")
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocker { segment, held_bytes, by, .. } = self;
        write!(f, "segment {segment} and {held_bytes} bytes from it on are kept by {by}")
    }
}

impl fmt::Display for BlockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockedBy::Entry { group, index } => write!(f, "entry {index} of group {group}"),
            BlockedBy::State { group } => write!(f, "the small state of group {group}"),
            BlockedBy::Call => f.write_str("a call under way"),
        }
    }
}

impl fmt::Display for Stats {
    /// A few lines: groups and segments, what keeps the log, cache, compression, and the statistics of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.segments;
        writeln!(
            f,
            "{} groups with {} live entries in segments {first} to {last}",
            self.groups, self.entries
        )?;
        match &self.blocker {
            Some(blocker) => writeln!(f, "{blocker}")?,
            None => f.write_str("nothing keeps old segments\n")?,
        }
        if !self.readers.is_empty() {
            let held: u64 = self.readers.iter().map(|reader| reader.held_bytes).sum();
            writeln!(f, "{} pinned readers keep {held} bytes of released segments", self.readers.len())?;
        }
        let CacheStats { hits, misses, .. } = self.cache;
        writeln!(f, "entry cache: {hits} hits, {misses} misses")?;
        write!(f, "{}", self.log)
    }
}

#[cfg(feature = "metrics")]
impl Stats {
    /// Publishes the statistics of the engine and its log through the `metrics` facade, as `seawall_*` with the label
    /// `log`. Call it as often as they are to be collected.
    pub fn publish(&self, log: &str) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        let gauges = [
            ("seawall_raft_groups", self.groups as f64),
            ("seawall_live_entries", self.entries as f64),
            ("seawall_segments_kept", f64::from(self.segments.1.saturating_sub(self.segments.0) + 1)),
            ("seawall_blocked_bytes", self.blocker.map_or(0, |blocker| blocker.held_bytes) as f64),
            ("seawall_pinned_readers", self.readers.len() as f64),
            ("seawall_cache_bytes", self.cache.bytes as f64),
        ];
        for (name, value) in gauges {
            metrics::gauge!(name, "log" => log.to_owned()).set(value);
        }
        for (name, value) in
            [("seawall_cache_hits_total", self.cache.hits), ("seawall_cache_misses_total", self.cache.misses)]
        {
            metrics::counter!(name, "log" => log.to_owned()).absolute(value);
        }
        self.log.publish(log);
    }
}
