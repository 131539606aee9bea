//! Tests that recovery does not follow rules that sound right and are wrong (INV-5, INV-6).
//!
//! Each test has the smallest log for which a wrong rule and the right one differ: the facts that a scan
//! would find, and the verdict that must follow. `wal/bugs` has the wrong rules as planted bugs.

use seawall_wal::inspect::{
    DamageKind, DropReason, GroupFault, GroupHead, GroupKind, HeaderFault, PriorContents, ScanExtent,
    SegmentHeader, SegmentScan, Verdict, decide,
};
use seawall_wal::{Lsn, UnexplainedTail};

const BLOCK: u32 = 4096;

/// The position of a block.
fn at(segment: u32, block: u32) -> Lsn {
    Lsn::new(segment, block * BLOCK)
}

/// A whole group of one block.
fn group(block: u32, watermark: Lsn, previous_end: Lsn) -> GroupHead {
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
        fault: None,
        zero_sector: false,
    }
}

/// The same group if some of it did not reach the disk, or rotted. The two look alike.
fn broken(head: GroupHead) -> GroupHead {
    GroupHead { fault: Some(GroupFault::Count), zero_sector: true, ..head }
}

/// A segment in a recycled file, in which no bytes are suspect.
fn segment(sequence: u32, heads: &[GroupHead]) -> SegmentScan {
    let header = SegmentHeader {
        uuid: [1; 16],
        sequence,
        salt: u64::from(sequence),
        first_live: 1,
        block_bytes: BLOCK,
        file_bytes: u64::from(10 * BLOCK),
        prior: PriorContents::Stale,
        reach_blocks: 0,
    };
    let zeros_from = 10 * BLOCK;
    let (header, heads) = (Ok(header), heads.to_vec());
    SegmentScan {
        sequence,
        header,
        heads,
        zeros_from,
        unexplained_blocks: Vec::new(),
        extent: ScanExtent::Whole,
    }
}

#[track_caller]
fn sound(segments: &[SegmentScan]) -> Verdict {
    decide(segments, BLOCK, UnexplainedTail::Refuse).unwrap_or_else(|damage| panic!("refused: {damage:?}"))
}

/// Asserts that the log is refused, and returns where the first damage is.
#[track_caller]
fn refused(segments: &[SegmentScan]) -> Lsn {
    match decide(segments, BLOCK, UnexplainedTail::Refuse) {
        Err(damage) => damage[0].from,
        Ok(verdict) => panic!("opened: {verdict:?}"),
    }
}

#[test]
fn the_watermark_of_a_later_group_counts_though_it_is_not_of_the_prefix() {
    let heads = [
        group(1, Lsn::ZERO, Lsn::ZERO),
        broken(group(2, at(1, 2), Lsn::ZERO)),
        group(3, at(1, 3), Lsn::ZERO),
    ];
    assert_eq!(refused(&[segment(1, &heads), segment(2, &[])]), at(1, 2));
    // The watermark of a broken group counts too, because its header is whole.
    let heads = [heads[0], heads[1], broken(heads[2])];
    assert_eq!(refused(&[segment(1, &heads), segment(2, &[])]), at(1, 2));
}

#[test]
fn the_watermark_of_a_group_beyond_a_gap_counts_though_it_is_not_of_the_chain() {
    let heads = [group(1, Lsn::ZERO, Lsn::ZERO), broken(group(2, at(1, 2), Lsn::ZERO))];
    let beyond = [group(2, at(1, 3), at(1, 3))];
    assert_eq!(refused(&[segment(1, &heads), segment(2, &beyond), segment(3, &[])]), at(1, 2));
}

#[test]
fn a_watermark_is_an_end_and_what_was_in_flight_may_be_torn() {
    let heads = [
        group(1, Lsn::ZERO, Lsn::ZERO),
        broken(group(2, at(1, 2), Lsn::ZERO)),
        group(3, at(1, 2), Lsn::ZERO),
    ];
    let verdict = sound(&[segment(1, &heads), segment(2, &[])]);
    assert_eq!(verdict.end, at(1, 2));
    let why: Vec<DropReason> = verdict.dropped.iter().map(|d| d.why).collect();
    assert_eq!(why, [DropReason::Torn, DropReason::BehindTorn]);
}

#[test]
fn a_segment_is_touched_by_a_torn_group_too() {
    let torn = [broken(group(1, at(1, 2), at(1, 2)))];
    let verdict = sound(&[segment(1, &[group(1, Lsn::ZERO, Lsn::ZERO)]), segment(2, &torn), segment(3, &[])]);
    assert_eq!((verdict.end, verdict.next.at, verdict.next.previous_end), (at(1, 2), at(3, 1), at(1, 2)));
}

#[test]
fn a_log_goes_on_above_all_that_was_touched_and_links_to_what_was_kept() {
    // The group in segment 2 is lost. The one in segment 3, which was in flight at the same time, is there.
    let lost = [group(1, at(1, 2), at(2, 2))];
    let log =
        [segment(1, &[group(1, Lsn::ZERO, Lsn::ZERO)]), segment(2, &[]), segment(3, &lost), segment(4, &[])];
    let verdict = sound(&log);
    assert_eq!((verdict.end, verdict.next.at, verdict.next.previous_end), (at(1, 2), at(4, 1), at(1, 2)));
}

#[test]
fn a_log_does_not_continue_after_a_mark_that_a_dropped_group_follows() {
    let mark = GroupHead { kind: GroupKind::Mark, record_count: 0, ..group(1, Lsn::ZERO, Lsn::ZERO) };
    let verdict = sound(&[segment(1, &[mark, group(3, at(1, 2), Lsn::ZERO)]), segment(2, &[])]);
    assert_eq!((verdict.end, verdict.next.at), (at(1, 2), at(2, 1)));
    // Without a dropped group the log continues after the mark.
    assert_eq!(sound(&[segment(1, &[mark]), segment(2, &[])]).next.at, at(1, 2));
}

#[test]
fn what_lies_after_the_link_of_the_next_segment_is_void() {
    let dropped = [group(1, Lsn::ZERO, Lsn::ZERO), group(2, Lsn::ZERO, Lsn::ZERO)];
    let verdict =
        sound(&[segment(1, &dropped), segment(2, &[group(1, at(1, 2), at(1, 2))]), segment(3, &[])]);
    assert_eq!(verdict.kept.iter().map(|k| k.groups).collect::<Vec<_>>(), [Some(1), Some(1)]);
    assert_eq!(verdict.dropped[0].why, DropReason::Void);
}

#[test]
fn a_footer_proves_nothing_about_the_groups_before_it() {
    let footer = GroupHead { kind: GroupKind::Footer, ..group(3, at(1, 2), Lsn::ZERO) };
    let heads = [group(1, Lsn::ZERO, Lsn::ZERO), broken(group(2, at(1, 2), Lsn::ZERO)), footer];
    assert_eq!(sound(&[segment(1, &heads), segment(2, &[])]).end, at(1, 2));
}

#[test]
fn a_header_that_does_not_check_is_neither_unused_nor_absent() {
    let bad = SegmentScan { header: Err(HeaderFault::Unreadable), ..segment(2, &[]) };
    let log = [segment(1, &[group(1, Lsn::ZERO, Lsn::ZERO)]), bad];
    let damage = decide(&log, BLOCK, UnexplainedTail::Refuse).unwrap_err();
    assert_eq!((damage[0].from, damage[0].what), (at(2, 0), DamageKind::Header(HeaderFault::Unreadable)));
}

#[test]
fn groups_say_what_is_live_before_any_header_does() {
    // This group released segments 1 and 2, which are gone.
    let releases = GroupHead { first_live: 3, ..group(1, at(2, 5), at(2, 5)) };
    assert_eq!(sound(&[segment(3, &[releases]), segment(4, &[])]).first_live, 3);
    // No group released the segments that are gone.
    let group = group(1, at(2, 5), at(2, 5));
    assert_eq!(refused(&[segment(3, &[group]), segment(4, &[])]).segment(), 2);
}
