//! Checks the contents of an opened engine against the batches of the plan (INV-1, INV-3, INV-6).
//!
//! The groups of each thread must be in the state after one of its batches: the last acknowledged one, or a
//! later one that was sent. The engine must hold nothing else. So an overwritten suffix is the newer version
//! if the overwrite was acknowledged, and otherwise one of the two whole versions. A batch over several
//! groups is present in all of them or in none.

use crate::acks::History;
use crate::plan::Plan;
use crate::reference::Groups;
use seawall::Engine;

/// State from which a thread continues.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Number of its next batch.
    pub next: u64,
    /// The thread's groups.
    pub groups: Groups,
}

/// Finds the state of each thread in `engine`, which was just opened. The error names the broken promise.
pub fn adopt(plan: &Plan, history: &History, engine: &Engine) -> Result<Vec<State>, String> {
    let mut all = Groups::default();
    let mut states = Vec::new();
    for thread in 0..plan.threads {
        let state = find(plan, history, engine, thread)?;
        all.extend([state.groups.clone()]);
        states.push(state);
    }
    // There must be no other group and no other entry.
    all.differs(engine)?;
    Ok(states)
}

fn find(plan: &Plan, history: &History, engine: &Engine, thread: u64) -> Result<State, String> {
    let mut state = acknowledged(plan, history, thread)?;
    let Some(life) = history.lives.len().checked_sub(1) else {
        return match other(engine, &state.groups)? {
            Some(why) => Err(format!("thread {thread}: nothing was written, and there is: {why}")),
            None => Ok(state),
        };
    };
    let (first, mut reasons) = (state.next, Vec::new());
    loop {
        let Some(why) = other(engine, &state.groups)? else { return Ok(state) };
        reasons.push(format!("batch {}: {why}", state.next));
        if state.next == first + plan.window {
            let reasons = reasons.join("\n  behind ");
            return Err(format!(
                "thread {thread}, life {life}: not as behind any batch from {first}, the last acknowledged, to \
                 {}, the last that can have been sent:\n  behind {reasons}",
                state.next
            ));
        }
        plan.batch(life as u64, thread, state.next, &mut state.groups);
        state.next += 1;
    }
}

/// Returns the groups of `thread` after its last acknowledged batch.
fn acknowledged(plan: &Plan, history: &History, thread: u64) -> Result<State, String> {
    let mut state = State::default();
    // The model must know the groups even if nothing was written to them.
    (0..plan.groups).for_each(|n| _ = state.groups.group(plan.group_id(thread, n)));
    let at = usize::try_from(thread).map_err(|error| error.to_string())?;
    for (number, life) in history.lives.iter().enumerate() {
        // The open of the next life tells how many batches of this life were kept.
        let kept = history.lives.get(number + 1).map_or(&life.durable, |next| &next.base)[at];
        if kept < life.durable[at] || life.base[at] != state.next {
            return Err(format!("thread {thread}: the acknowledgements contradict each other: {history:?}"));
        }
        while state.next < kept {
            plan.batch(number as u64, thread, state.next, &mut state.groups);
            state.next += 1;
        }
    }
    Ok(state)
}

/// Returns the first difference between the engine, payloads included, and `groups`.
fn other(engine: &Engine, groups: &Groups) -> Result<Option<String>, String> {
    match groups.groups_differ(engine) {
        Err(why) => Ok(Some(why)),
        Ok(()) => groups.payloads_differ(engine).map_err(|error| format!("read: {error}")),
    }
}
