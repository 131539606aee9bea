//! `walinspect report`: shows what an open would report in each mode, without opening the log.
//!
//! It takes the same verdicts as an open does, from one inspection. Nothing is written, so the report contains no time
//! for a sync or a mark. Fails only if the output cannot be written.

use crate::args::Target;
use crate::damage::Place;
use crate::failure::Failure;
use crate::look::Look;
use crate::report::{Common, section, write_json};
use seawall_tools::open_report;
use seawall_wal::inspect::{Verdict, decide_closed};
use seawall_wal::{OpenMode, RecoveryReport, UnexplainedTail, report::Timings};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

#[derive(Serialize)]
struct Modes {
    #[serde(flatten)]
    common: Common,
    /// The report of an open, by mode.
    modes: Vec<Mode>,
}

/// The report of an open in one mode.
#[derive(Serialize)]
struct Mode {
    mode: &'static str,
    /// Whether an open in this mode succeeds.
    opens: bool,
    /// Whether the opened log would take writes.
    writable: bool,
    /// The report of the open; `null` if the open is refused.
    report: Option<Value>,
    #[serde(skip)]
    damaged: Vec<Place>,
}

/// Writes the report for `look`.
pub(crate) fn show(look: &Look, target: &Target, out: &mut dyn Write) -> Result<(), Failure> {
    let damage = look.found.verdict.as_ref().err().into_iter().flatten().map(Place::new).collect();
    let modes = [OpenMode::Strict, OpenMode::Degraded, OpenMode::Salvage];
    let modes = Modes {
        common: Common::new("report", look, damage),
        modes: modes.into_iter().map(|mode| Mode::of(look, mode)).collect(),
    };
    if target.json {
        write_json(out, &modes)?
    } else {
        modes.write(out)?
    }
    Ok(())
}

impl Mode {
    fn of(look: &Look, mode: OpenMode) -> Mode {
        let found = &look.found;
        let verdict = decide_closed(
            mode,
            &found.segments,
            found.identity.block_bytes,
            UnexplainedTail::Refuse,
            found.witness.durable(),
        );
        let opens = verdict.is_ok();
        let report = verdict.ok().map(|verdict| report(look, mode, verdict));
        let damaged = report.iter().flat_map(|report| &report.damaged).map(Place::new).collect();
        let report = report.as_ref().map(open_report::report);
        Mode {
            mode: open_report::mode_name(mode),
            opens,
            writable: opens && mode != OpenMode::Salvage,
            report,
            damaged,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Mode { mode, opens, writable, damaged, .. } = self;
        match (opens, writable) {
            (false, _) => writeln!(out, "{mode}: an open refuses the log")?,
            (true, false) => writeln!(out, "{mode}: an open reads what is left, and takes no write")?,
            (true, true) => writeln!(out, "{mode}: an open takes the log")?,
        }
        section(out, "  quarantined or lost", damaged, |place, out| place.write(out))
    }
}

/// Returns the report of an open in `mode` that comes to `verdict`.
fn report(look: &Look, mode: OpenMode, verdict: Verdict) -> RecoveryReport {
    let found = &look.found;
    RecoveryReport {
        uuid: found.identity.uuid,
        first_live: verdict.first_live,
        segments: u32::try_from(verdict.kept.len()).unwrap_or(u32::MAX),
        groups: verdict.kept.iter().filter_map(|k| k.groups).map(u64::from).sum(),
        by_footer: Vec::new(),
        end: verdict.end,
        witness: found.witness,
        watermark: verdict.watermark,
        dropped: verdict.dropped,
        damaged: verdict.damaged,
        mode,
        // An inspection takes no lock.
        locked: false,
        removed: if mode == OpenMode::Salvage { Vec::new() } else { found.unfinished.clone() },
        foreign: found.foreign.clone(),
        took: Timings { scan: look.took, total: look.took, ..Timings::default() },
    }
}

impl Modes {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.common.write_answer(out)?;
        self.common.write_position(out)?;
        self.common.write_findings(out)?;
        self.modes.iter().try_for_each(|mode| mode.write(out))
    }
}
