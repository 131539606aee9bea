//! An open that takes sealed segments on their footer's word, against one that reads everything.
//!
//! Place: beside both; the models and the exhaustive tests call it on every state that they come to. Where
//! nothing rotted the two conclude the same. Where something did, the quick one refuses as the other does,
//! or what rotted lies in a segment that it left unread. Fails by a panic that says what was found.

use crate::damage::Damage;
use crate::disk::Disk;
use crate::format::PartInfo;
use crate::recovery::evidence::{ScanExtent, SegmentScan};
use crate::recovery::inspect::{Inspection, inspect, inspect_as_open};
use crate::recovery::verdict::Verdict;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::types::Lsn;

/// A sealer whose index is one number for each record, where it starts, in 8 bytes or more.
#[derive(Debug)]
pub struct Places {
    lsns: Vec<u64>,
    wide: usize,
}

impl Places {
    /// With `bytes` of footer for each record, at least 8.
    pub fn wide(bytes: u32) -> Places {
        Places { lsns: Vec::new(), wide: bytes as usize }
    }
}

impl Default for Places {
    fn default() -> Places {
        Places::wide(8)
    }
}

impl SegmentIndexBuilder for Places {
    fn record(&mut self, lsn: Lsn, _: &[u8], _: &mut dyn Iterator<Item = PartInfo>) {
        self.lsns.push(lsn.as_u64());
    }

    fn seal(&mut self, _: u32, out: &mut Vec<u8>) {
        for lsn in self.lsns.drain(..) {
            out.extend(lsn.to_le_bytes());
            out.resize(out.len() + self.wide.saturating_sub(8), 0x5A);
        }
    }
}

/// Compares the two on a log in which nothing rotted; returns how many segments the quick one left unread.
///
/// # Panics
/// If they differ.
pub fn agree(disk: &dyn Disk) -> usize {
    let (quick, whole) = both(disk);
    assert_eq!(same(&quick), same(&whole), "two verdicts");
    unread(&quick).count()
}

/// Compares the two on a log that was `sound` before something in it rotted; returns whether the quick one
/// opens what the other refuses.
///
/// # Panics
/// If the quick one misses more than what it left unread.
pub fn milder(disk: &dyn Disk, sound: &Verdict) -> bool {
    let (quick, whole) = both(disk);
    if same(&quick) == same(&whole) {
        return false;
    }
    let Ok(opened) = same(&quick) else {
        panic!("{:?}, but all of it says {:?}", quick.verdict, whole.verdict)
    };
    assert_eq!(opened, forget(sound), "another log than before the rot");
    let damage = match same(&whole) {
        Err(damage) => damage,
        // It does not go on before bytes that are nobody's, which the quick one left unread.
        Ok(careful) => {
            assert_eq!(Verdict { next: opened.next, ..careful }, opened, "another log than all of it says");
            let differs = |s: &&SegmentScan| {
                !quick.segments.contains(&SegmentScan { extent: s.extent, ..(*s).clone() })
            };
            let near =
                |n| quick.segments.iter().any(|s| s.sequence == n && s.extent == ScanExtent::UpToBound);
            let mut differ = whole.segments.iter().filter(differs).map(|s| s.sequence);
            assert!(differ.any(near), "what was read says another place");
            return false;
        }
    };
    for place in damage {
        let inside = |s: &SegmentScan| {
            let footer = s.sealing_footer().map_or(0, |footer| footer.offset);
            s.sequence == place.from.segment() && place.from.offset() <= footer
        };
        assert!(unread(&quick).any(inside), "{place:?} was read");
    }
    true
}

fn both(disk: &dyn Disk) -> (Inspection, Inspection) {
    (inspect_as_open(disk).expect("readable"), inspect(disk).expect("readable"))
}

fn unread(quick: &Inspection) -> impl Iterator<Item = &SegmentScan> {
    quick.segments.iter().filter(|s| s.sealing_footer().is_some())
}

/// The verdict without the one thing that only a scan of everything knows.
fn same(found: &Inspection) -> Result<Verdict, Vec<Damage>> {
    found.verdict.as_ref().map(forget).map_err(Vec::clone)
}

fn forget(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    verdict.kept.iter_mut().for_each(|kept| kept.groups = None);
    verdict
}
