//! Reads a segment file and states what is in it. Decides nothing.

use crate::log::Case;
use crate::log::block::{Block, File, Group, Header, Kind};
use crate::log::rules::Reading;

/// The content of a file, as far as it was read.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Its header.
    pub header: Header,
    /// Its heads in order, and whether each group is valid.
    pub heads: Vec<(Group, bool)>,
    /// From this block on it holds zeros.
    pub zeros_from: u8,
}

impl Scan {
    /// Whether remains or heads lie where the blocks held zeros.
    pub fn has_remains(&self) -> bool {
        self.header.zeros && self.zeros_from > 1
    }
}

/// Reads a file; `None` if its header is invalid. With `bounded` the reading stops where no group can follow.
pub fn scan(file: &File, case: &Case, bounded: bool) -> Option<Scan> {
    let header = file.header()?;
    let mut scan = Scan { header, heads: Vec::new(), zeros_from: 1 };
    let bounded = bounded && header.zeros && case.scope.reach > 0;
    let zeros = match case.rules.reading {
        Reading::ReachOnce => case.scope.reach + 1,
        Reading::TwiceTheReach | Reading::AnnouncementNotHeeded => 2 * case.scope.reach + 1,
    };
    let (mut at, mut end, mut announced) = (1, 1, false);
    while at < case.scope.blocks {
        if bounded && !announced && scan.zeros_from <= end && at >= end + zeros {
            break;
        }
        if let Some((group, valid)) = file.head_at(at, case) {
            end = end.max(at + group.len);
            announced =
                group.kind == Kind::Announcement && case.rules.reading != Reading::AnnouncementNotHeeded;
            at += if valid { group.len } else { 1 };
            scan.zeros_from = at;
            scan.heads.push((group, valid));
        } else {
            at += 1;
            if file.blocks[usize::from(at - 1)] != Block::Zeros {
                scan.zeros_from = at;
            }
        }
    }
    Some(scan)
}
