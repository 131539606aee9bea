//! Checks damaged logs in the other modes: compares what degraded mode quarantines, and what it and salvage
//! mode read, with the records that were written.

use super::log::Log;
use crate::harness::{counting_changes, fill, record};
use seawall_wal::{Durability, Error, Lsn, OpenMode, UnexplainedTail, Wal, report::Damage};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Bytes of a group before its first record.
const HEADER: u64 = 64;

/// The number and position of a record, or the damaged range that an error names.
#[derive(Clone, PartialEq, Debug)]
enum Item {
    Record(u64, Lsn),
    Place(Damage),
}

/// Everything that a reader of `wal` returns. Fails if the content of a record is not what was written under
/// its number.
#[track_caller]
fn items(what: &str, wal: &Wal) -> Vec<Item> {
    let item = |record: Result<seawall_wal::Record, Error>| match record {
        Ok(record) => {
            let id = u64::from_le_bytes(record.meta().try_into().expect("a number"));
            assert!(record.parts().all(|(_, part)| part.iter().all(|&b| b == fill(id))), "{what}: {id}");
            Item::Record(id, record.lsn())
        }
        Err(Error::Corrupt { damage, .. }) if damage.len() == 1 => Item::Place(damage[0]),
        Err(error) => panic!("{what}: {error}"),
    };
    wal.records(Lsn::ZERO).map(item).collect()
}

/// Asserts that each group of `log` is served unchanged in its place or is `listed`, and that nothing else is
/// served.
#[track_caller]
fn complete(what: &str, items: &[Item], log: &Log, listed: &dyn Fn(Lsn) -> bool) {
    let record = |item: &Item| match item {
        Item::Record(id, lsn) => Some((*lsn, *id)),
        Item::Place(_) => None,
    };
    let records: Vec<(Lsn, u64)> = items.iter().filter_map(record).collect();
    assert!(records.is_sorted(), "{what}: not in order");
    let mut served: BTreeSet<(Lsn, u64)> = records.into_iter().collect();
    for (n, id) in (0..log.groups.len()).zip(0..) {
        let group = log.lsn(n);
        let at = Lsn::from_u64(group.as_u64() + HEADER);
        assert!(served.remove(&(at, id)) || listed(group), "{what}: {id} is neither there nor listed");
    }
    // If all groups that record the release are lost, released segments look live.
    served.retain(|(lsn, _)| lsn.segment() >= log.live[0]);
    assert!(served.is_empty(), "{what}: never written there: {served:?}");
}

impl Log {
    fn open_as(
        &self,
        mode: OpenMode,
        suspect: UnexplainedTail,
    ) -> Result<(Wal, seawall_wal::RecoveryReport), Error> {
        Wal::open_in(self.disk.env(), &self.kind.options().with_mode(mode).with_unexplained_tail(suspect))
    }

    /// Asserts that `Wal::prepare` changes no byte and no name, whatever it concludes.
    #[track_caller]
    pub fn prepares(&self, what: &str) {
        let before = self.disk.files();
        // The other modes read everything anyway.
        let strict = [false, true].map(|verify| (OpenMode::Strict, verify));
        for (mode, verify_on_open) in
            strict.into_iter().chain([OpenMode::Degraded, OpenMode::Salvage].map(|m| (m, false)))
        {
            let (env, changes) = counting_changes(self.disk.env());
            let options = self.kind.options().with_mode(mode).with_verify_on_open(verify_on_open);
            drop(Wal::prepare(env, &options, None));
            assert_eq!(changes.load(Ordering::Relaxed), 0, "{what}: {mode:?} changed something");
        }
        assert!(before == self.disk.files(), "{what}: files differ");
    }

    /// Opens a damaged log, which strict mode refuses, in the other modes. Returns the outcomes of degraded
    /// and of salvage mode.
    #[track_caller]
    pub fn other_modes(&self, what: &str) -> (&'static str, &'static str) {
        let before = self.disk.files();
        let salvage = self.salvage(what);
        assert!(before == self.disk.files(), "{what}: salvage changed something");
        let degraded = self.degraded(what);
        if degraded == "refused" {
            assert!(before == self.disk.files(), "{what}: a refused open changed something");
        }
        (degraded, salvage)
    }

    #[track_caller]
    fn salvage(&self, what: &str) -> &'static str {
        let operations = self.disk.operations();
        let (wal, report) = match self.open_as(OpenMode::Salvage, UnexplainedTail::Refuse) {
            Ok(opened) => opened,
            Err(Error::Corrupt { .. } | Error::Identity { .. } | Error::NotALog { .. }) => return "refused",
            Err(Error::UnsupportedVersion { supported: 1, .. } | Error::UnsupportedFeatures { .. }) => {
                return "refused";
            }
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(report.damaged, wal.damaged(), "{what}");
        let read = items(what, &wal);
        let listed = |lsn| {
            let damaged = report.damaged.iter().any(|d| d.from <= lsn && lsn < d.to);
            damaged || report.dropped.iter().any(|d| d.from <= lsn && lsn < d.to)
        };
        complete(what, &read, self, &listed);
        let places: Vec<_> = read.iter().filter(|item| matches!(item, Item::Place(_))).cloned().collect();
        assert_eq!(places, report.damaged.iter().copied().map(Item::Place).collect::<Vec<_>>(), "{what}");
        let append = wal.append(&record(900, 10), Durability::Sync).map(drop);
        assert!(matches!(append, Err(Error::ReadOnly)), "{what}: {append:?}");
        assert!(matches!(wal.flush(), Err(Error::ReadOnly)), "{what}");
        assert!(matches!(wal.release(u32::MAX), Err(Error::ReadOnly)), "{what}");
        wal.close().unwrap();
        assert_eq!(self.disk.operations(), operations, "{what}: salvage wrote");
        "read-only"
    }

    /// Opens the log in degraded mode three times, each time with an append and then a crash. The records
    /// that were appended before are there, and the damage stays the same, for strict mode too.
    #[track_caller]
    fn degraded(&self, what: &str) -> &'static str {
        let strict = |log: &Log| log.look().map(|found| found.verdict.unwrap_err());
        let mut expected = None;
        let mut appended = Vec::new();
        for id in [900, 901, 902] {
            let refused = strict(self);
            let (wal, report) = match self.open_as(OpenMode::Degraded, UnexplainedTail::Refuse) {
                Ok(opened) => opened,
                Err(error) => {
                    assert!(expected.is_none(), "{what}: the log opened before, and is refused now: {error}");
                    return "refused";
                }
            };
            let refused = refused.expect("an identity");
            let places = |list: &[Damage]| list.iter().map(|d| (d.from, d.what)).collect::<Vec<_>>();
            assert_eq!(
                places(&report.damaged),
                places(&refused),
                "{what}: degraded mode quarantines what strict mode names"
            );
            let read = items(what, &wal);
            let (kept, after) = read.split_at(read.len() - appended.len());
            complete(what, kept, self, &|lsn| report.damaged.iter().any(|d| d.from <= lsn && lsn < d.to));
            assert!(
                expected.as_deref().is_none_or(|before| before == kept),
                "{what}: other records than before"
            );
            assert_eq!(after, appended, "{what}: the records appended since the damage");
            for damage in &report.damaged {
                let mut byte = [0];
                match wal.read_at(damage.from, &mut byte) {
                    Err(Error::Corrupt { damage: named, .. }) => assert_eq!(named[..], [*damage], "{what}"),
                    other => panic!("{what}: {other:?}"),
                }
            }
            let ticket = wal.append(&record(id, 3900), Durability::Sync).unwrap();
            ticket.wait().unwrap();
            appended.push(Item::Record(id, ticket.lsn()));
            expected = Some(kept.to_vec());
            drop(wal);
            self.disk.crash();
            assert_eq!(strict(self).expect("an identity"), refused, "{what}: the damage has changed");
        }
        assert!(expected.is_some_and(|kept| kept.len() <= self.groups.len() + 1));
        "quarantined"
    }
}
