//! Wrong wordings of the rules: each has to be refuted, in a scope that is large enough to show why it is
//! wrong.

use super::{Expect, Run, Set};
use crate::log::Case;
use crate::log::rules::{
    BadHeader, FirstLive, Follows, FooterProof, FooterTrust, HeaderOrder, Headers, InPlace, Preparation,
    PreviousEnd, Reach, Reading, Restart, Rules, Watermark, WatermarkOf, Witness,
};
use crate::log::scope::{Closing, Damages, Files, Scope, Tears};

/// The runs.
pub fn runs() -> Vec<Run> {
    let mut runs = headers();
    runs.extend(watermarks());
    runs.extend(places());
    runs.extend(files());
    runs.extend(footers_and_opens());
    runs.extend(reaches());
    runs.extend(witnesses());
    runs
}

fn refuted(name: &'static str, about: &'static str, rules: Rules, scope: Scope) -> Run {
    Run { name, about, expect: Expect::Refuted, set: Set::Short, case: Case { rules, scope } }
}

fn right() -> Rules {
    Rules::default()
}

/// Segments of three blocks, three crashes.
fn small() -> Scope {
    Scope { blocks: 3, segments: 7, groups: 3, stops: 3, ..Scope::default() }
}

fn block(scope: Scope) -> Scope {
    Scope { damages: Damages { block: true, ..Damages::default() }, ..scope }
}

fn run(scope: Scope) -> Scope {
    Scope { damages: Damages { run: true, ..Damages::default() }, ..scope }
}

fn file(scope: Scope) -> Scope {
    Scope { damages: Damages { file: true, ..Damages::default() }, ..scope }
}

/// A log that prepares its files, and whose caller releases segments.
fn prepared() -> Scope {
    Scope {
        group_blocks: 1,
        in_flight: 2,
        groups: 4,
        stops: 2,
        release: true,
        files: Files::Prepared(2),
        ..small()
    }
}

/// Decision 2: when headers are written, and what an invalid one means.
fn headers() -> Vec<Run> {
    let at_rotation = |order, bad| Rules {
        headers: Headers::AtRotation(order, bad),
        in_place: InPlace::Never,
        open_mark: false,
        spare_beyond: false,
        ..right()
    };
    vec![
        refuted(
            "header-not-ordered",
            "the header is written at rotation, and nothing waits for it",
            at_rotation(HeaderOrder::Nothing, BadHeader::Unused),
            Scope { in_flight: 2, groups: 2, ..small() },
        ),
        refuted(
            "header-before-acknowledgement",
            "the header is written at rotation, and only acknowledgements wait for it",
            at_rotation(HeaderOrder::Acknowledgement, BadHeader::Unused),
            small(),
        ),
        refuted(
            "bad-header-is-damage",
            "the header is written at rotation; an invalid one is damage",
            at_rotation(HeaderOrder::Acknowledgement, BadHeader::Damage),
            small(),
        ),
        refuted(
            "bad-header-is-unused",
            "the header is written at rotation; an invalid one is that of an unused segment",
            at_rotation(HeaderOrder::Acknowledgement, BadHeader::Unused),
            block(Scope { stops: 1, ..small() }),
        ),
    ]
}

/// The position that the watermark names, and the heads that count for it.
fn watermarks() -> Vec<Run> {
    let of = |watermark_of| Rules { watermark_of, ..right() };
    vec![
        refuted(
            "watermark-next-start",
            "the watermark is the start of the next group",
            Rules { watermark: Watermark::StartOfNext, ..right() },
            small(),
        ),
        refuted(
            "watermark-of-written",
            "the watermark is the end of what is written, durable or not",
            Rules { watermark: Watermark::EndOfWritten, ..right() },
            small(),
        ),
        refuted(
            "watermark-of-prefix",
            "only the kept groups count for the watermark",
            of(WatermarkOf::Prefix),
            block(small()),
        ),
        refuted(
            "watermark-of-last-segment",
            "only the last segment counts for the watermark",
            of(WatermarkOf::LastSegment),
            block(small()),
        ),
        refuted(
            "watermark-of-chain",
            "only the chain counts for the watermark",
            of(WatermarkOf::Chain),
            block(small()),
        ),
        refuted(
            "watermark-of-valid-groups",
            "only valid groups count for the watermark",
            of(WatermarkOf::ValidGroups),
            block(Scope { same_payload: false, ..small() }),
        ),
    ]
}

/// Decision 3: where the log continues after a recovery.
fn places() -> Vec<Run> {
    let follows = |follows| Rules { follows, ..right() };
    let restart = |restart| Rules { restart, ..right() };
    let sectors =
        Scope { files: Files::GivenZeroed, tears: Tears::Sectors, in_flight: 2, blocks: 4, ..small() };
    vec![
        refuted("next-number", "after a torn tail the next segment", restart(Restart::NextNumber), small()),
        refuted(
            "first-untouched",
            "after a torn tail the first segment without a head",
            restart(Restart::FirstUntouched),
            Scope { groups: 4, ..small() },
        ),
        refuted(
            "in-place-unchecked",
            "in place although a dropped group follows",
            follows(Follows::Nothing),
            small(),
        ),
        refuted(
            "touched-by-valid-groups",
            "only a valid group makes a segment touched",
            follows(Follows::ValidGroups),
            Scope { blocks: 4, groups: 4, ..small() },
        ),
        refuted("in-place-on-remains", "in place although remains follow", follows(Follows::Heads), sectors),
        refuted(
            "previous-end-number-below",
            "previous_end is the end of the file with the number below",
            Rules { previous_end: PreviousEnd::NumberBelow, ..right() },
            small(),
        ),
        refuted(
            "previous-end-no-limit",
            "recovery reads what lies at or after a previous_end",
            Rules { previous_end: PreviousEnd::NoLimit, ..right() },
            Scope { blocks: 4, ..small() },
        ),
        refuted(
            "no-mark-at-open",
            "open returns without a durable mark",
            Rules { open_mark: false, ..right() },
            block(small()),
        ),
    ]
}

/// Decisions 4, 7 and 8: files are prepared, released and used again.
fn files() -> Vec<Run> {
    let preparation = |preparation| Rules { preparation, ..right() };
    vec![
        refuted(
            "last-spare-used",
            "a segment is entered although no file follows it",
            Rules { spare_beyond: false, ..right() },
            file(Scope { release: false, groups: 3, files: Files::Prepared(1), ..prepared() }),
        ),
        refuted(
            "names-unordered",
            "names of spares become durable in any order",
            preparation(Preparation::NamesUnordered),
            Scope { release: false, groups: 2, ..prepared() },
        ),
        refuted(
            "name-before-header",
            "a file gets its name before its header",
            preparation(Preparation::NameFirst),
            prepared(),
        ),
        refuted(
            "recycled-too-early",
            "a file is used again before the release is acknowledged",
            preparation(Preparation::BeforeAcknowledged),
            prepared(),
        ),
        refuted(
            "first-live-in-headers",
            "only segment headers say what is live",
            Rules { first_live: FirstLive::HeadersOnly, ..right() },
            prepared(),
        ),
        refuted(
            "first-live-in-chain",
            "the first live segment itself must be part of the chain",
            Rules { first_live: FirstLive::MustBeInChain, ..right() },
            prepared(),
        ),
        refuted(
            "lowest-link-unchecked",
            "the lowest link of the chain is not compared with the first live segment",
            Rules { first_live: FirstLive::LinkUnchecked, ..right() },
            file(small()),
        ),
        refuted(
            "used-taken-for-zeros",
            "the header of a file that is used again says that its blocks hold zeros",
            preparation(Preparation::UsedTakenForZeros),
            prepared(),
        ),
        refuted(
            "no-salt",
            "the checksum of a group does not include a salt",
            Rules { salt: false, ..right() },
            small(),
        ),
        refuted(
            "length-unchecked",
            "the length of a file is not checked",
            Rules { size_checked: false, ..right() },
            Scope { damages: Damages { length: true, ..Damages::default() }, ..small() },
        ),
    ]
}

/// Decisions 6 and 10, and what open waits for.
fn footers_and_opens() -> Vec<Run> {
    let footers = |scope: Scope| Scope { footer_blocks: 1, ..scope };
    let one_spare = |blocks| Scope {
        blocks,
        release: false,
        groups: 3,
        files: Files::Prepared(1),
        footer_blocks: 1,
        ..prepared()
    };
    vec![
        refuted(
            "footer-always-trusted",
            "a valid footer is trusted above the watermark",
            Rules { footer_trust: FooterTrust::Always, ..right() },
            footers(Scope { blocks: 4, groups: 4, ..small() }),
        ),
        refuted(
            "footer-proves-next",
            "a footer proves that the next file existed, and no spare is kept",
            Rules { footer_proof: FooterProof::NextExists, spare_beyond: false, ..right() },
            file(one_spare(4)),
        ),
        refuted(
            "footer-before-next",
            "a footer that proves the next file is written before that file exists",
            Rules { footer_proof: FooterProof::NextExistsTooEarly, spare_beyond: false, ..right() },
            Scope { files: Files::Prepared(0), ..one_spare(3) },
        ),
        refuted(
            "no-sync-at-open",
            "open does not sync before it reads",
            Rules { sync_at_open: false, ..right() },
            Scope { in_flight: 2, ..small() },
        ),
        refuted(
            "late-writes",
            "a write of the dead process arrives after open has started",
            Rules { lock_covers_writes: false, ..right() },
            Scope { in_flight: 2, ..small() },
        ),
    ]
}

/// Decision 17: how far open reads.
fn reaches() -> Vec<Run> {
    let scope =
        Scope { blocks: 6, segments: 5, groups: 3, reach: 1, files: Files::GivenZeroed, ..Scope::default() };
    let writing = |reach| Rules { reach, ..right() };
    let reading = |reading| Rules { reading, ..right() };
    vec![
        refuted("reach-once", "open reads the reach once", reading(Reading::ReachOnce), block(scope.clone())),
        refuted(
            "announcement-missing",
            "a long group is not announced",
            writing(Reach::NotAnnounced),
            block(scope.clone()),
        ),
        refuted(
            "announcement-not-heeded",
            "open reads no further after an announcement",
            reading(Reading::AnnouncementNotHeeded),
            block(scope.clone()),
        ),
        refuted(
            "reach-not-kept",
            "any number of blocks is in flight",
            writing(Reach::NotBounded),
            Scope { in_flight: 4, groups: 4, ..scope.clone() },
        ),
        refuted(
            "footer-not-announced",
            "a long footer is not announced",
            writing(Reach::FooterNotAnnounced),
            Scope { blocks: 7, footer_blocks: 4, group_blocks: 1, ..scope.clone() },
        ),
        refuted(
            "announcement-is-mark",
            "open writes no mark after an announcement",
            Rules { announcement_is_mark: true, ..right() },
            block(scope),
        ),
    ]
}

/// Decision 18: the file `CLOSED`.
fn witnesses() -> Vec<Run> {
    let witness = |witness| Rules { witness, ..right() };
    let scope = Scope { closing: Closing::AtClose, groups: 2, ..Scope::default() };
    vec![
        refuted("no-witness", "open does not use CLOSED", witness(Witness::Unread), run(scope.clone())),
        refuted(
            "witness-of-written",
            "CLOSED names the end of what is written, durable or not",
            witness(Witness::WrittenEnd),
            scope.clone(),
        ),
        refuted(
            "witness-too-far",
            "CLOSED names one block more than the log has",
            witness(Witness::OneBlockMore),
            scope.clone(),
        ),
        refuted(
            "witness-named-first",
            "CLOSED gets its name before its content is durable",
            witness(Witness::NamedFirst),
            run(scope.clone()),
        ),
        refuted(
            "witness-damaged-refuses",
            "open refuses a log whose CLOSED is damaged",
            witness(Witness::DamagedRefuses),
            Scope { damages: Damages { witness: true, ..Damages::default() }, ..scope },
        ),
    ]
}
