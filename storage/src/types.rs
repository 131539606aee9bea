//! Plain types of the engine's interface: entries, hard state, conf state, snapshot marker, compaction point.
//! Place on the data's way: what a Raft core hands in and gets back; every other module speaks in them.
//! Invariants: index 0 is never an entry; vote 0 is "none"; a point names an entry that is gone but known.
//! Nothing here can fail.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The number of a Raft group; any value but 2^64 - 1, which is the engine's own.
///
/// With the openraft adapters groups have numbers below 2^63 - 1: group *n* + 2^63 holds the vote and the purged log id of
/// group *n*.
pub type GroupId = u64;

/// Where the numbers of the groups begin in which the openraft adapters keep votes: 2^63.
///
/// The engine treats these groups like all others. Whether a group from here on is such a one its number alone does not
/// say: a program that uses the engine without the adapters may give a group any number.
pub const OPENRAFT_STATE_GROUPS: GroupId = 1 << 63;

/// The largest index an entry may have: the one after it must still be a number.
pub(crate) const INDEX_MAX: u64 = u64::MAX - 1;

/// What a Raft node must remember besides its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term this node has seen. Never goes back.
    pub term: u64,
    /// The node voted for in `term`, 0 for none. Fixed within a term once it is not 0.
    pub vote: u64,
    /// The highest index known to be committed. Never goes back, never beyond the last index.
    pub commit: u64,
}

/// One entry to be appended; the payload is copied into the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    /// Position in the group's log, from 1.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// Opaque bytes, may be empty.
    pub payload: &'a [u8],
}

/// One entry that was read.
///
/// The payload shares its buffer with the neighbours that were read with it (at most 1 MiB): copy it to
/// keep it for long.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position in the group's log, from 1.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// Opaque bytes, as appended.
    pub payload: Bytes,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}/{}, {} bytes)", self.index, self.term, self.payload.len())
    }
}

/// An entry whose payload is not what was written, while its index and term are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DamagedEntry {
    /// The group.
    pub group: GroupId,
    /// Index of the entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// Values by group. Numbers of groups are the caller's own, so a fast hash will do.
pub(crate) type GroupMap<V> = std::collections::HashMap<GroupId, V, foldhash::fast::RandomState>;

/// The members of a group, as Raft's joint consensus names them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfState {
    /// Voters of the incoming configuration, or of the only one.
    pub voters: Vec<u64>,
    /// Members that receive the log and do not vote.
    pub learners: Vec<u64>,
    /// Voters of the outgoing configuration; empty outside a joint one.
    pub voters_outgoing: Vec<u64>,
    /// Voters of the outgoing configuration that become learners when the joint one is left.
    pub learners_next: Vec<u64>,
    /// Whether the joint configuration is left without being asked to.
    pub auto_leave: bool,
    /// Index of the entry that made it, so that a restart knows which changes are in it; 0 for the first.
    pub index: u64,
}

impl ConfState {
    /// Whether node `id` receives the log: as a voter of either configuration, or as a learner.
    pub fn has(&self, id: u64) -> bool {
        // The next learners are voters of the outgoing configuration.
        self.voters.contains(&id) || self.learners.contains(&id) || self.voters_outgoing.contains(&id)
    }
}

/// Whose log it is. Set once, and compared by those who know whose it should be: see
/// [`Options::owner`](crate::Options::owner) and [`Engine::set_owner`](crate::Engine::set_owner).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Owner {
    /// The cluster; any number, the same on all its nodes.
    pub cluster: u64,
    /// The node in the cluster.
    pub node: u64,
    /// Whatever else tells it from others, 1024 bytes at most: a name, a UUID.
    pub user: Vec<u8>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)?;
        if !self.user.is_empty() {
            write!(f, " (\"{}\")", self.user.escape_ascii())?;
        }
        Ok(())
    }
}

/// Says that a snapshot which was published and verified covers the log up to an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct SnapshotMarker {
    /// Index of the last entry that the snapshot covers; never 0.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// What tells the snapshot from another one of the same entry, as its owner likes: the first 8 bytes of its
    /// digest, little-endian, or 0.
    pub digest: u64,
}

/// Bytes that the key of a metadata value may have: it stands in the operation itself.
pub(crate) const META_KEY_BYTES_MAX: usize = 24;

/// The key of a metadata value: 1 to 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaKey {
    /// Zeros behind the key, so that keys sort as their bytes do.
    bytes: [u8; META_KEY_BYTES_MAX],
    length: u8,
}

impl MetaKey {
    /// `key`, unless it is empty or too long.
    pub(crate) fn new(key: &[u8]) -> Option<MetaKey> {
        let mut bytes = [0; META_KEY_BYTES_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        let length = u8::try_from(key.len()).ok().filter(|length| *length > 0)?;
        Some(MetaKey { bytes, length })
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Debug for MetaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// What the part of an operation on small state holds, as the groups keep it.
#[derive(Clone, Debug)]
pub(crate) enum StateValue {
    Conf(Arc<ConfState>),
    Meta(Bytes),
}

/// The last entry that is gone, with the term that stays known; `(0, 0)` before any compaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CompactionPoint {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Where the payload of one entry lies in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Location {
    /// Segment sequence number.
    pub(crate) segment: u32,
    /// Byte offset inside the segment file.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) length: u32,
    /// CRC-32C of the bytes.
    pub(crate) crc: u32,
    /// The bytes are a compressed payload.
    pub(crate) packed: bool,
}

impl Location {
    /// Of bytes that are as they were handed in.
    pub(crate) fn plain(segment: u32, offset: u32, length: u32, crc: u32) -> Location {
        Location { segment, offset, length, crc, packed: false }
    }
}

/// When and how the payloads of entries are compressed, each alone, with zstd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Bytes from which on a payload is tried, 512 to 2^26; one that does not lose an eighth and 256 bytes stays
    /// as it is, and so does one of more than 2^26.
    pub from_bytes: usize,
    /// Level of zstd, 1 to 19: the higher, the slower and the smaller.
    pub level: usize,
}
