//! Checks the other modes in every crash state with one rotten block: they serve only what was written at
//! that place, and list every acknowledged group that is lost.

use super::trace::{BLOCK, Ghost, Group, Image, env, options};
use seawall_wal::inspect::{DropReason, GroupKind, SegmentScan, Verdict, decide, decide_as};
use seawall_wal::{Durability, Error, Lsn, OpenMode, RecordBuilder, UnexplainedTail, Wal, report::Damage};
use std::collections::BTreeSet;

/// The groups with records that readers see.
fn served(scans: &[SegmentScan], verdict: &Verdict) -> Vec<Group> {
    let quarantined = |lsn: Lsn| verdict.damaged.iter().any(|d| d.from <= lsn && lsn < d.to);
    let mut served = Vec::new();
    for part in &verdict.kept {
        for head in scans.iter().filter(|f| f.sequence == part.segment).flat_map(|f| &f.heads) {
            let lsn = Lsn::new(part.segment, head.offset);
            if head.offset < part.end && head.kind == GroupKind::Data && !quarantined(lsn) {
                assert!(head.fault.is_none(), "{lsn} fails its check and is served");
                served.push(Group { lsn, records: head.record_count });
            }
        }
    }
    served
}

/// Checks the verdict of `mode` on a log that strict mode refuses against what was written. Returns the
/// verdict if the log opens.
fn check_verdict(mode: OpenMode, scans: &[SegmentScan], ghost: &Ghost, how: &str) -> Option<Verdict> {
    let block = u32::try_from(BLOCK).unwrap();
    let verdict = decide_as(mode, scans, block, UnexplainedTail::Refuse).ok()?;
    let what = || format!("{how}, {mode:?}: {verdict:?} of {ghost:?}");
    let served = served(scans, &verdict);
    assert!(served.is_sorted(), "{}", what());
    // The first group of the next segment in use says which groups a recovery dropped. If the header of that
    // group or of that segment is lost, salvage mode, and no other mode, shows the dropped groups. They were
    // written there.
    let told = |group: &Group| {
        let link = |d: &Damage| d.from.segment() > group.lsn.segment() && d.from.offset() <= block;
        mode != OpenMode::Salvage || !verdict.damaged.iter().any(link)
    };
    let unknown = |group: &&Group| !ghost.log.contains(group) && told(group);
    assert_eq!(served.iter().find(unknown), None, "not of the log: {}", what());
    let listed = |lsn: Lsn| {
        let lost =
            verdict.dropped.iter().filter(|_| verdict.next.read_only).any(|d| d.from <= lsn && lsn < d.to);
        lost || verdict.damaged.iter().any(|d| d.from <= lsn && lsn < d.to)
    };
    for group in &ghost.log[..ghost.acked] {
        assert!(served.contains(group) || listed(group.lsn), "{group:?} is lost: {}", what());
    }
    if !verdict.next.read_only {
        let inside = ghost.log.iter().filter(|group| group.lsn < verdict.end);
        assert!(inside.into_iter().all(|g| served.contains(g) || listed(g.lsn)), "{}", what());
        assert!(verdict.watermark <= verdict.end && verdict.next.at >= verdict.end, "{}", what());
        assert!(
            verdict.dropped.iter().all(|d| d.from >= verdict.end || d.why == DropReason::Void),
            "{}",
            what()
        );
    }
    Some(verdict)
}

/// Checks the other modes on a log in which one block rotted. Returns the outcome of degraded mode, or `None`
/// if strict mode opens the log.
pub fn rotten(
    image: &Image,
    scans: &[SegmentScan],
    ghost: &Ghost,
    how: &str,
    really: bool,
) -> Option<&'static str> {
    let block = u32::try_from(BLOCK).unwrap();
    if let Ok(strict) = decide(scans, block, UnexplainedTail::Refuse) {
        for mode in [OpenMode::Degraded, OpenMode::Salvage] {
            let verdict = decide_as(mode, scans, block, UnexplainedTail::Refuse).expect("as strict mode");
            assert_eq!(verdict, strict);
        }
        return None;
    }
    let salvage = check_verdict(OpenMode::Salvage, scans, ghost, how);
    let heads = || scans.iter().flat_map(|f| f.heads.iter().map(|h| (f.sequence, h)));
    let known = heads().map(|(_, h)| h.watermark).max();
    let left = || heads().any(|(n, h)| h.fault.is_none() && Some(Lsn::new(n, h.end)) <= known);
    assert!(salvage.is_some() || !left(), "{how}: an acknowledged group is left");
    let degraded = check_verdict(OpenMode::Degraded, scans, ghost, how);
    if really {
        if let Some(verdict) = &salvage {
            open_salvage(image, verdict, &served(scans, verdict));
        }
        if let Some(verdict) = &degraded {
            open_degraded(image, verdict, &served(scans, verdict));
        }
    }
    Some(if degraded.is_some() { "degraded: quarantined" } else { "degraded: refused" })
}

/// The positions of the groups whose records are read, and the damaged ranges that errors name.
fn read(wal: &Wal) -> (BTreeSet<Lsn>, Vec<Damage>) {
    let (mut groups, mut places) = (BTreeSet::new(), Vec::new());
    for record in wal.records(Lsn::ZERO) {
        match record {
            // The first record of a group, which has a part, shows where the group begins.
            Ok(record) if record.part_count() == 1 => {
                assert!(
                    record
                        .parts()
                        .all(|(_, part)| [0, 0xA5].iter().any(|byte| part.iter().all(|b| b == byte)))
                );
                groups.insert(Lsn::new(record.lsn().segment(), record.lsn().offset() - 64));
            }
            Ok(_) => {}
            Err(Error::Corrupt { damage, .. }) => places.extend(damage.iter().copied()),
            Err(error) => panic!("{error}"),
        }
    }
    (groups, places)
}

fn open_salvage(image: &Image, verdict: &Verdict, served: &[Group]) {
    let disk = image.disk(0);
    let (wal, report) =
        Wal::open_in(env(&disk, 5), &options().with_mode(OpenMode::Salvage)).expect("as decided");
    assert_eq!(report.damaged, verdict.damaged);
    let (groups, places) = read(&wal);
    assert_eq!((groups, places), (served.iter().map(|g| g.lsn).collect(), verdict.damaged.clone()));
    assert!(matches!(wal.append(&RecordBuilder::new(), Durability::Sync), Err(Error::ReadOnly)));
    drop(wal);
    assert_eq!(disk.operations(), 0, "salvage changed something");
}

fn open_degraded(image: &Image, verdict: &Verdict, served: &[Group]) {
    let (disk, mut before): (_, BTreeSet<Lsn>) = (image.disk(0), served.iter().map(|g| g.lsn).collect());
    for seed in 5..8 {
        let (wal, report) =
            Wal::open_in(env(&disk, seed), &options().with_mode(OpenMode::Degraded)).expect("as decided");
        let from = |list: &[Damage]| list.iter().map(|d| (d.from, d.to)).collect::<Vec<_>>();
        assert_eq!(from(&report.damaged), from(&verdict.damaged));
        assert_eq!(read(&wal), (before.clone(), report.damaged));
        let mut batch = RecordBuilder::new();
        batch.push_part(&[0xA5; 3000]);
        let ticket = wal.append(&batch, Durability::Sync).expect("room");
        ticket.wait().expect("durable");
        before.insert(Lsn::new(ticket.lsn().segment(), ticket.lsn().offset() & !4095));
        drop(wal);
        disk.crash();
        let strict = |verify_on_open| {
            Wal::open_in(env(&disk.fork(1), 9), &options().with_verify_on_open(verify_on_open))
        };
        assert!(matches!(strict(true), Err(Error::Corrupt { .. })), "strict mode opens");
        match strict(false) {
            // Such an open does not read everything, and what it read is whole.
            Ok((_, report)) => {
                let unread = |d: &Damage| report.by_footer.contains(&d.from.segment());
                assert!(verdict.damaged.iter().all(unread), "strict mode opens");
            }
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
        }
    }
}
