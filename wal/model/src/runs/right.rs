//! The right rules, in every scope: all of them have to hold.

use super::{Expect, Run, Set};
use crate::log::Case;
use crate::log::rules::{InPlace, Rules};
use crate::log::scope::{Closing, Damages, Files, Scope, Tears};

const BLOCK: Damages = Damages { block: true, run: false, file: false, length: false, witness: false };
const RUN: Damages = Damages { block: false, run: true, ..BLOCK };
const FILE: Damages = Damages { block: false, file: true, ..BLOCK };
const LENGTH: Damages = Damages { block: false, length: true, ..BLOCK };
const WITNESS: Damages = Damages { block: false, witness: true, ..BLOCK };
const ANY: Damages = Damages { block: true, run: true, file: true, length: true, witness: true };

fn scope() -> Scope {
    Scope::default()
}

/// Segments of three blocks: the log enters a segment after every group or two.
fn three_blocks() -> Scope {
    Scope { blocks: 3, segments: 9, ..scope() }
}

/// Zeroed files, of which any sector can survive: the suspect rule applies.
fn sectors() -> Scope {
    Scope { files: Files::GivenZeroed, tears: Tears::Sectors, groups: 3, in_flight: 2, ..scope() }
}

/// Segments with a reach of one block, and groups of one and two.
fn reach() -> Scope {
    Scope { blocks: 6, segments: 5, groups: 3, reach: 1, files: Files::GivenZeroed, ..scope() }
}

/// A log that prepares its files, and whose caller releases segments.
fn prepared() -> Scope {
    Scope {
        blocks: 3,
        segments: 7,
        group_blocks: 1,
        in_flight: 2,
        groups: 3,
        release: true,
        files: Files::Prepared(2),
        ..scope()
    }
}

fn closing() -> Scope {
    Scope { closing: Closing::AtClose, ..scope() }
}

/// The runs.
pub fn runs() -> Vec<Run> {
    let mut runs = short();
    runs.extend(long());
    runs
}

fn holds(set: Set, name: &'static str, about: &'static str, scope: Scope) -> Run {
    Run { name, about, expect: Expect::Holds, set, case: Case { rules: Rules::default(), scope } }
}

fn short() -> Vec<Run> {
    let holds = |name, about, scope| holds(Set::Short, name, about, scope);
    vec![
        holds("crashes", "two crashes, 3 groups", Scope { groups: 3, ..scope() }),
        holds(
            "crashes-3-blocks",
            "three crashes, 3 groups, segments of 3 blocks",
            Scope { groups: 3, stops: 3, ..three_blocks() },
        ),
        holds(
            "footers",
            "footers that are trusted, 2 groups",
            Scope { footer_blocks: 1, groups: 2, ..scope() },
        ),
        holds("sectors", "any sector of a block survives, 2 groups", Scope { groups: 2, ..sectors() }),
        holds("block", "one damaged block, 2 groups", Scope { damages: BLOCK, groups: 2, ..scope() }),
        holds("file", "one deleted file, 3 groups", Scope { damages: FILE, groups: 3, ..three_blocks() }),
        holds(
            "length",
            "one shortened file, 3 groups",
            Scope { damages: LENGTH, groups: 3, ..three_blocks() },
        ),
        holds("reach", "a reach of one block, 3 groups", reach()),
        holds(
            "reach-block",
            "the same, one damaged block, one crash",
            Scope { groups: 2, stops: 1, damages: BLOCK, ..reach() },
        ),
        holds(
            "closes",
            "clean closes and crashes, 2 groups, any damage",
            Scope { groups: 2, damages: ANY, ..closing() },
        ),
        holds("files", "the log prepares its files, 2 groups", Scope { groups: 2, ..prepared() }),
    ]
}

fn long() -> Vec<Run> {
    let holds = |name, about, scope| holds(Set::Long, name, about, scope);
    let zeroed = |scope: Scope| Scope { files: Files::GivenZeroed, ..scope };
    let mut runs = vec![
        holds("crashes-long", "two crashes, 4 groups", scope()),
        holds(
            "crashes-payloads",
            "two crashes, 4 groups of different payload",
            Scope { same_payload: false, ..scope() },
        ),
        holds("crashes-5-groups", "two crashes, 5 groups", Scope { groups: 5, ..scope() }),
        holds(
            "crashes-3-blocks-long",
            "three crashes, 4 groups, segments of 3 blocks",
            Scope { stops: 3, ..three_blocks() },
        ),
        holds(
            "footers-long",
            "footers that are trusted, 3 groups",
            Scope { footer_blocks: 1, groups: 3, ..scope() },
        ),
        holds(
            "footers-5-groups",
            "footers that are trusted, 5 groups of one block, two in flight",
            Scope { footer_blocks: 1, groups: 5, group_blocks: 1, in_flight: 2, ..scope() },
        ),
        holds(
            "footers-block",
            "footers that are trusted, 2 groups, one damaged block",
            Scope { footer_blocks: 1, groups: 2, damages: BLOCK, ..scope() },
        ),
        holds("sectors-long", "any sector of a block survives, 3 groups", sectors()),
        holds(
            "sectors-3-crashes",
            "the same, three crashes, segments of 3 blocks",
            Scope { stops: 3, blocks: 3, segments: 7, ..sectors() },
        ),
        holds("block-long", "one damaged block, 4 groups", Scope { damages: BLOCK, ..scope() }),
        holds(
            "block-3-blocks",
            "one damaged block, 4 groups, segments of 3 blocks",
            Scope { damages: BLOCK, ..three_blocks() },
        ),
        holds(
            "block-zeros",
            "one damaged block of zeroed files, 4 groups",
            zeroed(Scope { damages: BLOCK, ..scope() }),
        ),
        holds("file-long", "one deleted file, 4 groups", Scope { damages: FILE, ..three_blocks() }),
        holds("length-long", "one shortened file, 4 groups", Scope { damages: LENGTH, ..three_blocks() }),
        holds("reach-long", "a reach of one block, 4 groups", Scope { groups: 4, ..reach() }),
        holds(
            "reach-3-crashes",
            "a reach of one block, 3 groups, three crashes",
            Scope { stops: 3, ..reach() },
        ),
        holds(
            "reach-7-blocks",
            "a reach of one block, 4 groups, segments of 7 blocks",
            Scope { blocks: 7, groups: 4, ..reach() },
        ),
        holds(
            "reach-2",
            "a reach of two blocks, groups of up to three, segments of 7 blocks",
            Scope { blocks: 7, group_blocks: 3, reach: 2, ..reach() },
        ),
        holds(
            "reach-sectors",
            "a reach of one block, any sector of a block survives",
            Scope { tears: Tears::Sectors, ..reach() },
        ),
        holds(
            "reach-footers",
            "a reach of one block, footers of two blocks, 4 groups",
            Scope { footer_blocks: 2, groups: 4, ..reach() },
        ),
        holds(
            "reach-footers-4",
            "a reach of one block, footers of four blocks, segments of 7 blocks",
            Scope { blocks: 7, footer_blocks: 4, ..reach() },
        ),
        holds(
            "reach-block-long",
            "a reach of one block, 3 groups, one damaged block",
            Scope { damages: BLOCK, ..reach() },
        ),
        holds(
            "reach-block-4-groups",
            "a reach of one block, 4 groups, one damaged block",
            Scope { groups: 4, damages: BLOCK, ..reach() },
        ),
        holds(
            "reach-block-7-blocks",
            "a reach of one block, 3 groups, one damaged block, segments of 7 blocks",
            Scope { blocks: 7, damages: BLOCK, ..reach() },
        ),
        holds(
            "reach-2-block",
            "a reach of two blocks, groups of up to three, one damaged block",
            Scope { blocks: 7, group_blocks: 3, reach: 2, damages: BLOCK, ..reach() },
        ),
        holds(
            "reach-footers-block",
            "a reach of one block, footers of two blocks, one damaged block",
            Scope { footer_blocks: 2, damages: BLOCK, ..reach() },
        ),
        holds(
            "reach-files",
            "a reach of one block, the log prepares its files",
            Scope { reach: 1, group_blocks: 2, blocks: 6, groups: 2, ..prepared() },
        ),
        holds("closes-long", "clean closes and crashes, 4 groups", closing()),
        holds(
            "closes-block",
            "the same, one damaged block",
            Scope { groups: 3, damages: BLOCK, ..closing() },
        ),
        holds("closes-run", "the same, one run of zeros", Scope { groups: 3, damages: RUN, ..closing() }),
        holds("closes-run-zeros", "the same, zeroed files", zeroed(Scope { damages: RUN, ..closing() })),
        holds(
            "closes-3-blocks",
            "clean closes, any damage, segments of 3 blocks",
            Scope { closing: Closing::AtClose, damages: ANY, groups: 3, ..three_blocks() },
        ),
        holds("closes-witness", "a damaged CLOSED, 4 groups", Scope { damages: WITNESS, ..closing() }),
        holds(
            "closes-anytime",
            "CLOSED written whenever nothing is in flight, any damage",
            Scope { closing: Closing::Anytime, groups: 3, damages: ANY, ..scope() },
        ),
        holds(
            "closes-footers",
            "clean closes, footers, 2 groups, any damage",
            Scope { footer_blocks: 1, groups: 2, damages: ANY, ..closing() },
        ),
        holds(
            "closes-files",
            "clean closes of a log that prepares its files, any damage",
            Scope { closing: Closing::AtClose, damages: ANY, groups: 2, ..prepared() },
        ),
        holds(
            "files-one-crash",
            "the log prepares two spares ahead, 3 groups, one crash",
            Scope { stops: 1, ..prepared() },
        ),
        holds(
            "files-create",
            "creation of a log, four crashes",
            Scope { release: false, groups: 2, stops: 4, ..prepared() },
        ),
        holds(
            "files-damage",
            "the log prepares its files, one damaged block or deleted file",
            Scope { damages: Damages { file: true, ..BLOCK }, groups: 2, ..prepared() },
        ),
    ];
    for (name, about, in_place) in [
        ("after-mark", "the log continues in place after a mark only", InPlace::AfterMark),
        ("never-in-place", "the log never continues in place", InPlace::Never),
    ] {
        let mut run = holds(name, about, Scope { stops: 3, groups: 3, ..three_blocks() });
        run.case.rules.in_place = in_place;
        runs.push(run);
    }
    runs
}
