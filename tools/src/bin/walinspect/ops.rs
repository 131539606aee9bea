//! Formats the engine's operations as lines and as JSON, from the result of `seawall::inspect`.

use seawall::inspect::{DecodedOp, OPENRAFT_STATE_GROUPS, OpKind, is_owner_group};
use serde::Serialize;
use std::fmt;

/// One operation of a record. Which fields are present depends on `kind`.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Op {
    /// Raft group.
    pub(crate) group: u64,
    /// Name of the operation, from `seawall::inspect::OpKind::name`.
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vote: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncates: Option<bool>,
    /// Present only if true.
    #[serde(skip_serializing_if = "Option::is_none")]
    compressed: Option<bool>,
    /// Identity of a snapshot, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Key of a metadata value, with bytes that are not ASCII escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Length in bytes of each part: one per entry, one for a conf state or a metadata value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lengths: Vec<u32>,
}

impl Op {
    /// Describes the operation `op` of a record whose parts have these `lengths`.
    pub(crate) fn new(op: &DecodedOp, lengths: &[u32]) -> Op {
        let base = Op {
            group: op.group,
            kind: op.what.name(),
            lengths: lengths.get(op.parts.clone()).unwrap_or_default().to_vec(),
            ..Op::default()
        };
        match op.what {
            OpKind::Entries { first, last, term, truncates, compressed } => Op {
                compressed: compressed.then_some(true),
                first: Some(first),
                last: Some(last),
                term: Some(term),
                truncates: Some(truncates),
                ..base
            },
            OpKind::Moved { first, last, term, compressed }
            | OpKind::Repaired { first, last, term, compressed } => {
                let compressed = compressed.then_some(true);
                Op { first: Some(first), last: Some(last), term: Some(term), compressed, ..base }
            }
            OpKind::HardState(hard) => {
                Op { term: Some(hard.term), vote: Some(hard.vote), commit: Some(hard.commit), ..base }
            }
            OpKind::Compact { index, term } | OpKind::Start { index, term } => {
                Op { index: Some(index), term: Some(term), ..base }
            }
            OpKind::Snapshot(marker) => Op {
                index: Some(marker.index),
                term: Some(marker.term),
                digest: Some(format!("{:016x}", marker.digest)),
                ..base
            },
            OpKind::PutMeta(key) | OpKind::RemoveMeta(key) => {
                Op { key: Some(key.as_bytes().escape_ascii().to_string()), ..base }
            }
            _ => base,
        }
    }
}

/// Returns the group whose vote is in group `number`, if the openraft adapters wrote it. The number alone decides: a
/// program without the adapters may use such numbers for its own groups.
pub(crate) fn vote_of(number: u64) -> Option<u64> {
    number.checked_sub(OPENRAFT_STATE_GROUPS).filter(|_| !is_owner_group(number))
}

/// Formats a group's number for people.
pub(crate) fn named(number: u64) -> String {
    match vote_of(number) {
        Some(group) => format!("group {number} (openraft: the vote of group {group})"),
        None => format!("group {number}"),
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", named(self.group), self.kind)?;
        if let (Some(first), Some(last)) = (self.first, self.last) {
            write!(f, " {first}..={last}")?;
        }
        let named =
            [("index", self.index), ("term", self.term), ("vote", self.vote), ("commit", self.commit)];
        for (name, value) in named {
            value.map_or(Ok(()), |value| write!(f, " {name} {value}"))?;
        }
        for (name, value) in [("digest", &self.digest), ("key", &self.key)] {
            value.as_ref().map_or(Ok(()), |value| write!(f, " {name} {value}"))?;
        }
        if self.truncates == Some(true) {
            f.write_str(" truncating")?;
        }
        if self.compressed == Some(true) {
            f.write_str(" compressed")?;
        }
        if !self.lengths.is_empty() {
            let bytes: u64 = self.lengths.iter().map(|&n| u64::from(n)).sum();
            write!(f, " ({bytes} bytes)")?;
        }
        Ok(())
    }
}
