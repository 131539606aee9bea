//! Facts that recovery knows about the files before it decides: scans, watermark, touched and used segments.

use super::refusal::Refusal;
use super::scan::{Scan, scan};
use crate::log::Case;
use crate::log::block::{Block, Body, File, Group, Kind, Pos, file};
use crate::log::rules::{BadHeader, Follows, Headers, PreviousEnd, WatermarkOf};

/// The known facts about the segments from the lowest to the highest one.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The rules and the scope.
    pub case: &'a Case,
    /// The files themselves, for the blocks that are looked at one by one.
    files: &'a [File],
    /// The scans, ascending and without a gap.
    scans: Vec<Scan>,
    /// Lowest segment without a gap below the highest.
    pub low: u8,
    /// Highest segment that a chain can start from; 0 if there is none.
    pub touched: u8,
    /// Highest segment that is not as it was prepared; 0 if there is none.
    pub used: u8,
    /// Largest first live segment of the headers.
    pub first_live: u8,
    /// The end that the last clean close wrote down.
    closed: Pos,
}

impl<'a> Evidence<'a> {
    /// Reads the files. `None` if the directory holds no log yet.
    pub fn gather(
        files: &'a [File],
        closed: Pos,
        case: &'a Case,
        bounded: bool,
    ) -> Result<Option<Evidence<'a>>, Refusal> {
        let Some(top) = top(files, case)? else { return Ok(None) };
        let mut scans = Vec::new();
        let mut number = top;
        while number > 0 {
            let Some(found) = file(files, number).and_then(|file| scan(file, case, bounded)) else { break };
            scans.push(found);
            number -= 1;
        }
        scans.reverse();
        let counts = |&(_, valid): &(Group, bool)| valid || case.rules.follows != Follows::ValidGroups;
        let with = |found: &dyn Fn(&Scan) -> bool| {
            scans.iter().filter(|scan| found(scan)).map(|scan| scan.header.sequence).max().unwrap_or(0)
        };
        let at_rotation = case.rules.headers != Headers::Prepared;
        let touched = with(&|scan| at_rotation || !scan.heads.is_empty());
        let remains = case.rules.follows == Follows::HeadsAndRemains;
        let used =
            with(&|scan| at_rotation || scan.heads.iter().any(counts) || (remains && scan.has_remains()));
        let first_live = scans.iter().map(|scan| scan.header.first_live).max().unwrap_or(1).max(1);
        Ok(Some(Evidence { case, files, scans, low: number + 1, touched, used, first_live, closed }))
    }

    /// The scan of a segment.
    pub fn scan(&self, segment: u8) -> Option<&Scan> {
        self.scans.get(usize::from(segment.checked_sub(self.low)?))
    }

    /// The heads of a segment.
    pub fn heads(&self, segment: u8) -> &[(Group, bool)] {
        self.scan(segment).map_or(&[], |scan| &scan.heads)
    }

    /// The head at a position.
    pub fn head_at(&self, at: Pos) -> Option<(Group, bool)> {
        self.heads(at.segment()).iter().copied().find(|(group, _)| group.at == at)
    }

    /// The valid group at a position.
    pub fn valid_at(&self, at: Pos) -> Option<Group> {
        self.head_at(at).filter(|&(_, valid)| valid).map(|(group, _)| group)
    }

    /// All heads, ascending.
    pub fn all_heads(&self) -> impl Iterator<Item = (Group, bool)> {
        self.scans.iter().flat_map(|scan| scan.heads.iter().copied())
    }

    /// Whether a head lies at a position or after it.
    pub fn follows(&self, end: Pos) -> bool {
        let counts = |(group, valid): (Group, bool)| {
            group.at >= end && (valid || self.case.rules.follows != Follows::ValidGroups)
        };
        self.all_heads().any(counts)
    }

    /// The highest segment with a head below a number; 0 if there is none.
    pub fn touched_below(&self, number: u8) -> u8 {
        self.all_heads().map(|(group, _)| group.at.segment()).filter(|&n| n < number).max().unwrap_or(0)
    }

    /// The end of the log before a segment, as its first group names it.
    pub fn link(&self, segment: u8) -> Option<Pos> {
        match self.case.rules.headers {
            Headers::AtRotation(..) => self.scan(segment).map(|scan| scan.header.previous_end),
            Headers::Prepared => self.head_at(Pos::new(segment, 1)).map(|(group, _)| group.previous_end),
        }
    }

    /// The position that the groups of a new segment name as the end of the log before it.
    pub fn previous_end(&self, new: u8, end: Pos) -> Pos {
        let kept = self.case.rules.previous_end != PreviousEnd::NumberBelow || new - 1 == end.segment();
        if kept { end } else { Pos::new(new - 1, 1) }
    }

    /// Everything below it was durable: the largest watermark, or the end at the last clean close.
    pub fn watermark(&self, kept: &[Group], chain: &[(u8, u8)], last: u8) -> Pos {
        let counts = |&(group, valid): &(Group, bool)| match self.case.rules.watermark_of {
            WatermarkOf::AllHeads => true,
            WatermarkOf::Prefix => kept.iter().any(|other| other.at == group.at),
            WatermarkOf::LastSegment => group.at.segment() == last,
            WatermarkOf::Chain => chain.iter().any(|&(segment, _)| segment == group.at.segment()),
            WatermarkOf::ValidGroups => valid,
        };
        let largest = self.all_heads().filter(counts).map(|(group, _)| group.watermark).max();
        largest.unwrap_or(Pos::NONE).max(self.closed)
    }

    /// A segment that a valid footer says existed, and that is missing.
    pub fn missing_after_footer(&self) -> Option<u8> {
        let footers = self.all_heads().filter(|(group, valid)| *valid && group.kind == Kind::Footer);
        let after = footers.map(|(group, _)| group.at.segment() + 1).max()?;
        file(self.files, after).is_none().then_some(after)
    }

    /// Whether the bytes at a position cannot come from a power cut: where the blocks held zeros, a torn
    /// write leaves a sector of zeros.
    pub fn is_suspect(&self, at: Pos) -> bool {
        let Some(scan) = self.scan(at.segment()).filter(|scan| scan.header.zeros) else { return false };
        if at.block() >= self.case.scope.blocks || at.block() >= scan.zeros_from {
            return false;
        }
        let block = |at: Pos| {
            file(self.files, at.segment()).map_or(Block::Zeros, |file| file.blocks[usize::from(at.block())])
        };
        match self.head_at(at) {
            Some((group, valid)) => {
                let holed = matches!(block(at), Block::Head(_, Body::Holed));
                let rest = |i: u8| matches!(block(at.plus(i)), Block::Zeros | Block::Remains);
                !valid && !holed && !(1..group.len).any(rest)
            }
            None => !matches!(block(at), Block::Zeros | Block::Remains),
        }
    }
}

/// The highest segment that has a header; `None` if the directory holds no log yet.
fn top(files: &[File], case: &Case) -> Result<Option<u8>, Refusal> {
    let Some(highest) = files.iter().map(|file| file.number).max() else { return Ok(None) };
    match case.rules.headers {
        Headers::Prepared => match file(files, highest).and_then(File::header) {
            Some(_) => Ok(Some(highest)),
            None => Err(Refusal::Header(highest)),
        },
        Headers::AtRotation(_, bad) => {
            let top = files.iter().filter(|file| file.header().is_some()).map(|file| file.number).max();
            let torn = |file: &&File| file.number > top.unwrap_or(0) && file.blocks[0] != Block::Zeros;
            match files.iter().find(torn) {
                Some(file) if bad == BadHeader::Damage => Err(Refusal::Header(file.number)),
                _ => Ok(top),
            }
        }
    }
}
