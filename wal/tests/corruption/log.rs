//! A log of 200 acknowledged records of each kind, and what every damaged copy of it is held to.

use super::table::{Found, Table};
use crate::harness::{ids, record, stepped, try_ids};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::look::{Damage, DropReason, GroupKind, Head, Prior, SegmentHeader, inspect};
use seawall_wal::step::Stepper;
use seawall_wal::{Class, Error, Lsn, Options, Report, Suspect, Wal};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

pub const RECORDS: u64 = 200;
pub const BLOCK: usize = 4096;

pub fn name(segment: u32) -> String {
    format!("{segment:08x}.wal")
}

/// Where the damage is, and what the blocks held before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kind {
    /// In a segment that the log has left, rather than in the one in use.
    pub sealed: bool,
    /// The files were used before and hold what they held then.
    pub stale: bool,
}

impl Kind {
    pub const ALL: [Kind; 4] = [
        Kind { sealed: false, stale: false },
        Kind { sealed: false, stale: true },
        Kind { sealed: true, stale: false },
        Kind { sealed: true, stale: true },
    ];

    /// A segment that holds everything, or a third of it.
    pub fn options(self) -> Options {
        let (segment_bytes, spares) = if self.sealed { (256 << 10, 6) } else { (900 << 10, 3) };
        Options { segment_bytes, spares, ..Options::default() }
    }

    /// The same log for each case, made once: closed cleanly, so that a mark covers everything; or killed, so
    /// that nothing covers the last record.
    pub fn log(self, close: bool) -> Log {
        static LOGS: [OnceLock<Log>; 8] = [const { OnceLock::new() }; 8];
        let i = usize::from(self.sealed) + 2 * usize::from(self.stale) + 4 * usize::from(close);
        LOGS[i].get_or_init(|| Log::make(self, close)).copy()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |yes, a, b| if yes { a } else { b };
        write!(f, "{} {}", of(self.sealed, "sealed", "tail"), of(self.stale, "stale", "zeros"))
    }
}

/// 200 acknowledged records, and where their groups lie.
pub struct Log {
    pub kind: Kind,
    pub disk: Arc<SimDisk>,
    pub groups: Vec<(u32, Head)>,
    /// The segments that hold them.
    pub live: Vec<u32>,
    /// All segments that are live or to come, with their headers.
    pub headers: Vec<(u32, SegmentHeader)>,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
pub enum Due<'a> {
    /// Every open, under either policy, refuses with a damage that covers the place; nothing changes.
    Refusal(Lsn),
    /// The same, whatever the place that it names.
    AnyRefusal,
    /// Every open, with the default policy, shows exactly the first so many records and takes more; the first
    /// one reports that it dropped something for these reasons.
    Kept(u64, &'a [DropReason]),
}

impl Log {
    fn make(kind: Kind, close: bool) -> Log {
        let disk = SimDisk::new(5, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &kind.options()).unwrap();
        let append = |id| {
            let ticket = wal.append(&record(id, 3900), Class::Sync).unwrap();
            ticket.wait().unwrap();
            ticket.lsn().segment()
        };
        append(0);
        if kind.stale {
            use_up(&wal, &disk, || append(0));
        }
        (1..RECORDS).for_each(|id| _ = append(id));
        if close {
            wal.close().unwrap();
        }
        disk.kill();
        Log::of(kind, disk)
    }

    /// The log in `disk`, which is sound.
    pub fn of(kind: Kind, disk: Arc<SimDisk>) -> Log {
        let found = inspect(&*disk).unwrap();
        let verdict = found.verdict.unwrap();
        let live: Vec<u32> = verdict.kept.iter().map(|kept| kept.segment).collect();
        let heads = found.segments.iter().flat_map(|s| s.heads.iter().map(|h| (s.sequence, *h)));
        let kept = |(segment, h): &(u32, Head)| live.contains(segment) && h.kind == GroupKind::Data;
        let groups: Vec<_> = heads.filter(kept).take(200).collect();
        let headers = found.segments.iter().filter(|s| s.sequence >= verdict.first_live);
        let headers: Vec<_> = headers.map(|s| (s.sequence, s.header.unwrap())).collect();
        assert_eq!(groups.len() as u64, RECORDS);
        assert_eq!(live.len() > 2, kind.sealed, "{live:?}");
        let used = headers.iter().filter(|(n, _)| live.contains(n));
        assert!(used.into_iter().all(|(_, h)| (h.prior == Prior::Stale) == kind.stale));
        Log { kind, disk, groups, live, headers }
    }

    pub fn copy(&self) -> Log {
        let (groups, live, headers) = (self.groups.clone(), self.live.clone(), self.headers.clone());
        Log { kind: self.kind, disk: self.disk.fork(9), groups, live, headers }
    }

    pub fn lsn(&self, n: usize) -> Lsn {
        Lsn::new(self.groups[n].0, self.groups[n].1.offset)
    }

    /// The segment of the last record.
    pub fn tail(&self) -> u32 {
        self.lsn(199).segment()
    }

    /// Changes the bytes of group `n`.
    pub fn damage(&self, n: usize, f: impl FnOnce(&mut [u8])) {
        let at = self.lsn(n);
        self.disk.corrupt(&name(at.segment()), at.offset() as usize, |bytes| f(&mut bytes[..BLOCK]));
    }

    pub fn group(&self, n: usize) -> Vec<u8> {
        let at = self.lsn(n).offset() as usize;
        self.disk.read_file(&name(self.lsn(n).segment()))[at..at + BLOCK].to_vec()
    }

    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.disk.names().into_iter().filter(|name| name != "LOCK");
        names.map(|name| (name.clone(), self.disk.read_file(&name))).collect()
    }

    pub fn open_with(&self, suspect: Suspect) -> Result<(Wal, Report), Error> {
        Wal::open_in(stepped(&self.disk), &Options { suspect, ..self.kind.options() })
    }

    /// One case: `damage` to a copy, which is looked at, opened and read, and to one that is open.
    #[track_caller]
    pub fn case(&self, table: &mut Table, row: (u8, &str), what: &str, damage: &dyn Fn(&Log), due: Due<'_>) {
        let what = &format!("{} {}, {}: {what}", row.0, row.1, self.kind);
        let copy = self.copy();
        damage(&copy);
        let covers = |found: &[Damage]| match due {
            Due::Refusal(place) => found.iter().any(|d| d.from <= place && place < d.to),
            _ => true,
        };
        let verify = match inspect(&*copy.disk).map(|found| found.verdict) {
            Ok(Ok(_)) => "sound",
            Ok(Err(found)) => {
                assert!(covers(&found), "{what}: {found:?}");
                "error"
            }
            Err(_) => "error",
        };
        let mut modes = ("-", "-");
        let open = match due {
            Due::Refusal(_) | Due::AnyRefusal => {
                copy.refuses(what, &covers);
                modes = copy.other_modes(what);
                "error"
            }
            Due::Kept(keep, dropped) => {
                copy.keeps(what, keep, dropped);
                match (dropped.is_empty(), keep < RECORDS) {
                    (false, _) => "dropped, reported",
                    // No group was seen, so none is named: only the end of the log says it.
                    (true, true) => "dropped, end reported",
                    (true, false) => "as before",
                }
            }
        };
        assert_eq!(verify == "error", open == "error", "{what}");
        let read = self.read_after(what, damage);
        let (degraded, salvage) = modes;
        table.note(row.0, row.1, self.kind, Found { open, read, verify, degraded, salvage });
    }

    /// What a reader of a log says that is open when the damage happens; never wrong records.
    #[track_caller]
    pub fn read_after(&self, what: &str, damage: &dyn Fn(&Log)) -> &'static str {
        let copy = self.copy();
        let (wal, _) = copy.open_with(Suspect::Refuse).unwrap();
        let before = ids(&wal);
        damage(&copy);
        let mut records = wal.records(Lsn::ZERO);
        for id in before {
            match records.next() {
                Some(Ok(record)) => assert_eq!(record.meta(), id.to_le_bytes(), "{what}"),
                Some(Err(_)) => {
                    assert!(records.next().is_none(), "{what}: records behind an error");
                    return "error";
                }
                None => panic!("{what}: no record {id}, and no error"),
            }
        }
        assert!(records.next().is_none());
        "as before"
    }

    #[track_caller]
    fn refuses(&self, what: &str, covers: &dyn Fn(&[Damage]) -> bool) {
        let before = self.snapshot();
        for suspect in [Suspect::Refuse, Suspect::Refuse, Suspect::Drop] {
            match self.open_with(suspect) {
                Err(Error::Corrupt { damage, .. }) => {
                    assert!(covers(&damage), "{what}: {damage:?}");
                    let text = Error::Corrupt { path: "p".into(), damage: damage.clone() }.to_string();
                    assert!(text.contains(&name(damage[0].from.segment())), "{what}: {text}");
                }
                Err(Error::NotALog { .. } | Error::UnsupportedVersion { supported: 1, .. }) => {}
                Err(error) => panic!("{what}: {error}"),
                Ok((wal, report)) => panic!("{what}: opened with {:?}, {report:?}", try_ids(&wal)),
            }
            self.disk.crash();
        }
        assert!(before == self.snapshot(), "{what}: a refused open changed something");
    }

    /// As [`Due::Kept`].
    #[track_caller]
    pub fn keeps(&self, what: &str, keep: u64, dropped: &[DropReason]) {
        let mut expected: Vec<u64> = (0..keep).collect();
        for n in 0..3 {
            let (wal, report) = self.open_with(Suspect::Refuse).unwrap_or_else(|e| panic!("{what}: {e}"));
            let reasons: Vec<DropReason> = report.dropped.iter().map(|d| d.why).collect();
            assert!(n > 0 || reasons == dropped, "{what}: {:?}", report.dropped);
            assert_eq!(ids(&wal), expected, "{what}");
            wal.append(&record(900 + n, 3900), Class::Sync).unwrap().wait().unwrap();
            expected.push(900 + n);
            drop(wal);
            self.disk.crash();
        }
    }
}

/// Goes on, releasing everything, until a record is the first of a file that was used before, as the ones to
/// come are: that record is the first of the log.
fn use_up(wal: &Wal, disk: &SimDisk, mut append: impl FnMut() -> u32) {
    let mut segment = append();
    for _ in 0..10_000 {
        let next = append();
        if next == segment {
            continue;
        }
        segment = next;
        wal.release(segment).unwrap();
        let found = inspect(disk).unwrap();
        let mut coming = found.segments.iter().filter(|s| s.sequence >= segment);
        if coming.all(|s| s.header.unwrap().prior == Prior::Stale) {
            return;
        }
        append();
        let stepper = Stepper::new(wal);
        while stepper.prepare().unwrap() {}
    }
    panic!("no file is used again");
}

/// Flips bit `bit` of `bytes`.
pub fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}
