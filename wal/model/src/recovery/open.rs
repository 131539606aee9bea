//! An open: damage may come first; then recovery decides, its decision is checked, and the log continues.

use super::decide::{Verdict, decide};
use super::promises::{Outcome, Slice, check, check_refusal};
use super::refusal::Refusal;
use crate::fault::damage;
use crate::log::Case;
use crate::log::block::{File, Kind, Pos, file, put};
use crate::log::state::{Damage, DamageKind, IDS, Phase, State};
use crate::search::step::{Next, Step, Tally};

/// Every step of a log that no process has. `Err` says which promise an open breaks.
pub fn steps(state: &State, case: &Case, tally: &mut Tally, out: &mut Next) -> Result<(), String> {
    damage::steps(state, case, out);
    // Open sees what is in the page cache, though it may not be on the disk.
    let mut view = state.files.clone();
    for &(at, block) in &state.cached {
        put(&mut view, at, block);
    }
    tally.opens += 1;
    let verdict = decide(&view, state, case, true);
    let outcome = match &verdict {
        Err(refusal) => check_refusal(refusal, state.damage)?,
        Ok(verdict) => {
            let (slice, outcome) = check(verdict, &view, state, case)?;
            out.extend(slice.and_then(|slice| accept(verdict, slice, &view, state, case)));
            outcome
        }
    };
    if case.scope.reach > 0 {
        compare(&verdict, &decide(&view, state, case, false), state.damage)?;
    }
    match (state.damage, outcome) {
        (_, Outcome::Refused) => tally.refused += 1,
        (_, Outcome::Undecidable(groups)) => {
            tally.undecidable += 1;
            tally.lost_at_most = tally.lost_at_most.max(groups);
        }
        (_, Outcome::Revived) => tally.revived += 1,
        (Damage::Present(_), Outcome::Kept) => tally.harmless += 1,
        (_, Outcome::Kept) => {}
    }
    Ok(())
}

/// Reading as far as the reach asks for leads to the same conclusion as reading everything.
///
/// Where a block is damaged, the remains of a torn group without its head may be overlooked, so the log may
/// continue elsewhere.
fn compare(
    bounded: &Result<Verdict, Refusal>,
    whole: &Result<Verdict, Refusal>,
    damage: Damage,
) -> Result<(), String> {
    let same = match (bounded, whole) {
        (Ok(bounded), Ok(whole)) if damage != Damage::None => {
            *bounded == Verdict { resume: bounded.resume, ..whole.clone() }
        }
        _ => bounded == whole,
    };
    if same {
        return Ok(());
    }
    let said = |verdict: &Result<Verdict, Refusal>| match verdict {
        Ok(verdict) => verdict.to_string(),
        Err(refusal) => format!("refused: {refusal}"),
    };
    Err(format!("bounded reading ({}) and reading everything ({}) differ", said(bounded), said(whole)))
}

/// The state after open has decided. `None` if the log would leave the scope.
fn accept(
    verdict: &Verdict,
    slice: Slice,
    view: &[File],
    state: &State,
    case: &Case,
) -> Option<(Step, State)> {
    let resume = verdict.resume;
    if resume.at.segment() > case.scope.segments {
        return None;
    }
    let mut next = state.clone();
    if let Damage::Present(kind) = state.damage {
        // A damaged CLOSED is no damage of the log, and stays until the next close.
        next.damage = if kind == DamageKind::Witness { state.damage } else { Damage::Accepted };
    }
    if case.rules.sync_at_open {
        next.cached.clear();
        next.files = view.to_vec();
    }
    let dropped = state.history.log[slice.to..].to_vec();
    remember(&mut next, slice);
    next.release_asked = verdict.first_live;
    next.release_acknowledged = verdict.first_live;
    next.next = resume.at;
    next.previous_end = resume.previous_end;
    next.durable_end = verdict.end;
    next.mark_due = resume.mark;
    next.phase = Phase::Opening;
    next.last = next.history.log.last().map(|&id| kind_of(view, next.history.at(id), case));
    let in_place = !verdict.kept.is_empty() && resume.at == verdict.end;
    if verdict.kept.is_empty() {
        next.release_asked = resume.at.segment().max(verdict.first_live);
        next.history.released = next.history.released.max(resume.at.segment());
    }
    if in_place && !resume.mark {
        next.phase = Phase::Running;
        next.history.returned = next.history.acknowledged;
    }
    let step = Step::Open {
        kept: verdict.kept.clone(),
        end: verdict.end,
        watermark: verdict.watermark,
        at: resume.at,
        dropped,
    };
    Some((step, next))
}

/// The history after an open: what it shows is promised from now on, what it drops is forgotten.
fn remember(state: &mut State, slice: Slice) {
    let history = &mut state.history;
    history.log.truncate(slice.to);
    // Released groups before the kept ones may come back until their file is used again, so they are not
    // forgotten.
    history.acknowledged = history.log.iter().fold(0, |set, &id| set | 1 << id);
    history.without_data &= history.acknowledged;
    history.returned &= history.acknowledged;
    for id in 1..IDS {
        if history.acknowledged >> id & 1 == 0 {
            history.place[id] = Pos::NONE;
            history.len[id] = 0;
        }
    }
}

fn kind_of(view: &[File], at: Pos, case: &Case) -> Kind {
    let head = file(view, at.segment()).and_then(|file| file.head_at(at.block(), case));
    head.map_or(Kind::Data, |(group, _)| group.kind)
}
