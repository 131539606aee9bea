//! `walinspect verify`: checks every byte and names every damaged range, with the entries that it hits.
//!
//! It searches the damaged ranges for intact rests. It also lists faults that do no harm: torn groups that were
//! dropped, and damage in segments that the log no longer needs.

use crate::args::Target;
use crate::damage::{OtherFault, Place, other_faults};
use crate::failure::Failure;
use crate::look::Look;
use crate::ops::named;
use crate::report::{Common, section, write_json};
use crate::tally::{Counts, RaftGroup};
use serde::Serialize;
use std::io::{self, Write};

/// Most Raft groups that are shown.
const RAFT_GROUPS_MAX: usize = 20;

#[derive(Serialize)]
struct Verify<'a> {
    #[serde(flatten)]
    common: Common,
    /// Groups outside the damaged ranges that fail their check.
    other_faults: Vec<OtherFault>,
    counts: &'a Counts,
    /// Owner of the log, if it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    /// Number of Raft groups.
    raft_groups: usize,
    /// The first of them, by number.
    raft: Vec<RaftGroup>,
}

/// Writes the findings of `look`.
pub(crate) fn show(look: &Look, target: &Target, out: &mut dyn Write) -> Result<(), Failure> {
    let damage = look.found.verdict.as_ref().err().into_iter().flatten();
    let damage = damage.map(|d| Place::searched(look, d)).collect::<Result<Vec<_>, _>>()?;
    let verify = Verify {
        common: Common::new("verify", look, damage),
        other_faults: other_faults(look),
        counts: &look.tally.counts,
        owner: look.tally.owner.as_deref(),
        raft_groups: look.tally.raft.len(),
        raft: look.tally.raft.values().take(RAFT_GROUPS_MAX).copied().collect(),
    };
    if target.json {
        write_json(out, &verify)?
    } else {
        verify.write(out)?
    }
    Ok(())
}

impl Verify<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let counts = self.counts;
        self.common.write_answer(out)?;
        self.common.write_position(out)?;
        writeln!(
            out,
            "{} groups, {} records, {} entries",
            counts.groups, counts.records, counts.entries_written
        )?;
        if let Some(owner) = self.owner {
            writeln!(out, "log of {owner}")?;
        }
        if counts.other_records > 0 {
            writeln!(out, "{} records are not the engine's", counts.other_records)?;
        }
        self.common.write_findings(out)?;
        section(out, "fails its check and does no harm by itself", &self.other_faults, OtherFault::write)?;
        section(out, "Raft groups", &self.raft, |group, out| {
            let RaftGroup { group, last_index, last_term, entries_written, .. } = group;
            writeln!(
                out,
                "  {}: last index {last_index} of term {last_term}, {entries_written} entries",
                named(*group)
            )
        })?;
        if self.raft_groups > self.raft.len() {
            writeln!(out, "  and {} more", self.raft_groups - self.raft.len())?;
        }
        Ok(())
    }
}
