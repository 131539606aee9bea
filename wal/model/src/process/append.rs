//! Appends: data groups, marks, announcements, footers, rotation and release.

use super::write_header;
use crate::log::Case;
use crate::log::block::{Block, Body, Group, Kind, Pos, file};
use crate::log::rules::{FirstLive, FooterProof, HeaderOrder, Headers, Reach, Watermark};
use crate::log::state::{Announced, State, Write};
use crate::search::step::{Next, Step};

/// Every group that may be issued, and every release.
pub fn steps(state: &State, case: &Case, out: &mut Next) {
    data(state, case, out);
    mark(state, case, out);
    if state.announced == Announced::Footer {
        footer(state, case, out);
    }
    if case.scope.release {
        for segment in state.release_asked + 1..=state.next.segment() {
            let mut next = state.clone();
            next.release_asked = segment;
            next.history.released = segment;
            if case.rules.first_live == FirstLive::HeadersOnly {
                next.release_acknowledged = segment;
            }
            out.push((Step::Release(segment), next));
        }
    }
}

/// The next data group, of each length; or what has to come before it.
fn data(state: &State, case: &Case, out: &mut Next) {
    let is_data = |write: &&Write| write.id != 0 && !state.history.is_without_data(write.id);
    let in_flight = state.in_flight.iter().filter(is_data).count();
    let full = in_flight >= usize::from(case.scope.in_flight);
    if full || state.data_groups == case.scope.groups || state.announced == Announced::Footer {
        return;
    }
    let mut sealing = false;
    for len in 1..=case.scope.group_blocks {
        let long = case.scope.is_long(len) && case.rules.reach != Reach::NotAnnounced;
        if state.announced == Announced::Data && !long {
            continue;
        }
        let announce = long && state.announced == Announced::No;
        let blocks = len + u8::from(announce);
        let mut next = state.clone();
        if room(&next, case) < blocks && state.announced == Announced::No {
            if case.scope.footer_blocks > 0 && !next.sealed {
                if !sealing {
                    sealing = true;
                    footer(state, case, out);
                }
                continue;
            }
            if !rotate(&mut next, case) || room(&next, case) < blocks {
                continue;
            }
        } else if state.next.block() == 1 && !state.may_enter(state.next.segment(), case) {
            continue;
        }
        let (kind, len) = if announce { (Kind::Announcement, 1) } else { (Kind::Data, len) };
        let at = next.next;
        if issue(&mut next, case, kind, len) {
            next.announced = if announce { Announced::Data } else { Announced::No };
            out.push((Step::Issue(kind, state.next_id, at, len, state.durable_end), next));
        }
    }
}

/// A mark: when nothing is in flight, after data; or after a mark that does not carry the latest release.
fn mark(state: &State, case: &Case, out: &mut Next) {
    let due = match state.last {
        Some(Kind::Mark) => case.scope.release && state.release_asked > state.release_acknowledged,
        Some(_) => true,
        None => false,
    };
    if !due || !state.in_flight.is_empty() || state.announced != Announced::No || state.sealed {
        return;
    }
    let mut next = state.clone();
    let entered = match room(&next, case) {
        0 => {
            case.scope.footer_blocks == 0
                && case.rules.headers == Headers::Prepared
                && rotate(&mut next, case)
        }
        _ => true,
    };
    let at = next.next;
    if entered && issue(&mut next, case, Kind::Mark, 1) {
        out.push((Step::Issue(Kind::Mark, state.next_id, at, 1, state.durable_end), next));
    }
}

/// The footer of the segment in use, or its announcement.
fn footer(state: &State, case: &Case, out: &mut Next) {
    let following = state.next.segment() + 1;
    if case.rules.footer_proof != FooterProof::NextExistsTooEarly && !state.may_enter(following, case) {
        return;
    }
    let len = case.scope.footer_blocks;
    let announce = announces_footers(case) && state.announced == Announced::No;
    if state.next.block() + len + u8::from(announce) > case.scope.blocks {
        // A recovery continued so close to the end of the segment that no footer fits: it stays without one.
        let mut next = state.clone();
        next.sealed = true;
        out.push((Step::NoFooter(state.next.segment()), next));
        return;
    }
    let (kind, len) = if announce { (Kind::Announcement, 1) } else { (Kind::Footer, len) };
    let mut next = state.clone();
    if issue(&mut next, case, kind, len) {
        next.announced = if announce { Announced::Footer } else { Announced::No };
        next.sealed = !announce;
        out.push((Step::Issue(kind, state.next_id, state.next, len, state.durable_end), next));
    }
}

fn announces_footers(case: &Case) -> bool {
    let announced = !matches!(case.rules.reach, Reach::NotAnnounced | Reach::FooterNotAnnounced);
    case.scope.is_long(case.scope.footer_blocks) && announced
}

/// Blocks that are left in the segment in use, without those of its footer.
fn room(state: &State, case: &Case) -> u8 {
    if state.sealed {
        return 0;
    }
    let footer = case.scope.footer_blocks + u8::from(announces_footers(case));
    case.scope.blocks.saturating_sub(state.next.block() + footer)
}

/// Enters the next segment. Fails if it may not be entered yet.
fn rotate(state: &mut State, case: &Case) -> bool {
    let segment = state.next.segment() + 1;
    if segment > case.scope.segments || !state.may_enter(segment, case) {
        return false;
    }
    state.previous_end = state.next;
    state.next = Pos::new(segment, 1);
    state.sealed = false;
    if let Headers::AtRotation(order, _) = case.rules.headers {
        write_header(state, segment, state.previous_end, order == HeaderOrder::Acknowledgement);
    }
    true
}

/// Issues a group at the end of the log; the caller has made sure that it fits. Fails if the reach holds it
/// back.
pub fn issue(state: &mut State, case: &Case, kind: Kind, len: u8) -> bool {
    if case.scope.reach > 0 && case.rules.reach != Reach::NotBounded {
        let ahead: u8 = state.in_flight.iter().map(|write| write.len).sum();
        if ahead > case.scope.reach || (case.scope.is_long(len) && ahead > 0) {
            return false;
        }
    }
    let Some(salt) = salt(state, state.next.segment()) else { return false };
    let watermark = match (case.rules.watermark, state.in_flight.first()) {
        (Watermark::EndOfPrefix, _) => state.durable_end,
        (Watermark::StartOfNext, Some(write)) => write.at,
        (Watermark::StartOfNext, None) | (Watermark::EndOfWritten, _) => state.next,
    };
    let first_live = if case.rules.first_live == FirstLive::HeadersOnly { 1 } else { state.release_asked };
    let (id, at) = (state.next_id, state.next);
    let group = Group { salt, at, len, watermark, previous_end: state.previous_end, first_live, kind, id };
    state.new_group(&group);
    let blocks = [Block::Head(group, Body::Whole), case.scope.payload(id)];
    state.in_flight.push(Write { id, at, len, blocks, durable: false, gates: true });
    state.next = group.end();
    true
}

/// Salt of a segment, whose header may still be in flight.
fn salt(state: &State, segment: u8) -> Option<u8> {
    let pending = state.in_flight.iter().rfind(|write| write.id == 0 && write.at.segment() == segment);
    match pending.map(|write| write.blocks[0]) {
        Some(Block::Header(header)) => Some(header.salt),
        _ => file(&state.files, segment).and_then(|file| file.header()).map(|header| header.salt),
    }
}
