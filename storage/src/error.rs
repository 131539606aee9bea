//! Every way the engine can fail, sorted by who must act: the caller, the operator, or the log below.
//!
//! An error of the first group, caused by the call itself, left no trace in memory or in the log. Errors are values
//! that are cheap to clone. They name the Raft group and the index.

use seawall_wal::Lsn;

pub use crate::compression::DecompressError;
pub use crate::format::DecodeError;
use crate::types::{GroupId, Owner};
pub use seawall_wal::disk::OutOfRange;

impl Error {
    /// Whether the disk is full. Nothing was written, and the same call succeeds once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Log(error) if error.is_no_space())
    }

    /// Whether the call failed only for the moment: the disk was full, or no file descriptor was left. Nothing was
    /// written, and the same call succeeds once there is space or a descriptor.
    pub fn is_back_pressure(&self) -> bool {
        matches!(self, Error::Log(error) if error.is_back_pressure())
    }

    /// Whether the directory holds no log.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Log(error) if error.is_not_found())
    }

    /// Whether the log is open elsewhere, in this process or another one.
    pub fn is_locked(&self) -> bool {
        matches!(self, Error::Log(error) if error.is_locked())
    }

    /// Whether stored data is damaged or missing, so that it is needed from another node or a backup.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Log(error) => error.is_damage(),
            Error::CommitBeyondLog { .. }
            | Error::DamagedEntry { .. }
            | Error::UnreadableEntry { .. }
            | Error::Compressed { .. }
            | Error::Lost { .. }
            | Error::Unaccounted { .. }
            | Error::DamagedConfState { .. }
            | Error::DamagedMeta { .. }
            | Error::Damage { .. }
            | Error::Record { .. } => true,
            _ => false,
        }
    }
}

/// Result of the engine's calls.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a call of the engine failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller must act: the call was invalid. Nothing was written and nothing changed.
    /// The index is at or below the compaction point. Its entry is gone: it cannot be read, written or compacted
    /// again. Raft cores call this "compacted" or "snapshot out of date".
    #[error("group {group}: index {index} is not behind the compaction point {point}")]
    Compacted {
        /// The group.
        group: GroupId,
        /// The requested index.
        index: u64,
        /// Index of the compaction point.
        point: u64,
    },
    /// The index is beyond the end of the group's log.
    #[error("group {group}: index {index} is beyond the last index {last_index}")]
    Unavailable {
        /// The group.
        group: GroupId,
        /// The requested index.
        index: u64,
        /// Last index of the group.
        last_index: u64,
    },
    /// A cursor returned an entry that has been replaced since: its leader lost the lead before the entry was committed.
    #[error(
        "group {group}: entry {index} was replaced after it was read; follow the group from an earlier entry on"
    )]
    Replaced {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
    },
    /// The requested range ends before it begins.
    #[error("group {group}: the range {low}..{high} ends before it begins")]
    Range {
        /// The group.
        group: GroupId,
        /// First requested index.
        low: u64,
        /// One past the last requested index.
        high: u64,
    },
    /// An append would leave a gap: its first entry is beyond the end of the log, or its entries are not consecutive.
    #[error("group {group}: entry {index} does not follow; {expected} is next")]
    Gap {
        /// The group.
        group: GroupId,
        /// Index of the refused entry.
        index: u64,
        /// The highest index that the entry could have.
        expected: u64,
    },
    /// The term of an entry is lower than that of the entry before it.
    #[error("group {group}: entry {index} has term {term}, the entry before it has {before}")]
    TermDecreases {
        /// The group.
        group: GroupId,
        /// Index of the refused entry.
        index: u64,
        /// Term of the refused entry.
        term: u64,
        /// Term of the entry before it.
        before: u64,
    },
    /// An index that no entry can have: 0 or 2^64 - 1.
    #[error("group {group}: index {index} is out of range")]
    IndexRange {
        /// The group.
        group: GroupId,
        /// The refused index.
        index: u64,
    },
    /// An append would replace a committed entry with one of another term. Appending committed entries again with the
    /// same terms is allowed.
    #[error(
        "group {group}: entry {index} of term {term} would replace the committed entry of term {known}; the commit index is {commit}"
    )]
    Committed {
        /// The group.
        group: GroupId,
        /// Index of the refused entry.
        index: u64,
        /// Term of the refused entry.
        term: u64,
        /// Term of the committed entry.
        known: u64,
        /// Commit index of the group.
        commit: u64,
    },
    /// A hard state would go back: its term or commit index would decrease, or its vote would change within a term.
    #[error("group {group}: the hard state's {field} would go from {from} to {to}")]
    HardStateBack {
        /// The group.
        group: GroupId,
        /// `term`, `vote` (changed within one term) or `commit`.
        field: &'static str,
        /// The stored value.
        from: u64,
        /// The refused value.
        to: u64,
    },
    /// After the batch, the commit index would be beyond the last index.
    #[error("group {group}: commit {commit} is beyond the last index {last_index} after the batch")]
    CommitTooHigh {
        /// The group.
        group: GroupId,
        /// The commit index after the batch.
        commit: u64,
        /// The last index after the batch.
        last_index: u64,
    },
    /// An entry is larger than a record can be. Use larger segments.
    #[error("group {group}: entry {index} has {bytes} bytes, a record holds at most {max}")]
    EntryTooLarge {
        /// The group.
        group: GroupId,
        /// Index of the refused entry.
        index: u64,
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes that a record can hold, including overhead.
        max: usize,
    },
    /// A conf state is larger than a quarter of a record, the most that the engine can copy in one piece later.
    #[error("group {group}: the conf state has {bytes} bytes, at most {max} are allowed")]
    ConfStateTooLarge {
        /// The group.
        group: GroupId,
        /// Bytes of the encoded conf state: 32, plus 8 for each member.
        bytes: usize,
        /// Largest allowed number of bytes.
        max: usize,
    },
    /// The key of a metadata value is empty or longer than 24 bytes.
    #[error("group {group}: the key of a metadata value has {bytes} bytes; it must have 1 to 24")]
    MetaKey {
        /// The group.
        group: GroupId,
        /// Bytes of the key.
        bytes: usize,
    },
    /// The metadata of a group would exceed [`Options::meta_bytes_max`](crate::Options::meta_bytes_max), or one value
    /// is larger than a quarter of a record, the most that the engine can copy in one piece later.
    #[error("group {group}: the metadata has {bytes} bytes, at most {max} are allowed")]
    MetaTooLarge {
        /// The group.
        group: GroupId,
        /// Bytes of all values plus 64 for each key; or bytes of the single value.
        bytes: usize,
        /// Largest allowed number of bytes.
        max: usize,
    },
    /// The index of a snapshot marker is below the newest snapshot; or entries or a new start of the log, at or below
    /// the newest snapshot, would replace what that snapshot covers.
    #[error("group {group}: index {index} is not behind the newest snapshot, at {newest}")]
    SnapshotBack {
        /// The group.
        group: GroupId,
        /// The refused index.
        index: u64,
        /// Index of the newest snapshot.
        newest: u64,
    },
    /// The term of a snapshot marker differs from the term of its entry.
    #[error("group {group}: the snapshot at {index} has term {term}, the entry there has {known}")]
    SnapshotTerm {
        /// The group.
        group: GroupId,
        /// Index of the snapshot.
        index: u64,
        /// Term in the marker.
        term: u64,
        /// Term of the entry.
        known: u64,
    },
    /// The batch is larger than a record can be. Split it, or use larger segments.
    #[error("the batch needs {bytes} bytes, a record holds at most {max}")]
    BatchTooLarge {
        /// Bytes of the record and of its share of the footer.
        bytes: usize,
        /// Bytes that a record can hold.
        max: usize,
    },
    /// The batch contains no operation, so there is nothing to wait for.
    #[error("the batch is empty")]
    EmptyBatch,
    /// An option is out of range.
    #[error(transparent)]
    OptionOutOfRange(#[from] OutOfRange),
    /// The operating system could not start the engine's thread.
    #[error("cannot start the engine's thread: {source}")]
    Thread {
        /// The error of the operating system.
        source: std::sync::Arc<std::io::Error>,
    },
    /// The log belongs to another owner, for instance to another node. Nothing was written.
    #[error("this is the log of {stored}, and not of {given}: open the directory of {given}")]
    OtherOwner {
        /// The owner of the log.
        stored: Box<Owner>,
        /// The owner that was given.
        given: Box<Owner>,
    },
    /// The owner of the log cannot be read: a later version of this crate wrote it.
    #[error("it cannot be read whose log this is: a later version has written it; use that version")]
    OwnerUnreadable,
    /// [`Owner::user`](crate::Owner::user) is longer than the limit.
    #[error("an owner has {bytes} bytes of the user's, at most {max} are allowed")]
    OwnerTooLarge {
        /// Length in bytes.
        bytes: usize,
        /// Largest allowed length in bytes.
        max: usize,
    },
    /// The group is reserved for the engine's own state.
    #[error("group {group} is the engine's own: take another number")]
    GroupReserved {
        /// The group.
        group: GroupId,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// [`Engine::close`](crate::Engine::close) was called from inside a closure or listener that this engine is
    /// calling on the same thread. It would wait for itself.
    #[error(
        "the engine cannot be closed from inside a closure that it is calling: return from the closure first"
    )]
    InsideCall,

    // The operator must act: acknowledged data is missing or damaged. Nothing was changed.
    /// The commit index in the hard state is beyond the last entry of the log: acknowledged entries are missing.
    #[error(
        "group {group}: commit {commit} is beyond the last index {last_index}: acknowledged entries are missing"
    )]
    CommitBeyondLog {
        /// The group.
        group: GroupId,
        /// Commit index of the hard state.
        commit: u64,
        /// Last index of the log.
        last_index: u64,
    },
    /// The payload of an entry is not what was written: it fails its checksum.
    #[error("group {group}: entry {index} of term {term} at {at} is damaged")]
    DamagedEntry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Its term.
        term: u64,
        /// Position of the payload.
        at: Lsn,
    },
    /// The payload of an entry cannot be read. Occurs only in [`RewriteStats::stuck`](crate::stats::RewriteStats::stuck) and
    /// [`Listener::segment_stuck`](crate::Listener::segment_stuck); a read returns the error of the log instead.
    #[error(
        "group {group}: entry {index} of term {term} at {at} cannot be read, so its segment and all later ones stay until it is compacted, overwritten or readable: {source}"
    )]
    UnreadableEntry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Its term.
        term: u64,
        /// Position of the payload.
        at: Lsn,
        /// The error of the read.
        source: seawall_wal::Error,
    },
    /// A compressed payload passes its checksum but cannot be decompressed.
    #[error("group {group}: entry {index} at {at}: {source}")]
    Compressed {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Position of the payload.
        at: Lsn,
        /// The reason.
        source: DecompressError,
    },
    /// Damaged ranges hold more than payloads of entries. Restore the node from a peer, or read the intact records
    /// without the engine: see *What an engine refuses* in `docs/durability.md`. Occurs only in degraded and salvage
    /// mode; a strict open refuses every damaged range with the error of the log.
    #[error("more is lost than payloads of entries: {}", describe(.all))]
    Lost {
        /// Everything that is lost, in log order. Each is [`Error::Unaccounted`], [`Error::DamagedConfState`] or
        /// [`Error::DamagedMeta`].
        all: std::sync::Arc<[Error]>,
    },
    /// In a damaged range, so little is left of some records that their groups are unknown.
    #[error(
        "the log is damaged from {from} to {to} ({what}), and it is not known which groups that concerns"
    )]
    Unaccounted {
        /// First byte of the range.
        from: Lsn,
        /// One past the last byte of the range.
        to: Lsn,
        /// Kind of damage.
        what: seawall_wal::report::DamageKind,
    },
    /// A conf state in a damaged range fails its checksum.
    #[error("group {group}: the conf state in the record at {at} is damaged")]
    DamagedConfState {
        /// The group.
        group: GroupId,
        /// Position of the record.
        at: Lsn,
    },
    /// A metadata value in a damaged range fails its checksum.
    #[error("group {group}: the metadata value \"{}\" in the record at {at} is damaged", key.escape_ascii())]
    DamagedMeta {
        /// The group.
        group: GroupId,
        /// Key of the value.
        key: Box<[u8]>,
        /// Position of the record.
        at: Lsn,
    },
    /// The records of a group contradict each other.
    #[error("group {group}: the records up to {at} do not fit together: {fault}")]
    Damage {
        /// The group.
        group: GroupId,
        /// Position of the record at which the contradiction was found.
        at: Lsn,
        /// The contradiction.
        fault: Fault,
    },
    /// A record was not written by this engine, or was written by a later version of it.
    #[error("the record at {at} cannot be read")]
    Record {
        /// Position of the record.
        at: Lsn,
        /// The reason.
        source: DecodeError,
    },

    // The log failed. After a failed write or sync, the log stays failed until it is opened again (INV-7).
    /// An error of the log.
    #[error(transparent)]
    Log(#[from] seawall_wal::Error),
}

/// Messages of the first few of `all`, and the number of the others.
fn describe(all: &[Error]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = all.iter().take(SHOWN).map(Error::to_string).collect();
    let more = all.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &tail
}

/// A contradiction between the records of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Entries are missing before those of a record.
    #[error("entry {found} follows where {expected} is next")]
    Gap {
        /// The index that was expected.
        expected: u64,
        /// The index that was found.
        found: u64,
    },
    /// Entries after the compaction point are missing from the log.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// First missing index.
        first: u64,
        /// Last missing index.
        last: u64,
    },
    /// An append is stored as truncating although it replaced no entry, or the other way round.
    #[error("entry {index} is stored as truncating when it did not, or the other way round")]
    Truncation {
        /// First index of the append.
        index: u64,
    },
    /// The index of an entry is at or below the compaction point, or out of range.
    #[error("entry {index} cannot be stored behind the compaction point {point}")]
    Index {
        /// Index of the entry.
        index: u64,
        /// Compaction point at that record.
        point: u64,
    },
    /// A term decreases, or the term of a compaction point or snapshot marker differs from that of its entry.
    #[error("index {index} has term {term} where {known} is known")]
    Term {
        /// The index.
        index: u64,
        /// Term in the record.
        term: u64,
        /// Term known before the record.
        known: u64,
    },
    /// A compaction point goes back, or is beyond the end of the log.
    #[error("compaction point {index} does not lie between {from} and {to}")]
    Point {
        /// Compaction point in the record.
        index: u64,
        /// Compaction point before the record.
        from: u64,
        /// Last index of the log.
        to: u64,
    },
    /// A hard state goes back.
    #[error("the hard state's {field} goes back")]
    HardState {
        /// The field that goes back.
        field: &'static str,
    },
    /// A record has fewer parts, or fewer values of small state, than its operations need.
    #[error("a part is missing")]
    Part,
}
