//! Damage: one fault of the medium or of a person, while no process has the log.

use crate::log::Case;
use crate::log::block::{Block, FOREIGN_SALT, File, Pos, foreign, put};
use crate::log::state::{Closed, Damage, DamageKind, State};
use crate::search::step::{Next, Step};

/// Every damage that the scope allows. None if there was one before, or if the log was never opened.
pub fn steps(state: &State, case: &Case, out: &mut Next) {
    if state.damage != Damage::None || state.stops == 0 {
        return;
    }
    let damages = case.scope.damages;
    for file in &state.files {
        if damages.block {
            blocks(state, case, file, out);
        }
        if damages.run {
            runs(state, case, file, out);
        }
        if damages.length {
            lengths(state, case, file, out);
        }
        if damages.file {
            let mut next = damaged(state, DamageKind::File);
            next.files.retain(|other| other.number != file.number);
            out.push((Step::Deleted(file.number), next));
        }
    }
    if damages.witness && state.closed != Closed::Absent {
        for closed in [Closed::Absent, Closed::Damaged] {
            let mut next = damaged(state, DamageKind::Witness);
            next.closed = closed;
            out.push((Step::WitnessDamaged(closed), next));
        }
    }
}

fn damaged(state: &State, kind: DamageKind) -> State {
    let mut next = state.clone();
    next.damage = Damage::Present(kind);
    next
}

/// One block that the log has written becomes something else.
fn blocks(state: &State, case: &Case, file: &File, out: &mut Next) {
    for block in (0..case.scope.blocks).filter(|&block| is_written(state, file, block)) {
        let at = Pos::new(file.number, block);
        let old = file.blocks[usize::from(block)];
        let owner = state.history.owner(at);
        let kind = DamageKind::Block(owner.unwrap_or(0));
        let older = older_at(case, at);
        let mut contents = vec![("garbage", Block::Garbage), ("zeros", Block::Zeros)];
        if older != Block::Zeros {
            contents.push(("older content", older));
        }
        if block > 0 {
            contents.extend(copy_of_another(state, case, at).map(|copy| ("a copy of another block", copy)));
        }
        for (name, content) in contents.into_iter().filter(|(_, content)| *content != old) {
            let mut next = damaged(state, kind);
            put(&mut next.files, at, content);
            out.push((Step::Rot(at, 1, name), next));
        }
        // A whole write of two blocks that was acknowledged and is lost.
        if let Some(id) = owner
            && state.history.len[usize::from(id)] == 2
            && state.history.at(id) == at
        {
            let mut next = damaged(state, kind);
            put(&mut next.files, at, older);
            put(&mut next.files, at.plus(1), older_at(case, at.plus(1)));
            out.push((Step::Rot(at, 2, "older content"), next));
        }
    }
}

/// Whether the log wrote a block in the file's present use.
fn is_written(state: &State, file: &File, block: u8) -> bool {
    let at = Pos::new(file.number, block);
    match file.blocks[usize::from(block)] {
        Block::Header(header) => header.sequence == file.number,
        Block::Head(group, _) => {
            group.at == at && file.header().is_some_and(|header| header.salt == group.salt)
        }
        Block::Payload(_) => state.history.owner(at).is_some(),
        Block::Zeros | Block::Garbage | Block::Remains => false,
    }
}

/// The content at a position before the log wrote there.
fn older_at(case: &Case, at: Pos) -> Block {
    if case.scope.zeroed() { Block::Zeros } else { foreign(case, at) }
}

/// The first block of a group of the log that belongs elsewhere.
fn copy_of_another(state: &State, case: &Case, at: Pos) -> Option<Block> {
    let blocks = state.files.iter().flat_map(|file| &file.blocks[1..usize::from(case.scope.blocks)]);
    let own = |block: &Block| matches!(block, Block::Head(group, _) if group.salt != FOREIGN_SALT && group.at != at);
    blocks.copied().find(own)
}

/// Every run of blocks of a file becomes zeros.
fn runs(state: &State, case: &Case, file: &File, out: &mut Next) {
    for from in 0..case.scope.blocks {
        for to in from + 1..=case.scope.blocks {
            // A run that starts or ends with a block that the log did not write says no more than a shorter
            // one.
            if !is_written(state, file, from) || !is_written(state, file, to - 1) {
                continue;
            }
            let mut next = damaged(state, DamageKind::Run);
            for block in from..to {
                put(&mut next.files, Pos::new(file.number, block), Block::Zeros);
            }
            out.push((Step::Rot(Pos::new(file.number, from), to - from, "zeros"), next));
        }
    }
}

/// A file is cut short, at every block.
fn lengths(state: &State, case: &Case, file: &File, out: &mut Next) {
    for from in 0..case.scope.blocks {
        let mut next = damaged(state, DamageKind::Length);
        for block in from..case.scope.blocks {
            put(&mut next.files, Pos::new(file.number, block), Block::Zeros);
        }
        out.push((Step::Cut(Pos::new(file.number, from)), next));
    }
}
