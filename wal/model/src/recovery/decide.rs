//! The decision: the end of the log, or the reason to refuse it. A pure function of what the files hold.
//!
//! The steps are those of `wal/src/recovery/verdict`: follow the links down from the highest touched segment,
//! walk the chain upward to the first position without a valid group, and refuse if that position is below
//! the watermark.

use super::evidence::Evidence;
use super::refusal::Refusal;
use super::resume::{Resume, resume_after, start_over};
use crate::log::Case;
use crate::log::block::{File, Group, Kind, Pos};
use crate::log::rules::{FirstLive, FooterProof, FooterTrust, PreviousEnd, Witness};
use crate::log::state::{Closed, Damage, DamageKind, History, State};
use std::fmt;

/// The conclusion of open about a log that it does not refuse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Numbers of the groups that are kept, in order.
    pub kept: Vec<u8>,
    /// End of the kept log.
    pub end: Pos,
    /// Everything below it was durable.
    pub watermark: Pos,
    /// First live segment.
    pub first_live: u8,
    /// Where the log continues.
    pub resume: Resume,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { kept, end, watermark, resume, .. } = self;
        write!(f, "watermark {watermark}, kept {kept:?}, end {end}, next group at {}", resume.at)
    }
}

/// Decides over the files that open sees. With `bounded` no more is read than the reach asks for.
pub fn decide(files: &[File], state: &State, case: &Case, bounded: bool) -> Result<Verdict, Refusal> {
    let cut = state.damage == Damage::Present(DamageKind::Length);
    if cut && case.rules.size_checked {
        return Err(Refusal::Length);
    }
    let closed = match state.closed {
        Closed::Damaged if case.rules.witness == Witness::DamagedRefuses => return Err(Refusal::Witness),
        Closed::End(end) if case.rules.witness != Witness::Unread => end,
        _ => Pos::NONE,
    };
    let Some(evidence) = Evidence::gather(files, closed, case, bounded)? else {
        if closed != Pos::NONE {
            return Err(Refusal::Missing(1));
        }
        return Ok(Verdict {
            kept: Vec::new(),
            end: Pos::NONE,
            watermark: Pos::NONE,
            first_live: 1,
            resume: Resume { at: Pos::new(1, 1), previous_end: Pos::NONE, mark: true },
        });
    };
    if case.rules.footer_proof != FooterProof::Nothing
        && let Some(missing) = evidence.missing_after_footer()
    {
        return Err(Refusal::Missing(missing));
    }
    let mut top = evidence.touched;
    while top > 0 {
        match chain(&evidence, top) {
            Ok(chain) => return conclude(&evidence, &chain, &state.history),
            // The first group of the segment is gone, and its link with it.
            Err(broken) => {
                let x = Pos::new(broken, 1);
                if evidence.watermark(&[], &[], top) > x {
                    return Err(Refusal::Damage(x));
                }
                if evidence.is_suspect(x) {
                    return Err(Refusal::Suspect(x));
                }
                top = evidence.touched_below(broken);
            }
        }
    }
    nothing_kept(&evidence)
}

/// The chain that ends in segment `top`, ascending, each segment with the block at which it is left; or the
/// segment whose link is missing.
fn chain(evidence: &Evidence<'_>, top: u8) -> Result<Vec<(u8, u8)>, u8> {
    let mut chain = vec![(top, evidence.case.scope.blocks)];
    let mut segment = top;
    loop {
        let link = evidence.link(segment).ok_or(segment)?;
        if link.segment() < evidence.low || link.segment() >= segment {
            chain.reverse();
            return Ok(chain);
        }
        segment = link.segment();
        chain.push((segment, link.block()));
    }
}

/// The groups from the start of the chain to the first position that is no valid group, and that position.
fn walk(evidence: &Evidence<'_>, chain: &[(u8, u8)], history: &History) -> (Vec<Group>, Pos) {
    let mut kept = Vec::new();
    let mut x = Pos::NONE;
    for (i, &(segment, limit)) in chain.iter().enumerate() {
        let last = i + 1 == chain.len();
        x = Pos::new(segment, 1);
        if let Some(footer) = trusted(evidence, chain, Pos::new(segment, limit)).filter(|_| !last) {
            kept.extend(listed(&footer, history));
            kept.push(footer);
            continue;
        }
        while x.block() < limit {
            match evidence.valid_at(x).filter(|group| x.block() + group.len <= limit) {
                Some(group) => {
                    kept.push(group);
                    x = group.end();
                }
                None => return (kept, x),
            }
        }
        if evidence.case.rules.previous_end == PreviousEnd::NoLimit {
            let void = evidence.heads(segment).iter().filter(|(group, valid)| *valid && group.at >= x);
            kept.extend(void.map(|&(group, _)| group));
        }
    }
    (kept, x)
}

/// The footer that ends at `end`, if recovery takes the segment for whole because of it.
fn trusted(evidence: &Evidence<'_>, chain: &[(u8, u8)], end: Pos) -> Option<Group> {
    let len = evidence.case.scope.footer_blocks;
    if len == 0 || end.block() <= len {
        return None;
    }
    let at = Pos::new(end.segment(), end.block() - len);
    let footer = evidence.valid_at(at).filter(|group| group.kind == Kind::Footer)?;
    let last = chain.last().map_or(0, |&(segment, _)| segment);
    match evidence.case.rules.footer_trust {
        FooterTrust::BelowWatermark if evidence.watermark(&[], chain, last) < footer.at => None,
        _ => Some(footer),
    }
}

/// The groups that a footer lists, whether they are there or not.
fn listed(footer: &Group, history: &History) -> Vec<Group> {
    let of_segment =
        |&&id: &&u8| history.at(id).segment() == footer.at.segment() && history.at(id) < footer.at;
    let group = |&id: &u8| {
        let len = history.len[usize::from(id)];
        Group { id, at: history.at(id), len, first_live: 1, kind: Kind::Data, ..*footer }
    };
    history.log.iter().filter(of_segment).map(group).collect()
}

fn conclude(evidence: &Evidence<'_>, chain: &[(u8, u8)], history: &History) -> Result<Verdict, Refusal> {
    let (mut kept, x) = walk(evidence, chain, history);
    let last = chain.last().map_or(0, |&(segment, _)| segment);
    let watermark = evidence.watermark(&kept, chain, last);
    if watermark > x {
        return Err(Refusal::Damage(x));
    }
    for at in [x, Pos::new(x.segment() + 1, 1)] {
        if evidence.is_suspect(at) {
            return Err(Refusal::Suspect(at));
        }
    }
    let of_groups = kept.iter().map(|group| group.first_live).max().unwrap_or(1);
    let first_live = match evidence.case.rules.first_live {
        FirstLive::HeadersOnly => evidence.first_live,
        _ => evidence.first_live.max(of_groups),
    };
    let lowest = chain[0].0;
    let complete = match evidence.case.rules.first_live {
        _ if kept.is_empty() => evidence.low <= first_live,
        FirstLive::MustBeInChain => chain.iter().any(|&(segment, _)| segment == first_live),
        FirstLive::LinkUnchecked => true,
        // The lowest link is null, or points below the first live segment.
        _ => evidence.link(lowest).is_some_and(|link| link.segment() < first_live),
    };
    if !complete {
        return Err(Refusal::Missing(first_live));
    }
    kept.retain(|group| group.at.segment() >= first_live);
    let Some(last) = kept.last() else {
        return Ok(Verdict {
            kept: Vec::new(),
            end: Pos::NONE,
            watermark,
            first_live,
            resume: start_over(evidence, first_live),
        });
    };
    let resume = resume_after(evidence, last);
    let kept_ids = kept.iter().map(|group| group.id).collect();
    Ok(Verdict { kept: kept_ids, end: last.end(), watermark, first_live, resume })
}

fn nothing_kept(evidence: &Evidence<'_>) -> Result<Verdict, Refusal> {
    let first_live = evidence.first_live;
    let x = Pos::new(first_live, 1);
    let watermark = evidence.watermark(&[], &[], 0);
    if watermark > x {
        return Err(Refusal::Damage(x));
    }
    if evidence.low > first_live {
        return Err(Refusal::Missing(first_live));
    }
    if evidence.is_suspect(x) {
        return Err(Refusal::Suspect(x));
    }
    let resume = start_over(evidence, first_live);
    Ok(Verdict { kept: Vec::new(), end: Pos::NONE, watermark, first_live, resume })
}
