//! Tests each mode on small combinations of evidence: which damage is quarantined, where the log ends and continues,
//! and what is refused.

use super::*;
use crate::damage::DropReason;
use crate::format::{GroupFault, HeaderFault, SegmentHeader};
use crate::recovery::evidence::{GroupHead, ScanExtent};
use crate::segment::names::SEQUENCE_MAX;
use crate::types::{GroupKind, PriorContents};

const BLOCK: u32 = 4096;
const BLOCKS: u32 = 10;

fn at(segment: u32, block: u32) -> Lsn {
    Lsn::new(segment, block * BLOCK)
}

/// A group of one block: its block, its watermark, its link, and whether it is valid.
fn group(block: u32, watermark: Lsn, previous_end: Lsn, whole: bool) -> GroupHead {
    GroupHead {
        offset: block * BLOCK,
        end: (block + 1) * BLOCK,
        kind: GroupKind::Data,
        watermark,
        previous_end,
        first_live: 1,
        record_count: 1,
        footer_bytes: 0,
        wall_clock_ms: 0,
        fault: (!whole).then_some(GroupFault::Count),
        zero_sector: true,
    }
}

/// A segment whose groups are spelled `o` (valid), `x` (not valid) or `-` (no head). Each takes one block and was
/// issued when the one before was durable.
fn segment(sequence: u32, previous_end: Lsn, groups: &str) -> SegmentScan {
    let header = SegmentHeader {
        uuid: [0; 16],
        sequence,
        salt: 1,
        block_bytes: BLOCK,
        file_bytes: u64::from(BLOCKS * BLOCK),
        first_live: 1,
        prior: PriorContents::Stale,
        reach_blocks: 0,
    };
    let head = |(block, kind)| {
        let block = u32::try_from(block).unwrap() + 1;
        let before = if block == 1 { previous_end } else { at(sequence, block) };
        (kind != '-').then(|| group(block, before, previous_end, kind == 'o'))
    };
    let heads = groups.chars().enumerate().filter_map(head).collect();
    let (extent, zeros_from) = (ScanExtent::Whole, BLOCKS * BLOCK);
    SegmentScan { sequence, header: Ok(header), extent, heads, zeros_from, unexplained_blocks: Vec::new() }
}

/// Three segments: the log left `a` and `b` at their ends, and `c` is the last one.
fn log(a: &str, b: &str, c: &str) -> Vec<SegmentScan> {
    let end = |n, groups: &str| at(n, u32::try_from(groups.len()).unwrap() + 1);
    vec![segment(1, Lsn::ZERO, a), segment(2, end(1, a), b), segment(3, end(2, b), c)]
}

fn spare(sequence: u32) -> SegmentScan {
    segment(sequence, Lsn::ZERO, "")
}

fn opened(mode: OpenMode, scans: &[SegmentScan]) -> Option<Verdict> {
    decide_as(mode, scans, BLOCK, UnexplainedTail::Refuse).ok()
}

fn places(verdict: &Verdict) -> Vec<(Lsn, Lsn)> {
    verdict.damaged.iter().map(|d| (d.from, d.to)).collect()
}

/// Asserts that degraded mode quarantines exactly the blocks that are not `o`, keeps all others, and finds the end of
/// the log.
#[track_caller]
fn quarantined(scans: &[SegmentScan], expected: &[(Lsn, Lsn)]) -> Verdict {
    assert!(opened(OpenMode::Strict, scans).is_none());
    let verdict = opened(OpenMode::Degraded, scans).expect("everything but the damage is certain");
    assert_eq!(places(&verdict), expected);
    assert!(verdict.end >= verdict.watermark && verdict.next.at >= verdict.end && !verdict.next.read_only);
    let valid = scans.iter().flat_map(|s| &s.heads).filter(|h| h.fault.is_none()).count();
    assert_eq!(verdict.kept.iter().filter_map(|k| k.groups).sum::<u32>() as usize, valid);
    assert_eq!(opened(OpenMode::Salvage, scans).as_ref(), Some(&verdict), "salvage reads what degraded does");
    verdict
}

#[test]
fn a_whole_log_is_the_same_in_every_mode() {
    let scans = log("ooo", "oo", "ooo");
    let strict = opened(OpenMode::Strict, &scans).expect("whole");
    assert!(strict.damaged.is_empty());
    for mode in [OpenMode::Degraded, OpenMode::Salvage] {
        assert_eq!(opened(mode, &scans).as_ref(), Some(&strict));
    }
}

#[test]
fn damage_inside_of_a_segment_is_quarantined() {
    quarantined(&log("oxo", "oo", "ooo"), &[(at(1, 2), at(1, 3))]);
    quarantined(&log("o-o", "oo", "ooo"), &[(at(1, 2), at(1, 3))]);
    quarantined(&log("o--xo", "oo", "ooo"), &[(at(1, 2), at(1, 4)), (at(1, 4), at(1, 5))]);
    quarantined(
        &log("oxo", "xo", "o-o"),
        &[(at(1, 2), at(1, 3)), (at(2, 1), at(2, 2)), (at(3, 2), at(3, 3))],
    );
}

#[test]
fn the_end_of_a_segment_is_named_by_the_next_one() {
    let verdict = quarantined(&log("oox", "oo-", "ooo"), &[(at(1, 3), at(1, 4)), (at(2, 3), at(2, 4))]);
    assert_eq!(verdict.kept[1], LiveSegment { segment: 2, end: 4 * BLOCK, groups: Some(2) });
    // The only group of segment 2 is damaged: its head still names the end of segment 1.
    let verdict = quarantined(&log("ooo", "x", "ooo"), &[(at(2, 1), at(2, 2))]);
    assert_eq!(verdict.kept[1], LiveSegment { segment: 2, end: 2 * BLOCK, groups: Some(0) });
    assert!(verdict.dropped.is_empty());
}

#[test]
fn another_group_names_the_link_if_the_first_one_is_lost() {
    quarantined(&log("ooo", "-oo", "ooo"), &[(at(2, 1), at(2, 2))]);
    quarantined(&log("-oo", "ooo", "ooo"), &[(at(1, 1), at(1, 2))]);
    quarantined(&log("ooo", "ooo", "-oo"), &[(at(3, 1), at(3, 2))]);
    // Groups that do not agree give no link.
    let mut scans = log("ooo", "-oo", "ooo");
    scans[1].heads[0].previous_end = at(1, 2);
    assert!(opened(OpenMode::Degraded, &scans).is_none());
}

#[test]
fn a_damaged_segment_gets_no_further_group() {
    let mut scans = log("ooo", "oo", "oxo");
    scans.push(spare(4));
    let verdict = quarantined(&scans, &[(at(3, 2), at(3, 3))]);
    assert_eq!((verdict.next.at, verdict.next.previous_end), (at(4, 1), at(3, 4)));
    assert!(verdict.next.mark);
    // Damage elsewhere does not affect the segment in use.
    let mut scans = log("oxo", "oo", "ooo");
    scans[2].zeros_from = 4 * BLOCK;
    assert_eq!(quarantined(&scans, &[(at(1, 2), at(1, 3))]).next.at, at(3, 4));
}

/// The last group is damaged, and a torn group after it carries a watermark that shows that it was acknowledged.
#[test]
fn damage_that_reaches_the_end_is_refused() {
    for (groups, watermark) in [("ooxx", at(3, 4)), ("oo-x", at(3, 4)), ("ooox", at(3, 6)), ("oox", at(3, 4))]
    {
        let mut scans = log("ooo", "oo", groups);
        scans[2].heads.last_mut().unwrap().watermark = watermark;
        assert!(opened(OpenMode::Strict, &scans).is_none(), "{groups}");
        assert!(opened(OpenMode::Degraded, &scans).is_none(), "{groups}: its end is not known");
        let salvage = opened(OpenMode::Salvage, &scans).expect("something is left");
        assert!(salvage.next.read_only && !salvage.damaged.is_empty(), "{groups}");
        assert!(salvage.damaged.last().unwrap().to >= watermark, "{groups}: {salvage:?}");
    }
    // The same at the border of two segments.
    let mut scans = log("ooo", "oox", "x");
    scans[2].heads[0].watermark = at(2, 4);
    assert!(opened(OpenMode::Degraded, &scans).is_none());
}

/// A tail that was never acknowledged is dropped as usual, also after damaged ranges.
#[test]
fn a_torn_tail_after_a_quarantined_range_is_dropped() {
    let mut scans = log("ooo", "oo", "oxoxo");
    for head in &mut scans[2].heads[3..] {
        head.watermark = at(3, 4);
    }
    let verdict = opened(OpenMode::Degraded, &scans).expect("the end is certain");
    assert_eq!((verdict.end, places(&verdict)), (at(3, 4), vec![(at(3, 2), at(3, 3))]));
    let why: Vec<DropReason> = verdict.dropped.iter().map(|d| d.why).collect();
    assert_eq!(why, [DropReason::Torn, DropReason::BehindTorn]);
    assert_eq!(verdict.next.at, at(4, 1));
}

#[test]
fn void_bytes_are_neither_quarantined_nor_served() {
    // The log left segment 2 after its first group: an earlier recovery dropped the groups that follow.
    let mut scans = log("oxo", "ooo", "ooo");
    scans[2].heads.iter_mut().for_each(|h| h.previous_end = at(2, 2));
    let verdict = opened(OpenMode::Degraded, &scans).expect("quarantined");
    assert_eq!(places(&verdict), [(at(1, 2), at(1, 3))]);
    assert_eq!(verdict.kept[1], LiveSegment { segment: 2, end: 2 * BLOCK, groups: Some(1) });
    assert_eq!(verdict.dropped.len(), 2);
    // An earlier recovery dropped all of segment 2: the chain leads from 3 to 1.
    scans[2].heads.iter_mut().for_each(|h| h.previous_end = at(1, 4));
    let verdict = opened(OpenMode::Degraded, &scans).expect("quarantined");
    assert_eq!(verdict.kept.iter().map(|k| k.segment).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn only_salvage_passes_lost_segments() {
    let whole = log("ooo", "ooo", "ooo");
    for lost in 0..3 {
        for gone in [true, false] {
            let mut scans = whole.clone();
            if gone {
                scans.remove(lost);
            } else {
                scans[lost].header = Err(HeaderFault::Checksum);
                scans[lost].heads.clear();
            }
            // A missing file above the highest one is noticed only through links that name it.
            if gone && lost == 2 {
                continue;
            }
            assert!(opened(OpenMode::Strict, &scans).is_none());
            assert!(opened(OpenMode::Degraded, &scans).is_none(), "{lost}");
            let verdict = opened(OpenMode::Salvage, &scans).expect("two segments are left");
            let n = u32::try_from(lost).unwrap() + 1;
            // Only the lost segment named the end of the segment below.
            let below = (lost == 1).then_some((at(1, 4), at(1, BLOCKS)));
            let lost_one = (Lsn::new(n, 0), Lsn::new(n, u32::MAX));
            assert_eq!(places(&verdict), below.into_iter().chain([lost_one]).collect::<Vec<_>>(), "{lost}");
            let kept: Vec<u32> = verdict.kept.iter().map(|k| k.segment).collect();
            assert_eq!(kept, [1, 2, 3].into_iter().filter(|k| *k != n).collect::<Vec<_>>());
            assert!(verdict.next.read_only);
        }
    }
    // A segment without a head has no link either.
    let scans = log("ooo", "--", "ooo");
    assert!(opened(OpenMode::Degraded, &scans).is_none());
    let verdict = opened(OpenMode::Salvage, &scans).expect("two segments are left");
    assert_eq!(places(&verdict), [(at(1, 4), at(1, BLOCKS)), (at(2, 1), at(2, 3))]);
    // Nothing at all is left.
    assert!(opened(OpenMode::Salvage, &log("", "", "")).is_none());
    assert!(opened(OpenMode::Salvage, &[]).is_none());
}

/// Numbers far apart, as in a hostile directory: each run is one range, and no loop counts through it.
#[test]
fn a_run_of_missing_segments_is_one_place() {
    let scans = [segment(1, Lsn::ZERO, "oo"), segment(SEQUENCE_MAX, at(SEQUENCE_MAX - 1, 2), "oo")];
    let verdict = opened(OpenMode::Salvage, &scans).expect("two segments are left");
    // Nothing shows where the log left the lower segment.
    let missing = (Lsn::new(2, 0), Lsn::new(SEQUENCE_MAX - 1, u32::MAX));
    assert_eq!(places(&verdict), [(at(1, 3), at(1, BLOCKS)), missing]);
    let refused = decide(&scans, BLOCK, UnexplainedTail::Refuse).expect_err("a gap");
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn the_policy_about_suspect_bytes_holds_in_every_mode() {
    let mut scans = log("oxo", "oo", "ooo");
    let tail = &mut scans[2];
    if let Ok(header) = &mut tail.header {
        header.prior = PriorContents::Zeros;
    }
    (tail.unexplained_blocks, tail.zeros_from) = (vec![4 * BLOCK], 5 * BLOCK);
    let range = (at(1, 2), at(1, 3));
    assert!(opened(OpenMode::Degraded, &scans).is_none());
    let salvage = opened(OpenMode::Salvage, &scans).expect("read-only");
    assert_eq!(places(&salvage), [range, (at(3, 4), at(3, 5))]);
    assert_eq!(salvage.damaged[1].what, DamageKind::Suspect);
    for mode in [OpenMode::Degraded, OpenMode::Salvage] {
        let verdict = decide_as(mode, &scans, BLOCK, UnexplainedTail::Drop).expect("told to drop it");
        assert_eq!(places(&verdict), [range]);
        assert_eq!(verdict.dropped[0].why, DropReason::Suspect);
    }
}

/// A group that the scan left unchecked may be valid, so no mode may treat it as torn or damaged.
#[test]
fn unchecked_groups_are_not_taken_for_torn_ones() {
    let with = |groups: &str, unchecked: u32| {
        let mut scans = log("oooo", "oooo", groups);
        let head = scans[2].heads.iter_mut().find(|head| head.offset == unchecked * BLOCK).unwrap();
        (head.fault, head.zero_sector) = (Some(GroupFault::Unchecked), false);
        scans
    };
    // Group 4's watermark is the end of group 3, so group 2 was acknowledged: its damage can be quarantined if what
    // follows it is certain.
    let quarantined =
        |scans: &[SegmentScan]| decide_as(OpenMode::Degraded, scans, BLOCK, UnexplainedTail::Refuse);
    let torn = log("oooo", "oooo", "oxoox");
    assert_eq!(quarantined(&torn).unwrap().end, at(3, 5), "the last group is torn");
    let scans = with("oxoox", 5);
    assert!(decide(&scans, BLOCK, UnexplainedTail::Refuse).is_err());
    assert!(quarantined(&scans).is_err(), "the last group may be whole");
    assert!(quarantined(&with("oxoox", 2)).is_err(), "the damaged group may be whole");
    // Salvage serves the groups that are known to be valid, and writes nothing.
    let salvaged = decide_as(OpenMode::Salvage, &scans, BLOCK, UnexplainedTail::Refuse).unwrap();
    assert!(salvaged.next.read_only && salvaged.end >= at(3, 5));
}
