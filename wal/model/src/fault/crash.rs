//! Power cuts: every combination of what survives of the writes that were in flight.

use crate::log::Case;
use crate::log::block::{Block, Body, Kind, Pos, file, put};
use crate::log::scope::Tears;
use crate::log::state::{Closed, Spare, Stage, State, name_spare};
use crate::search::step::{Fate, Next, Step};

/// States that differ in what survived, each with the fate of every block.
type Survivors = Vec<(Vec<(Pos, Fate)>, State)>;

/// Every state that a power cut can leave.
pub fn power_cuts(state: &State, case: &Case, out: &mut Next) {
    let mut stopped = state.clone();
    stopped.stop();
    let mut all: Survivors = vec![(Vec::new(), stopped)];
    for &(at, block) in &state.cached {
        all = each(all, &[(at, Fate::Lost, None), (at, Fate::Whole, Some(block))]);
    }
    for write in state.in_flight.iter().filter(|write| !write.durable) {
        for (at, block) in write.content() {
            all = each(all, &fates(state, case, at, block));
        }
    }
    for spare in &state.spares {
        all = of_spare(all, spare);
    }
    out.extend(all.into_iter().map(|(fates, next)| (Step::PowerCut(fates), next)));
}

/// Every state that a clean close can leave; the file `CLOSED` is written already. The preparation of spares
/// ends anywhere.
pub fn closed(state: &State, content: Closed, out: &mut Next) {
    let mut stopped = state.clone();
    stopped.stop();
    let mut all: Survivors = vec![(Vec::new(), stopped)];
    for spare in &state.spares {
        all = of_spare(all, spare);
    }
    out.extend(all.into_iter().map(|(_, next)| (Step::Close(content), next)));
}

/// Multiplies the states by the fates of one block.
fn each(all: Survivors, fates: &[(Pos, Fate, Option<Block>)]) -> Survivors {
    let mut more = Vec::with_capacity(all.len() * fates.len());
    for (told, state) in all {
        for &(at, fate, block) in fates {
            let (mut told, mut next) = (told.clone(), state.clone());
            told.push((at, fate));
            match (fate, block) {
                (Fate::Late, Some(block)) => next.late.push((at, block)),
                (Fate::Cached, Some(block)) => next.cached.push((at, block)),
                (_, Some(block)) => put(&mut next.files, at, block),
                (_, None) => {}
            }
            more.push((told, next));
        }
    }
    more
}

/// The possible fates of a block that was being written at `at`.
fn fates(state: &State, case: &Case, at: Pos, new: Block) -> Vec<(Pos, Fate, Option<Block>)> {
    let mut fates = vec![(at, Fate::Lost, None), (at, Fate::Whole, Some(new))];
    fates.extend(torn(state, case, at, new).into_iter().map(|block| (at, Fate::Torn, Some(block))));
    if !case.rules.lock_covers_writes {
        fates.push((at, Fate::Late, Some(new)));
    }
    if !case.rules.sync_at_open {
        fates.push((at, Fate::Cached, Some(new)));
    }
    fates
}

/// The possible contents of a block of which only some sectors were written.
fn torn(state: &State, case: &Case, at: Pos, new: Block) -> Vec<Block> {
    let Some(file) = file(&state.files, at.segment()) else { return Vec::new() };
    let old = file.blocks[usize::from(at.block())];
    if at.block() == 0 {
        return if old == Block::Garbage { Vec::new() } else { vec![Block::Garbage] };
    }
    let zeros = file.header().is_some_and(|header| header.zeros);
    if zeros && case.scope.tears == Tears::Sectors {
        return torn_sectors(old, new);
    }
    // Elsewhere no reader recognises a torn block. It differs from a lost one only if the old content is
    // recognised.
    if file.head_at(at.block(), case).is_some() { vec![Block::Garbage] } else { Vec::new() }
}

/// The same where the block held zeros, or remains of an earlier write. The first sector of the block holds
/// the group header.
fn torn_sectors(old: Block, new: Block) -> Vec<Block> {
    match (new, old) {
        // A mark has nothing but its header, and zeros.
        (Block::Head(group, _), Block::Zeros | Block::Remains)
            if matches!(group.kind, Kind::Mark | Kind::Announcement) =>
        {
            if old == Block::Zeros {
                Vec::new()
            } else {
                vec![Block::Head(group, Body::Mixed)]
            }
        }
        (Block::Head(group, _), Block::Zeros) => vec![Block::Head(group, Body::Holed), Block::Remains],
        (Block::Head(group, _), Block::Remains) => {
            vec![Block::Head(group, Body::Holed), Block::Head(group, Body::Mixed)]
        }
        (Block::Payload(_), Block::Zeros) => vec![Block::Remains],
        (Block::Payload(_), Block::Remains) => vec![Block::Garbage],
        _ => vec![Block::Garbage],
    }
}

/// Multiplies the states by what can become of a spare.
fn of_spare(all: Survivors, spare: &Spare) -> Survivors {
    let header = |number: u8| {
        let at = Pos::new(number, 0);
        [
            (at, Fate::Lost, None),
            (at, Fate::Whole, Some(spare.header)),
            (at, Fate::Torn, Some(Block::Garbage)),
        ]
    };
    match spare.stage {
        Stage::Header if spare.source != 0 => each(all, &header(spare.source)),
        Stage::HeaderLast => each(all, &header(spare.target)),
        Stage::Header | Stage::HeaderDurable => all,
        Stage::Name | Stage::NameFirst => {
            let mut more = Vec::with_capacity(all.len() * 2);
            for (told, state) in all {
                let mut named = state.clone();
                name_spare(&mut named.files, spare);
                for (fate, state) in [(Fate::Lost, state), (Fate::Whole, named)] {
                    let mut told = told.clone();
                    told.push((Pos::new(spare.target, 0), fate));
                    more.push((told, state));
                }
            }
            more
        }
    }
}
