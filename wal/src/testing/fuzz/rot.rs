//! Lets one place of a log that the model left rot: a bit, a sector, a block that was never written, a block that was
//! written to the wrong place, or a block with older contents.
//!
//! The model calls it on a copy of its disk after a crash, so its own history stays undamaged. An open that reads
//! everything either refuses, names the damage and changes nothing, or shows what it would have shown without the
//! damage, or drops records of the last moments, none of them below a watermark that is left: one node cannot tell
//! that damage from a torn write (INV-5, INV-6, INV-9). An open with default options does the same, or the damage is
//! in a segment that it accepted by its footer. Then a reader reports the range that the full open names, and reads
//! nothing wrong before it. Panics with the finding otherwise.

use super::choices::Choices;
use super::damage::{BLOCK, contents, env, is_typed};
use super::entry::{id_of, payload};
use super::quick::milder;
use crate::error::Error;
use crate::options::Options;
use crate::recovery::RecoveryReport;
use crate::recovery::inspect::inspect;
use crate::types::Lsn;
use crate::wal::Wal;
use seawall_disk::sim::SimDisk;
use std::collections::BTreeMap;

/// Outcome of opening a damaged log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Open named the damage.
    Refused,
    /// Open did not read the damage, and a reader named it.
    Read,
    /// The damage met nothing that is kept.
    Unchanged,
    /// The damage cannot be told from a torn write.
    Dropped,
}

/// Files by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Damages a copy of `disk`, on which a log was opened before; `older` has earlier contents of some of its files.
pub(super) fn rots(choices: &mut Choices<'_>, disk: &SimDisk, options: &Options, older: &Files) -> Fate {
    let disk = disk.fork(choices.number());
    disk.clear_faults();
    disk.crash();
    let (shown, sound) = show(&disk.fork(0), options).expect("nothing rotted yet");
    assert_eq!(sound.place, None, "nothing rotted yet");
    let whole = inspect(&*disk).expect("a log").verdict.expect("nothing rotted yet");
    damage(choices, &disk, &shown, older);
    let unread = milder(&*disk, &whole);
    let fate = judge(&disk.fork(0), &Options { verify_on_open: true, ..options.clone() }, &shown);
    let as_usual = judge(&disk, options, &shown);
    match (unread, as_usual) {
        // If no reader meets the damage, it is in released segments.
        (true, Fate::Read | Fate::Unchanged) => assert_eq!(fate, Fate::Refused),
        _ => assert_eq!(as_usual, fate),
    }
    as_usual
}

/// Opens the log on `disk`, which showed `shown` before, and returns what happened to it.
fn judge(disk: &SimDisk, options: &Options, shown: &[(Lsn, u64)]) -> Fate {
    let before = contents(disk);
    let (found, Seen { place, report }) = match show(disk, options) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(is_typed(&error), "{error}");
            assert!(contents(disk) == before, "a refusal changed something");
            return Fate::Refused;
        }
    };
    // Without the group that released them, older records may be there again.
    let first = shown.first().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
    let found: Vec<_> = found.into_iter().filter(|(lsn, _)| *lsn >= first).collect();
    if let Some(place) = place {
        assert!(report.by_footer.contains(&place.segment()), "{place} was read by open");
        let due = shown.partition_point(|(lsn, _)| *lsn < place);
        assert_eq!(found[..], shown[..due], "the records before {place}");
        return Fate::Read;
    }
    if shown.is_empty() || found == shown {
        return Fate::Unchanged;
    }
    assert!(shown.starts_with(&found), "another log");
    let (lost, known) = (shown[found.len()].0, report.watermark);
    assert!(lost >= known, "{lost} is gone, and was known durable below {known}");
    Fate::Dropped
}

/// The result of an open and of a reader after it.
struct Seen {
    report: RecoveryReport,
    /// The damaged range at which the records end.
    place: Option<Lsn>,
}

/// The records that open shows.
fn show(disk: &SimDisk, options: &Options) -> Result<(Vec<(Lsn, u64)>, Seen), Error> {
    let (wal, report) = Wal::open_in(env(disk), options)?;
    let mut shown = Vec::new();
    for record in wal.records(Lsn::ZERO) {
        let record = match record {
            Ok(record) => record,
            Err(Error::Corrupt { damage, .. }) => {
                return Ok((shown, Seen { report, place: Some(damage[0].from) }));
            }
            Err(error) => panic!("what open kept: {error}"),
        };
        let id = id_of(record.meta());
        let parts: Vec<&[u8]> = record.parts().map(|(_, bytes)| bytes).collect();
        assert_eq!(parts, [&payload(id)[..]], "content of record {id}");
        shown.push((record.lsn(), id));
    }
    Ok((shown, Seen { report, place: None }))
}

/// Makes one change, most often where a record is.
fn damage(choices: &mut Choices<'_>, disk: &SimDisk, shown: &[(Lsn, u64)], older: &Files) {
    let block = BLOCK as usize;
    let names: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with(".wal")).collect();
    let (name, at) = match shown.len() {
        n if n > 0 && choices.chance(70) => {
            let lsn = shown[choices.index(n)].0;
            (crate::segment::names::file_name(lsn.segment()), lsn.offset() as usize)
        }
        _ => {
            let name = names[choices.index(names.len())].clone();
            let len = disk.read_file(&name).len();
            (name, choices.index(len))
        }
    };
    let start = at & !(block - 1);
    let byte = (start + choices.index(block)).max(at & !511);
    let new = match choices.below(5) {
        0 => return disk.corrupt(&name, byte, |bytes| bytes[0] ^= 1 << choices.below(8)),
        1 => return disk.corrupt(&name, byte & !511, |bytes| bytes[..512].fill(0)),
        2 => vec![0; block],
        3 => {
            let other = disk.read_file(&names[choices.index(names.len())]);
            let from = choices.index(other.len()) & !(block - 1);
            other[from..from + block].to_vec()
        }
        _ => match older.get(&name).and_then(|file| file.get(start..start + block)) {
            Some(was) => was.to_vec(),
            None => vec![0; block],
        },
    };
    disk.corrupt(&name, start, |bytes| bytes[..block].copy_from_slice(&new));
}
