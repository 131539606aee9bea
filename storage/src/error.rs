//! Every way the engine can fail, sorted by who must act.
//! Place on the data's way: returned by every call; a value, cheap to clone, never a string to parse.
//! Invariants: an error of the first block left no trace, neither in memory nor in the log.
//! Groups and indexes are named, so that a message alone tells where to look.

use seawall_wal::Lsn;

use crate::compression::DecompressError;
use crate::format::DecodeError;
use crate::options::OutOfRange;
use crate::types::{GroupId, Owner};

impl Error {
    /// Whether the disk is full: nothing was written, and the same call works once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Log(seawall_wal::Error::NoSpace { .. }))
    }
}

/// The result of the engine's calls.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The caller asked for what cannot be; nothing was written, nothing changed.
    /// The index is at or below the compaction point: its entry is gone, and can be neither read, written
    /// nor compacted again. Raft cores know this as "compacted", or "snapshot out of date".
    #[error("group {group}: index {index} is not behind the compaction point {point}")]
    Compacted {
        /// The group.
        group: GroupId,
        /// The index asked for.
        index: u64,
        /// Index of the compaction point.
        point: u64,
    },
    /// The index is beyond the end of the group's log.
    #[error("group {group}: index {index} is beyond the last index {last_index}")]
    Unavailable {
        /// The group.
        group: GroupId,
        /// The index asked for.
        index: u64,
        /// The group's last index.
        last_index: u64,
    },
    /// A range that ends before it begins.
    #[error("group {group}: the range {low}..{high} ends before it begins")]
    Range {
        /// The group.
        group: GroupId,
        /// First index asked for.
        low: u64,
        /// Index behind the last asked for.
        high: u64,
    },
    /// An append would leave a hole, or its entries do not follow each other.
    #[error("group {group}: entry {index} does not follow; {expected} is next")]
    Gap {
        /// The group.
        group: GroupId,
        /// Index of the entry refused.
        index: u64,
        /// The highest index it could have had.
        expected: u64,
    },
    /// An entry's term is below that of the entry before it.
    #[error("group {group}: entry {index} has term {term}, the entry before it has {before}")]
    TermDecreases {
        /// The group.
        group: GroupId,
        /// Index of the entry refused.
        index: u64,
        /// Its term.
        term: u64,
        /// Term of the entry before it.
        before: u64,
    },
    /// An index that no log can reach.
    #[error("group {group}: index {index} is out of range")]
    IndexRange {
        /// The group.
        group: GroupId,
        /// The index refused.
        index: u64,
    },
    /// An append would replace a committed entry by one of another term. A batch may repeat committed entries with the
    /// terms that they have.
    #[error(
        "group {group}: entry {index} of term {term} would replace the committed entry of term {known}; the commit index is {commit}"
    )]
    Committed {
        /// The group.
        group: GroupId,
        /// Index of the entry refused.
        index: u64,
        /// Its term.
        term: u64,
        /// Term of the committed entry.
        known: u64,
        /// The group's commit index.
        commit: u64,
    },
    /// A hard state goes back.
    #[error("group {group}: the hard state's {field} would go from {from} to {to}")]
    HardStateBack {
        /// The group.
        group: GroupId,
        /// `term`, `vote` (changed within one term) or `commit`.
        field: &'static str,
        /// Stored value.
        from: u64,
        /// Value refused.
        to: u64,
    },
    /// The commit index would lie beyond the last index after the batch.
    #[error("group {group}: commit {commit} is beyond the last index {last_index} after the batch")]
    CommitTooHigh {
        /// The group.
        group: GroupId,
        /// The commit index after the batch.
        commit: u64,
        /// The last index after the batch.
        last_index: u64,
    },
    /// One entry is larger than a record can be: larger segments are needed.
    #[error("group {group}: entry {index} has {bytes} bytes, a record holds at most {max}")]
    EntryTooLarge {
        /// The group.
        group: GroupId,
        /// Index of the entry refused.
        index: u64,
        /// Bytes of its payload.
        bytes: usize,
        /// Bytes that a record can hold, overhead included.
        max: usize,
    },
    /// A conf state is larger than a quarter of a record, the most that can later be moved in one piece.
    #[error("group {group}: the conf state has {bytes} bytes, at most {max} are allowed")]
    ConfStateTooLarge {
        /// The group.
        group: GroupId,
        /// Bytes of the encoded conf state: 32, and 8 per member.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The key of a metadata value has not 1 to 24 bytes.
    #[error("group {group}: the key of a metadata value has {bytes} bytes; it must have 1 to 24")]
    MetaKey {
        /// The group.
        group: GroupId,
        /// Bytes of the key.
        bytes: usize,
    },
    /// A group would have more metadata than the options allow, or one value is larger than a quarter of a
    /// record, the most that can later be moved in one piece.
    #[error("group {group}: the metadata has {bytes} bytes, at most {max} are allowed")]
    MetaTooLarge {
        /// The group.
        group: GroupId,
        /// Bytes of all its values, and 64 for each key; or of the one value.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A snapshot marker, or entries or a start that would replace what a snapshot covers, at or below the
    /// newest snapshot's index.
    #[error("group {group}: index {index} is not behind the newest snapshot, at {newest}")]
    SnapshotBack {
        /// The group.
        group: GroupId,
        /// The index refused.
        index: u64,
        /// Index of the newest snapshot.
        newest: u64,
    },
    /// A snapshot marker's term is not that of its entry.
    #[error("group {group}: the snapshot at {index} has term {term}, the entry there has {known}")]
    SnapshotTerm {
        /// The group.
        group: GroupId,
        /// Index of the snapshot.
        index: u64,
        /// Its term.
        term: u64,
        /// The entry's term.
        known: u64,
    },
    /// The batch is larger than a record can be: split it, or use larger segments.
    #[error("the batch needs {bytes} bytes, a record holds at most {max}")]
    BatchTooLarge {
        /// Bytes of the record, and of its share of the footer.
        bytes: usize,
        /// Bytes that a record can hold.
        max: usize,
    },
    /// The batch says nothing, so there is nothing to wait for.
    #[error("the batch is empty")]
    EmptyBatch,
    /// An option is out of range.
    #[error(transparent)]
    Option(#[from] OutOfRange),
    /// The engine's thread could not be started.
    #[error("cannot start the engine's thread: {source}")]
    Thread {
        /// What the system said.
        source: std::sync::Arc<std::io::Error>,
    },
    /// The log is another's: of another node, for instance. Nothing was written.
    #[error("this is the log of {stored}, and not of {given}: open the directory of {given}")]
    OtherOwner {
        /// Whose log it is.
        stored: Box<Owner>,
        /// Whose it should be.
        given: Box<Owner>,
    },
    /// A later version of this crate has written whose log it is.
    #[error("it cannot be read whose log this is: a later version has written it; use that version")]
    OwnerUnreadable,
    /// The user's bytes of an owner are too many.
    #[error("an owner has {bytes} bytes of the user's, at most {max} are allowed")]
    OwnerTooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The engine keeps its own state in this group.
    #[error("group {group} is the engine's own: take another number")]
    GroupReserved {
        /// The group.
        group: GroupId,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// [`Engine::close`](crate::Engine::close) was called from inside a closure or a listener that the same engine is
    /// calling on this thread: it would wait for itself.
    #[error(
        "the engine cannot be closed from inside a closure that it is calling: return from the closure first"
    )]
    InsideCall,

    // The operator must act: acknowledged data is missing or damaged. Nothing was changed.
    /// The hard state says that entries were committed which the log does not have.
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
    /// The bytes of one entry are not those that were written.
    #[error("group {group}: entry {index} of term {term} at {at} is damaged")]
    DamagedEntry {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Its term.
        term: u64,
        /// Where its payload lies.
        at: Lsn,
    },
    /// The bytes of one entry cannot be read. In [`RewriteStats::stuck`](crate::RewriteStats::stuck) only; a read gives the
    /// log's error.
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
        /// Where its payload lies.
        at: Lsn,
        /// Why.
        source: seawall_wal::Error,
    },
    /// A compressed payload, which is what was written, cannot be decompressed.
    #[error("group {group}: entry {index} at {at}: {source}")]
    Compressed {
        /// The group.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Where its payload lies.
        at: Lsn,
        /// Why.
        source: DecompressError,
    },
    /// Damaged places took more than payloads of entries: restore the node from a peer, or read what is left in
    /// salvage mode. Only in degraded and salvage mode; a strict open refuses before.
    #[error("more is lost than payloads of entries: {}", describe(.all))]
    Lost {
        /// Everything that is lost, in log order: each is [`Error::Unaccounted`], [`Error::DamagedConfState`] or
        /// [`Error::DamagedMeta`].
        all: std::sync::Arc<[Error]>,
    },
    /// A damaged place held records of which too little is left to say which groups they were for.
    #[error(
        "the log is damaged from {from} to {to} ({what}), and it is not known which groups that concerns"
    )]
    Unaccounted {
        /// First byte of the place.
        from: Lsn,
        /// Behind its last byte.
        to: Lsn,
        /// What is wrong with it.
        what: seawall_wal::DamageKind,
    },
    /// A conf state lies in a damaged place and does not check.
    #[error("group {group}: the conf state in the record at {at} is damaged")]
    DamagedConfState {
        /// The group.
        group: GroupId,
        /// The record.
        at: Lsn,
    },
    /// A metadata value lies in a damaged place and does not check.
    #[error("group {group}: the metadata value \"{}\" in the record at {at} is damaged", key.escape_ascii())]
    DamagedMeta {
        /// The group.
        group: GroupId,
        /// The value's key.
        key: Box<[u8]>,
        /// The record.
        at: Lsn,
    },
    /// The records of a group do not fit together.
    #[error("group {group}: the records up to {at} do not fit together: {fault}")]
    Damage {
        /// The group.
        group: GroupId,
        /// The record at which it was noticed.
        at: Lsn,
        /// What does not fit.
        fault: Fault,
    },
    /// A record of the log is not one of this engine, or of a newer one.
    #[error("the record at {at} cannot be read")]
    Record {
        /// The record.
        at: Lsn,
        /// Why.
        source: DecodeError,
    },

    // The log below failed; after a failed write it stays failed until it is opened again.
    /// An error of the log.
    #[error(transparent)]
    Log(#[from] seawall_wal::Error),
}

/// The first few of `all`, and how many more there are.
fn describe(all: &[Error]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = all.iter().take(SHOWN).map(Error::to_string).collect();
    let more = all.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &tail
}

/// What does not fit in the records of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Entries are missing before those of the record.
    #[error("entry {found} follows where {expected} is next")]
    Gap {
        /// Index that was next.
        expected: u64,
        /// Index found.
        found: u64,
    },
    /// Entries behind the compaction point are nowhere in the kept log.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// First index missing.
        first: u64,
        /// Last index missing.
        last: u64,
    },
    /// An append says that it truncated where nothing was, or the other way round.
    #[error("entry {index} is stored as truncating when it did not, or the other way round")]
    Truncation {
        /// First index of the append.
        index: u64,
    },
    /// An entry lies at or below the compaction point, or out of any range.
    #[error("entry {index} cannot be stored behind the compaction point {point}")]
    Index {
        /// Index of the entry.
        index: u64,
        /// Compaction point when it was met.
        point: u64,
    },
    /// A term goes back, or the compaction point contradicts an entry's term.
    #[error("index {index} has term {term} where {known} is known")]
    Term {
        /// The index.
        index: u64,
        /// Term in the record.
        term: u64,
        /// Term known before it.
        known: u64,
    },
    /// A compaction point goes back, or lies beyond the log.
    #[error("compaction point {index} does not lie between {from} and {to}")]
    Point {
        /// The point in the record.
        index: u64,
        /// The point before it.
        from: u64,
        /// Last index.
        to: u64,
    },
    /// A hard state goes back.
    #[error("the hard state's {field} goes back")]
    HardState {
        /// Which field.
        field: &'static str,
    },
    /// Fewer parts, or conf states, than the operations cover.
    #[error("a part is missing")]
    Part,
}
