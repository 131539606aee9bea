//! Models groups in the simplest way, and chooses operations that a valid caller may request.
//!
//! The random model and the example `crash_workload` use it.

#[path = "../../random/mod.rs"]
mod random;

use std::collections::BTreeMap;

pub use random::Rng;
use seawall::{ConfState, Engine, EntryRef, Error, HardState, SnapshotMarker, WriteBatch};

/// Sizes of a run.
pub struct Sizes {
    pub groups: u64,
    pub payload_max: u32,
    /// Largest number of operations in a batch.
    pub batch: u64,
}

/// Returns the payload for an id. The low 16 bits of the id are its length, and its bytes repeat the id.
pub fn payload(id: u64) -> Vec<u8> {
    let length = usize::try_from(id & 0xffff).unwrap();
    id.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// An operation on a group, as a caller requests it.
#[derive(Clone, Debug)]
pub enum Act {
    Append {
        first: u64,
        term: u64,
        ids: Vec<u64>,
    },
    Hard(HardState),
    Conf(ConfState),
    Compact(u64),
    Start(u64, u64),
    Remove,
    /// Index, term and digest. The term is the one that the log has.
    Snapshot(u64, u64, u64),
    PutMeta(Vec<u8>, u64),
    RemoveMeta(Vec<u8>),
}

/// State of one group.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Group {
    /// Index and term of the compaction point.
    point: (u64, u64),
    /// Term and payload id of each entry after the compaction point.
    entries: Vec<(u64, u64)>,
    hard: HardState,
    conf: Option<ConfState>,
    /// Index, term and digest of each snapshot, the newest first.
    snapshots: Vec<(u64, u64, u64)>,
    /// Payload id of each metadata value, by key.
    metas: BTreeMap<Vec<u8>, u64>,
    /// Whether anything other than metadata was written to the group.
    exists: bool,
}

impl Group {
    pub fn last(&self) -> u64 {
        self.point.0 + self.entries.len() as u64
    }

    fn exists(&self) -> bool {
        self.exists || !self.metas.is_empty()
    }

    fn term(&self, index: u64) -> u64 {
        if index == self.point.0 { self.point.1 } else { self.entries[self.at(index)].0 }
    }

    fn at(&self, index: u64) -> usize {
        usize::try_from(index - self.point.0 - 1).unwrap()
    }

    fn apply(&mut self, act: &Act) {
        self.exists |= !matches!(act, Act::PutMeta(..) | Act::RemoveMeta(_));
        match act {
            Act::Append { first, term, ids } => {
                self.entries.truncate(self.at(*first));
                self.entries.extend(ids.iter().map(|id| (*term, *id)));
            }
            Act::Hard(hard) => self.hard = *hard,
            Act::Conf(conf) => self.conf = Some(conf.clone()),
            Act::Compact(index) => self.compact(*index),
            Act::Start(index, term) => {
                if *index <= self.last() && self.term(*index) == *term {
                    self.compact(*index);
                } else {
                    self.entries.clear();
                    self.point = (*index, *term);
                }
            }
            Act::Remove => *self = Group::default(),
            Act::Snapshot(index, term, digest) => {
                self.snapshots.retain(|other| other.0 != *index);
                self.snapshots.insert(0, (*index, *term, *digest));
                self.snapshots.truncate(2);
            }
            Act::PutMeta(key, id) => _ = self.metas.insert(key.clone(), *id),
            Act::RemoveMeta(key) => _ = self.metas.remove(key),
        }
    }

    fn compact(&mut self, index: u64) {
        let term = self.term(index);
        self.entries.drain(..=self.at(index));
        self.point = (index, term);
    }
}

/// Groups by number. Those that do not exist may be listed, too, as empty ones.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Groups(BTreeMap<u64, Group>);

impl Groups {
    pub fn group(&mut self, id: u64) -> &Group {
        self.0.entry(id).or_default()
    }

    pub fn apply(&mut self, id: u64, act: &Act) {
        self.0.entry(id).or_default().apply(act);
    }

    /// Returns the first difference between the engine and these groups. Reads no payloads.
    pub fn differs(&self, engine: &Engine) -> Result<(), String> {
        self.groups_differ(engine)?;
        if let Some(other) = engine.groups().iter().find(|id| !self.0.contains_key(id)) {
            return Err(format!("there is a group {other}"));
        }
        let entries: usize = self.0.values().map(|group| group.entries.len()).sum();
        match engine.stats() {
            Ok(stats) if stats.entries != entries as u64 => {
                Err(format!("{} entries, not {entries}", stats.entries))
            }
            _ => Ok(()),
        }
    }

    /// As [`Groups::differs`], for an engine that may have other groups as well.
    pub fn groups_differ(&self, engine: &Engine) -> Result<(), String> {
        let same = |what: &str, id: u64, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            if found == expected {
                Ok(())
            } else {
                Err(format!("group {id}: {what} {found}, not {expected}"))
            }
        };
        let found: Vec<u64> = engine.groups().into_iter().filter(|id| self.0.contains_key(id)).collect();
        let ids: Vec<u64> = self.0.iter().filter(|(_, group)| group.exists()).map(|(id, _)| *id).collect();
        if found != ids {
            return Err(format!("groups {found:?}, not {ids:?}"));
        }
        for (&id, group) in &self.0 {
            let found = engine.group(id);
            let (last, runs) = (group.last(), found.term_runs());
            if found.compaction_point() != group.point || found.last_index() != last {
                let found = (found.compaction_point(), found.last_index());
                return same("point and end", id, &found, &(group.point, last));
            }
            if found.hard_state() != group.hard {
                return same("hard state", id, &found.hard_state(), &group.hard);
            }
            if found.conf_state().as_deref() != group.conf.as_ref() {
                return same("conf state", id, &found.conf_state(), &group.conf);
            }
            let marker = |&(index, term, digest): &(u64, u64, u64)| SnapshotMarker { index, term, digest };
            let snapshots: Vec<_> = group.snapshots.iter().map(marker).collect();
            if found.snapshots() != snapshots {
                return same("snapshots", id, &found.snapshots(), &snapshots);
            }
            let metas: Vec<_> =
                group.metas.iter().map(|(key, id)| (key.clone(), payload(*id).into())).collect();
            if found.metas() != metas {
                return same("metadata", id, &found.metas(), &metas);
            }
            let mut terms: Vec<_> = (group.point.0 + 1..).zip(group.entries.iter().map(|e| e.0)).collect();
            terms.dedup_by_key(|run| run.1);
            if runs != terms {
                return same("terms", id, &runs, &terms);
            }
            if found.first_index() != group.point.0 + 1
                || found.term(group.point.0).ok() != Some(group.point.1)
            {
                return same("first", id, &found.first_index(), &group.point);
            }
        }
        Ok(())
    }

    /// Reads every entry, and returns the first one that differs. Fails if a read fails.
    pub fn payloads_differ(&self, engine: &Engine) -> Result<Option<String>, Error> {
        for (&id, group) in &self.0 {
            let wanted = Wanted { id, low: group.point.0 + 1, high: group.last() + 1, limit: None };
            if let Some(why) = read_differs(engine, group, wanted)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Reads a random range of one group, sometimes with a limit, and returns the first difference.
    pub fn read_some(&mut self, engine: &Engine, id: u64, rng: &mut Rng) -> Result<Option<String>, Error> {
        let group = self.group(id);
        let count = group.entries.len() as u64;
        let low = group.point.0 + 1 + rng.below(count + 1);
        let high = low + rng.below(group.last() + 2 - low);
        let limit = if rng.chance(50) { Some(rng.below(5000)) } else { None };
        read_differs(engine, group, Wanted { id, low, high, limit })
    }
}

/// Adds the groups of other parts of the same engine.
impl Extend<Groups> for Groups {
    fn extend<I: IntoIterator<Item = Groups>>(&mut self, others: I) {
        self.0.extend(others.into_iter().flat_map(|groups| groups.0));
    }
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: u64,
    low: u64,
    high: u64,
    limit: Option<u64>,
}

fn read_differs(engine: &Engine, group: &Group, wanted: Wanted) -> Result<Option<String>, Error> {
    let Wanted { id, low, high, limit } = wanted;
    let found = engine.group(id).entries(low, high, limit)?;
    let expected = &group.entries[group.at(low)..group.at(high)];
    let (mut bytes, mut fit) = (0, 0);
    for (_, id) in expected {
        bytes += id & 0xffff;
        if fit > 0 && bytes > limit.unwrap_or(u64::MAX) {
            break;
        }
        fit += 1;
    }
    if found.len() != fit {
        return Ok(Some(format!("{wanted:?}: {} entries, not {fit}", found.len())));
    }
    let other = found.iter().zip((low..).zip(expected)).find(|(entry, (index, (term, id)))| {
        (entry.index, entry.term) != (*index, *term) || entry.payload != payload(*id)
    });
    Ok(other.map(|(entry, expected)| format!("{wanted:?}: {entry:?} is not {expected:?}")))
}

/// Returns one of four keys, so that the same keys are set again.
fn key(rng: &mut Rng) -> Vec<u8> {
    vec![b'k'; usize::try_from(1 + rng.below(4)).unwrap() * 6]
}

/// Returns the next operation on `group` that a valid caller might request.
pub fn act(rng: &mut Rng, group: &Group, sizes: &Sizes, next_id: &mut u64) -> Act {
    let (point, last) = (group.point.0, group.last());
    let newest = group.snapshots.first().map_or(0, |marker| marker.0);
    match rng.below(110) {
        0..50 => {
            // Appends mostly at the end, sometimes over a suffix, and never over committed entries.
            let lowest = group.hard.commit.max(point).max(newest);
            let back = if rng.chance(25) { rng.below(last - lowest + 1) } else { 0 };
            let first = last + 1 - back;
            let term = group.term(first - 1) + u64::from(rng.chance(if back > 0 { 70 } else { 5 }));
            let mut id = || {
                *next_id += 1;
                let length = match rng.below(10) {
                    0 => 0,
                    1..4 => rng.small(0, sizes.payload_max),
                    _ => rng.small(0, 100),
                };
                (*next_id << 16) | u64::from(length)
            };
            let ids: Vec<u64> = (0..=id() % 4).map(|_| id()).collect();
            Act::Append { first, term, ids }
        }
        50..66 => {
            let HardState { term, vote, commit } = group.hard;
            let commit = commit + rng.below(last.saturating_sub(commit) + 1);
            // Often only the commit index changes, which is a lazy write.
            if rng.chance(60) {
                return Act::Hard(HardState { term, vote, commit });
            }
            let vote = if vote == 0 { rng.below(4) } else { vote };
            let (term, vote) = if rng.chance(50) { (term + 1, rng.below(4)) } else { (term, vote) };
            Act::Hard(HardState { term, vote, commit })
        }
        66..70 => {
            let voters = (0..rng.below(20)).map(|_| rng.next()).collect();
            Act::Conf(ConfState { voters, index: rng.below(last + 1), ..ConfState::default() })
        }
        70..92 if last > point => {
            let most = rng.chance(60);
            let back = if most { rng.below((last - point).min(3)) } else { rng.below(last - point) };
            Act::Compact(last - back)
        }
        92..95 => {
            let index = (point + 1 + rng.below(last - point + 5)).max(group.hard.commit).max(newest + 1);
            // Sometimes the start is an entry that the log has, so the log is only compacted.
            let known = index > point && index <= last && rng.chance(50);
            let index = index.max(point + 1);
            let term = if known { group.term(index) } else { 1 + rng.below(6) };
            Act::Start(index, term)
        }
        95..97 => Act::Remove,
        100..103 if last > 0 => {
            let index = point.max(newest).max(1);
            let index = index + rng.below(last - index + 1);
            Act::Snapshot(index, group.term(index), rng.next())
        }
        103..108 => {
            *next_id += 1;
            let length = if rng.chance(20) { rng.small(0, 600) } else { rng.small(0, 30) };
            Act::PutMeta(key(rng), (*next_id << 16) | u64::from(length))
        }
        108..110 => Act::RemoveMeta(key(rng)),
        _ => Act::Hard(group.hard),
    }
}

/// Adds `act` on `group` to `batch`.
pub fn build(batch: &mut WriteBatch, group: u64, act: &Act) {
    match act {
        Act::Append { first, term, ids } => {
            let payloads: Vec<_> = ids.iter().map(|id| payload(*id)).collect();
            let entries: Vec<_> = (*first..)
                .zip(&payloads)
                .map(|(index, payload)| EntryRef { index, term: *term, payload })
                .collect();
            batch.append(group, &entries)
        }
        Act::Hard(hard) => batch.hard_state(group, *hard),
        Act::Conf(conf) => batch.conf_state(group, conf),
        Act::Compact(index) => batch.compact(group, *index),
        Act::Start(index, term) => batch.set_start(group, *index, *term),
        Act::Remove => batch.remove_group(group),
        Act::Snapshot(index, term, digest) => {
            batch.snapshot_marker(group, SnapshotMarker { index: *index, term: *term, digest: *digest })
        }
        Act::PutMeta(key, id) => batch.put_meta(group, key, &payload(*id)),
        Act::RemoveMeta(key) => batch.remove_meta(group, key),
    };
}
