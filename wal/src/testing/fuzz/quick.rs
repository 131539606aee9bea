//! Compares an open that accepts sealed segments by their footer with one that reads everything.
//!
//! The models and the exhaustive tests call it on every state that they reach. If nothing rotted, both opens conclude
//! the same. If something rotted, the quick open refuses as the full one does, or the damage is in a segment that it
//! did not read. Panics with the finding otherwise.

use crate::damage::Damage;
use crate::format::PartInfo;
use crate::recovery::evidence::{ScanExtent, SegmentScan};
use crate::recovery::inspect::{Inspection, inspect, inspect_as_open};
use crate::recovery::verdict::Verdict;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::types::Lsn;
use seawall_disk::Disk;

/// An index builder that stores the position of each record in 8 bytes or more.
#[derive(Debug)]
pub struct Places {
    lsns: Vec<u64>,
    wide: usize,
}

impl Places {
    /// Uses `bytes` bytes of footer for each record, at least 8.
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

/// Compares the two opens on a log in which nothing rotted; returns how many segments the quick one did not read.
///
/// # Panics
/// If they differ.
pub fn agree(disk: &dyn Disk) -> usize {
    let (quick, whole) = both(disk);
    assert_eq!(same(&quick), same(&whole), "two verdicts");
    unread(&quick).count()
}

/// Compares the two opens on a log whose verdict was `sound` before something in it rotted. Returns whether the quick
/// one opens a log that the full one refuses.
///
/// # Panics
/// If the quick one misses more than damage in blocks that it did not read.
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
        // The full open does not continue before stray bytes, which the quick one did not read.
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

/// The verdict without the number of groups, which only a full scan knows.
fn same(found: &Inspection) -> Result<Verdict, Vec<Damage>> {
    found.verdict.as_ref().map(forget).map_err(Vec::clone)
}

fn forget(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    verdict.kept.iter_mut().for_each(|kept| kept.groups = None);
    verdict
}
