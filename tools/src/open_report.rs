//! Formats the report of an open, and the damage that a refusal names, as JSON.
//!
//! Field names are an interface, listed in `tools/README.md`: fields are only added. Positions are strings in the
//! printed form; durations are whole microseconds.

use seawall_wal::inspect::{DropReason, Dropped, GroupFault, file_name};
use seawall_wal::{
    Error, Lsn, OpenMode, RecoveryReport,
    report::{Damage, DamageKind, Witness},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Name of a mode: `strict`, `degraded` or `salvage`.
pub fn mode_name(mode: OpenMode) -> &'static str {
    match mode {
        OpenMode::Strict => "strict",
        OpenMode::Degraded => "degraded",
        OpenMode::Salvage => "salvage",
        _ => "unknown",
    }
}

/// Name of a kind of damage: `no_group`, `group_record`, `group_padding`, `group_count`, `group_unchecked`, `header`,
/// `missing` or `suspect`.
pub fn kind_name(what: DamageKind) -> &'static str {
    match what {
        DamageKind::NoGroup => "no_group",
        DamageKind::Group(GroupFault::Record(..)) => "group_record",
        DamageKind::Group(GroupFault::Padding(_)) => "group_padding",
        DamageKind::Group(GroupFault::Count) => "group_count",
        DamageKind::Group(GroupFault::Unchecked) => "group_unchecked",
        DamageKind::Header(_) => "header",
        DamageKind::Missing => "missing",
        DamageKind::Suspect => "suspect",
    }
}

/// Describes why a group fails its check. It does not state whether the group was acknowledged.
pub fn fault_text(fault: GroupFault) -> String {
    match fault {
        GroupFault::Record(at, fault) => {
            format!("record at byte {at} of the group fails its check ({fault:?})")
        }
        GroupFault::Padding(at) => format!("byte {at} of the group is padding and not zero"),
        GroupFault::Count => "the group holds other records than its header says".to_owned(),
        GroupFault::Unchecked => {
            "the group claims bytes that too many other groups claim, and was not checked".to_owned()
        }
    }
}

/// The JSON value of an open's report.
pub fn report(report: &RecoveryReport) -> Value {
    let void = |d: &&Dropped| d.why == DropReason::Void && d.from < report.end;
    let list = |wanted: bool| -> Vec<Value> {
        report.dropped.iter().filter(|d| void(d) == wanted).map(dropped).collect()
    };
    json!({
        "mode": mode_name(report.mode),
        "locked": report.locked,
        "uuid": report.uuid.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        "first_live": report.first_live,
        "segments": report.segments,
        "groups": report.groups,
        "end": (!report.end.is_zero()).then(|| report.end.to_string()),
        "watermark": report.watermark.to_string(),
        "closed_at": closed_at(&report.witness),
        "closed_fault": closed_fault(&report.witness),
        "dropped": list(false),
        "void": list(true),
        "damage": damage(&report.damaged),
        "removed": report.removed,
        "foreign": report.foreign,
        "took": {
            "sync_us": micros(report.took.sync),
            "scan_us": micros(report.took.scan),
            "total_us": micros(report.took.total),
        },
    })
}

/// Position where the log ended at its last clean close; `None` if there is no record of it.
pub fn closed_at(witness: &Witness) -> Option<String> {
    match witness {
        Witness::End(end) => Some(end.to_string()),
        Witness::Absent | Witness::Damaged(_) => None,
    }
}

/// Why the file of that close is not used; `None` if it is used, or if there is none.
pub fn closed_fault(witness: &Witness) -> Option<String> {
    match witness {
        Witness::Damaged(fault) => Some(fault.to_string()),
        Witness::Absent | Witness::End(_) => None,
    }
}

/// Every damaged range that `error` names, also if the error stopped the log. An empty list if it names none.
pub fn refusal(error: &Error) -> Value {
    match error {
        Error::Corrupt { damage: places, .. } => damage(places),
        Error::Latched { cause } => refusal(cause),
        _ => damage(&[]),
    }
}

/// The JSON value of damaged ranges.
pub fn damage(places: &[Damage]) -> Value {
    let place = |d: &Damage| {
        let mut value = range(d.from, d.to);
        value["kind"] = kind_name(d.what).into();
        value["reason"] = d.what.to_string().into();
        value
    };
    places.iter().map(place).collect()
}

fn dropped(d: &Dropped) -> Value {
    let mut value = range(d.from, d.to);
    value["why"] = match d.why {
        DropReason::Torn => "torn",
        DropReason::BehindTorn => "after_torn",
        DropReason::Void => "void",
        DropReason::Suspect => "suspect",
    }
    .into();
    value
}

/// A range of one segment or of whole segments, whose contents are unknown.
///
fn range(from: Lsn, to: Lsn) -> Value {
    let mut value = json!({
        "file": file_name(from.segment()),
        "offset": from.offset(),
        "from": from.to_string(),
        "to": to.to_string(),
    });
    if from.segment() == to.segment() && to.offset() != u32::MAX {
        value["bytes"] = to.offset().saturating_sub(from.offset()).into();
    }
    value
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_place_however_many() {
        let place = |n| Damage { from: Lsn::new(n, 4096), to: Lsn::new(n, 8192), what: DamageKind::NoGroup };
        let all: Vec<Damage> = (1..=5000).map(place).collect();
        let error = Error::Corrupt { path: "p".into(), damage: all.into() };
        assert!(error.to_string().len() < 2000 && error.to_string().contains("4992 more"));
        let named = refusal(&error);
        assert_eq!(named.as_array().map(Vec::len), Some(5000));
        assert_eq!(
            named[4999],
            json!({"file": "00001388.wal", "offset": 4096, "from": "00001388:00001000", "to": "00001388:00002000",
                "bytes": 4096, "kind": "no_group", "reason": "acknowledged bytes hold no group"})
        );
        assert_eq!(refusal(&Error::ReadOnly), json!([]));
    }

    #[test]
    fn a_real_report_is_shown_in_full() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = seawall_wal::Options::default().with_segment_bytes(64 << 10);
        let log = dir.path().join("log");
        seawall_wal::Wal::create(&log, &options).expect("made").close().expect("closed");
        let (wal, found) = seawall_wal::Wal::open(&log, &options).expect("whole");
        wal.close().expect("closed");
        let shown = report(&found);
        assert_eq!((&shown["mode"], &shown["locked"]), (&"strict".into(), &true.into()));
        assert_eq!((&shown["damage"], &shown["dropped"]), (&json!([]), &json!([])));
        assert!(shown["took"]["total_us"].as_u64() >= shown["took"]["scan_us"].as_u64());
    }
}
