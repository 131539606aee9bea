//! The promises that every open is held to.
//!
//! Without damage an open neither refuses the log nor loses anything that was acknowledged. With one damage
//! it refuses, or it loses nothing, except in the window that one node cannot decide. It shows nothing that
//! is not part of the log either, unless a run of zeros took every group after a dropped one, and no clean close
//! wrote down where the log ended.

use super::decide::Verdict;
use super::refusal::Refusal;
use crate::log::Case;
use crate::log::block::{FOREIGN_ID, File, Pos, file};
use crate::log::state::{Closed, Damage, DamageKind, State};

/// The effect of an open on the log, as the history sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It refuses a damaged log.
    Refused,
    /// It loses nothing that was acknowledged.
    Kept,
    /// It loses so many acknowledged data groups, in the window that one node cannot decide.
    Undecidable(u32),
    /// It shows a dropped group in place of later ones, all of which a run of zeros has taken.
    Revived,
}

/// The part of the log that an open keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Index of its first group in the history.
    pub from: usize,
    /// Index after its last group.
    pub to: usize,
}

/// Checks a refusal. `Err` says which promise it breaks.
pub fn check_refusal(refusal: &Refusal, damage: Damage) -> Result<Outcome, String> {
    match damage {
        Damage::None => Err(format!("open refuses a sound log: {refusal}")),
        Damage::Present(DamageKind::Witness) => {
            Err(format!("open refuses a sound log whose file CLOSED is damaged: {refusal}"))
        }
        Damage::Accepted => Err(format!("open refuses a log that an earlier open accepted: {refusal}")),
        Damage::Present(_) => Ok(Outcome::Refused),
    }
}

/// Checks what an open keeps. `Err` says which promise it breaks.
pub fn check(
    verdict: &Verdict,
    view: &[File],
    state: &State,
    case: &Case,
) -> Result<(Option<Slice>, Outcome), String> {
    let slice = match slice(verdict, state) {
        Ok(slice) => slice,
        Err(what) => return revived(verdict, state, what),
    };
    let sound = matches!(state.damage, Damage::None | Damage::Present(DamageKind::Witness));
    if sound {
        readable(verdict, view, state, case)?;
    }
    let history = &state.history;
    let is_live = |id: u8| history.is_acknowledged(id) && history.at(id).segment() >= history.released;
    let (before, after) = (&history.log[..slice.from], &history.log[slice.to..]);
    if sound
        && let Some(id) = after.iter().find(|&&id| history.is_acknowledged(id) && history.is_without_data(id))
    {
        return Err(format!("the durable group {id}, which has no data, is lost"));
    }
    let gone = after.iter().chain(before).copied();
    let lost: Vec<u8> = gone.filter(|&id| is_live(id) && !history.is_without_data(id)).collect();
    if lost.is_empty() {
        return Ok((Some(slice), Outcome::Kept));
    }
    let what = format!("acknowledged groups are lost silently: {lost:?}");
    let undecidable = match state.damage {
        Damage::Present(DamageKind::Block(id)) => is_undecidable(id, &lost, view, state, case),
        Damage::Present(DamageKind::Run) => true,
        _ => return Err(what),
    };
    if lost.iter().any(|&id| history.at(id) < history.closed_end) {
        return Err(format!("{what}, below the end at the last clean close"));
    }
    if !undecidable {
        return Err(format!("{what}, outside of the window that one node cannot decide"));
    }
    Ok((Some(slice), Outcome::Undecidable(u32::try_from(lost.len()).unwrap_or(u32::MAX))))
}

/// Where the kept groups lie in the history: they have to follow each other in it.
fn slice(verdict: &Verdict, state: &State) -> Result<Slice, String> {
    let (kept, log) = (&verdict.kept, &state.history.log);
    if kept.contains(&FOREIGN_ID) {
        return Err("a group of an earlier use of the file is read".to_owned());
    }
    let from = match kept.first() {
        None => 0,
        Some(first) => log.iter().position(|id| id == first).unwrap_or(log.len()),
    };
    let to = from + kept.len();
    if log.get(from..to).is_none_or(|part| part != kept) {
        return Err(format!("open shows the groups {kept:?}, but the log is {log:?}"));
    }
    Ok(Slice { from, to })
}

/// A dropped group may come back only after a run of zeros, and only if no group below the end at the last
/// clean close is lost.
fn revived(verdict: &Verdict, state: &State, what: String) -> Result<(Option<Slice>, Outcome), String> {
    let history = &state.history;
    let lost = |&id: &u8| {
        let at = history.at(id);
        at.segment() >= history.released && at < history.closed_end && !verdict.kept.contains(&id)
    };
    let foreign = verdict.kept.contains(&FOREIGN_ID);
    if state.damage != Damage::Present(DamageKind::Run) || foreign || history.log.iter().any(lost) {
        return Err(what);
    }
    Ok((None, Outcome::Revived))
}

/// Everything that open shows can be read.
fn readable(verdict: &Verdict, view: &[File], state: &State, case: &Case) -> Result<(), String> {
    for &id in &verdict.kept {
        let at = state.history.at(id);
        let head = file(view, at.segment()).and_then(|file| file.head_at(at.block(), case));
        if head.is_none_or(|(group, valid)| !valid || group.id != id) {
            return Err(format!("open shows group {id} at {at}, which cannot be read"));
        }
    }
    Ok(())
}

/// One damaged group at or above every watermark that is left, and what was in flight with it; never what an
/// open has returned.
fn is_undecidable(damaged: u8, lost: &[u8], view: &[File], state: &State, case: &Case) -> bool {
    let history = &state.history;
    let start = history.at(damaged);
    damaged != 0
        && start != Pos::NONE
        && start >= watermark_left(view, state, case)
        && lost.len() <= usize::from(case.scope.in_flight)
        && lost.iter().all(|&id| history.at(id) >= start && history.returned >> id & 1 == 0)
}

/// The largest watermark that is left on the disk, whatever the rules make of it.
fn watermark_left(view: &[File], state: &State, case: &Case) -> Pos {
    let closed = if let Closed::End(end) = state.closed { end } else { Pos::NONE };
    let heads =
        view.iter().flat_map(|file| (1..case.scope.blocks).filter_map(|block| file.head_at(block, case)));
    heads.map(|(group, _)| group.watermark).fold(closed, Pos::max)
}
