//! Preparation of spares: a new or a released file gets its header, then its name.

use crate::log::Case;
use crate::log::block::{Block, Header, Pos, put};
use crate::log::rules::Preparation;
use crate::log::scope::Files;
use crate::log::state::{Spare, Stage, State, name_spare};
use crate::search::step::{Next, Step};

/// Every step of the preparation.
pub fn steps(state: &State, case: &Case, out: &mut Next) {
    let Files::Prepared(ahead) = case.scope.files else { return };
    start(state, case, ahead, out);
    for i in 0..state.spares.len() {
        let mut next = state.clone();
        let spare = state.spares[i].clone();
        let target = spare.target;
        match spare.stage {
            Stage::Header => {
                if spare.source != 0 {
                    put(&mut next.files, Pos::new(spare.source, 0), spare.header);
                }
                next.spares[i].stage = Stage::HeaderDurable;
            }
            Stage::HeaderDurable => next.spares[i].stage = Stage::Name,
            Stage::Name => {
                next.spares.remove(i);
                name_spare(&mut next.files, &spare);
            }
            Stage::NameFirst => {
                name_spare(&mut next.files, &spare);
                next.spares[i].stage = Stage::HeaderLast;
            }
            Stage::HeaderLast => {
                next.spares.remove(i);
                put(&mut next.files, Pos::new(target, 0), spare.header);
            }
        }
        out.push((Step::Spare(target, spare.stage), next));
    }
}

/// Starts the next spare, from a released file if there is one.
fn start(state: &State, case: &Case, ahead: u8, out: &mut Next) {
    let preparation = case.rules.preparation;
    let named = state.files.iter().map(|file| file.number);
    let top = named.chain(state.spares.iter().map(|spare| spare.target)).max().unwrap_or(0);
    let target = top + 1;
    let at_once = if preparation == Preparation::NamesUnordered { 2 } else { 1 };
    let wanted = state.next.segment().max(1) + ahead;
    if target > wanted || target > case.scope.segments + 1 || state.spares.len() >= at_once {
        return;
    }
    let early = preparation == Preparation::BeforeAcknowledged;
    let below = if early { state.release_asked } else { state.release_acknowledged };
    let in_use = |number: u8| state.spares.iter().any(|spare| spare.source == number);
    let released = state.files.iter().map(|file| file.number).find(|&n| n < below && !in_use(n));
    let source = released.unwrap_or(0);
    let header = Header {
        sequence: target,
        salt: state.next_salt,
        first_live: state.release_acknowledged,
        previous_end: Pos::NONE,
        zeros: source == 0 || preparation == Preparation::UsedTakenForZeros,
    };
    let stage = if preparation == Preparation::NameFirst { Stage::NameFirst } else { Stage::Header };
    let mut next = state.clone();
    next.next_salt += 1;
    next.spares.push(Spare { stage, target, source, header: Block::Header(header) });
    out.push((Step::SpareStarted(target, source), next));
}
