//! Plain types of the engine's interface: entries, hard state, conf state, snapshot marker, metadata key, location.
//!
//! Index 0 is never an entry. A vote of 0 means none. A compaction point names the last entry that was dropped; its
//! term stays known.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use seawall_wal::segments::part_crc;

/// Number of a Raft group. Any value but 2^64 - 1, which is reserved for the engine.
///
/// With the openraft adapters, use numbers below 2^63 - 1: group *n* + 2^63 holds the vote and the purged log id of
/// group *n*.
pub type GroupId = u64;

/// First number of the groups in which the openraft adapters keep votes and purged log ids: 2^63.
///
/// The engine treats these groups like all others. A number from here on does not prove that a group belongs to the
/// adapters: a program that does not use them may give a group any number.
pub const OPENRAFT_STATE_GROUPS: GroupId = 1 << 63;

/// The largest index of an entry: one past it must still be a `u64`.
pub(crate) const INDEX_MAX: u64 = u64::MAX - 1;

/// State that a Raft node must remember in addition to its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term that this node has seen. Never decreases.
    pub term: u64,
    /// The node that got this node's vote in `term`, 0 for none. Does not change within a term once it is not 0.
    pub vote: u64,
    /// The highest index known to be committed. Never decreases; never beyond the last index.
    pub commit: u64,
}

/// An entry to append. Its payload is copied into the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    /// Index in the group's log, from 1.
    pub index: u64,
    /// Term in which the entry was proposed.
    pub term: u64,
    /// Payload, opaque to the engine. May be empty.
    pub payload: &'a [u8],
}

/// An entry that was read.
///
/// The payload may share its memory with other entries: with those that were read together with it, up to 1 MiB; with
/// all entries of its batch, if it comes from the cache; or with its whole segment, if that is mapped
/// ([`Options::map_sealed`](crate::Options::map_sealed)). Copy the payload to keep it for long.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Index in the group's log, from 1.
    pub index: u64,
    /// Term in which the entry was proposed.
    pub term: u64,
    /// Payload, as it was appended.
    pub payload: Bytes,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}/{}, {} bytes)", self.index, self.term, self.payload.len())
    }
}

/// An entry whose payload is damaged; its index and term are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DamagedEntry {
    /// The group.
    pub group: GroupId,
    /// Index of the entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// Map from group to value. Callers choose the group numbers, so a fast hash without protection against collisions
/// suffices.
pub(crate) type GroupMap<V> = std::collections::HashMap<GroupId, V, foldhash::fast::RandomState>;

/// The members of a group, in the terms of Raft's joint consensus.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfState {
    /// Voters of the incoming configuration, or of the only one.
    pub voters: Vec<u64>,
    /// Members that receive the log but do not vote.
    pub learners: Vec<u64>,
    /// Voters of the outgoing configuration; empty outside a joint configuration.
    pub voters_outgoing: Vec<u64>,
    /// Voters of the outgoing configuration that become learners when the joint configuration is left.
    pub learners_next: Vec<u64>,
    /// Whether the group leaves the joint configuration automatically.
    pub auto_leave: bool,
    /// Index of the entry that made this configuration, so that a restarted node knows which changes it includes; 0
    /// for the first configuration.
    pub index: u64,
}

impl ConfState {
    /// Whether node `id` receives the log, as a voter of either configuration or as a learner.
    pub fn has(&self, id: u64) -> bool {
        // Every node of `learners_next` is also in `voters_outgoing`.
        self.voters.contains(&id) || self.learners.contains(&id) || self.voters_outgoing.contains(&id)
    }
}

/// The owner of a log: a node of a cluster. It is set once and compared when the log is opened; see
/// [`Options::owner`](crate::Options::owner) and [`Engine::set_owner`](crate::Engine::set_owner).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Owner {
    /// Number of the cluster; any value, the same on all of its nodes.
    pub cluster: u64,
    /// Number of the node in the cluster.
    pub node: u64,
    /// Anything else that identifies the node, such as a name or a UUID; at most 1024 bytes.
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

/// Records that a published and verified snapshot covers the log up to an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct SnapshotMarker {
    /// Index of the last entry that the snapshot covers; never 0.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Tells this snapshot from others of the same entry. The caller chooses the value: the first 8 bytes of the
    /// snapshot's digest, little-endian, or 0.
    pub digest: u64,
}

/// Largest number of bytes in the key of a metadata value. The key is stored in the operation itself.
pub(crate) const META_KEY_BYTES_MAX: usize = 24;

/// The key of a metadata value: 1 to 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaKey {
    /// The key, padded with zeros, so that keys sort like their bytes.
    bytes: [u8; META_KEY_BYTES_MAX],
    length: u8,
}

impl MetaKey {
    /// The key with these bytes; `None` if `key` is empty or too long.
    pub(crate) fn new(key: &[u8]) -> Option<MetaKey> {
        let mut bytes = [0; META_KEY_BYTES_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        let length = u8::try_from(key.len()).ok().filter(|length| *length > 0)?;
        Some(MetaKey { bytes, length })
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Debug for MetaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// A value of small state that is stored as a part of a record, in the form in which the groups keep it in memory.
#[derive(Clone, Debug)]
pub(crate) enum StateValue {
    Conf(Arc<ConfState>),
    Meta(Bytes),
}

/// Index and term of the last entry that was dropped; `(0, 0)` before the first compaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CompactionPoint {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Position of an entry's payload in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Location {
    /// Sequence number of the segment.
    pub(crate) segment: u32,
    /// Byte offset in the segment file.
    pub(crate) offset: u32,
    /// Length in bytes, as stored.
    pub(crate) length: u32,
    /// CRC-32C of the stored bytes.
    pub(crate) crc: u32,
    /// Whether the stored bytes are a compressed payload.
    pub(crate) packed: bool,
}

impl Location {
    /// The location of bytes that are not compressed.
    pub(crate) fn plain(segment: u32, offset: u32, length: u32, crc: u32) -> Location {
        Location { segment, offset, length, crc, packed: false }
    }

    /// Whether `stored` are the bytes of this location: every reader asks before it uses them.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        part_crc(stored) == self.crc
    }
}

/// Which payloads are compressed, and how. Each payload is compressed on its own, with zstd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Compression {
    /// Size of the smallest payload to compress, in bytes, 512 to 2^26. A payload larger than 2^26 bytes is stored as
    /// it is, and so is one that compression does not make smaller by at least an eighth and at least 256 bytes.
    pub from_bytes: usize,
    /// Compression level of zstd, 1 to 19. A higher level is slower and compresses better.
    pub level: usize,
}
