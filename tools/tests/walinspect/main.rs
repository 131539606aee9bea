//! Tests the program `walinspect` on real logs: its exit codes, what it names, its JSON, and that it changes
//! nothing.
//!
//! [`Log::inspect`] compares content, length and modification time of all files before and after a call.

mod log;

use log::*;
use seawall::inspect::OPENRAFT_STATE_GROUPS;
use seawall::{Engine, EntryRef, WriteBatch};
use seawall_wal::{Durability, Lsn, Wal};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

#[test]
fn a_closed_log_is_sound() {
    let log = engine_log();
    log.exits(0);
    let verify = log.json("verify", &[], 0);
    assert_eq!(verify["result"], "sound");
    assert_eq!(
        (&verify["counts"]["entries_written"], &verify["counts"]["other_records"]),
        (&40.into(), &0.into())
    );
    assert_eq!(verify["raft_groups"], 2);
    let expected = serde_json::json!({"group": 7, "last_index": 20, "last_term": 3, "entries_written": 20});
    assert_eq!(verify["raft"][0], expected);
    let counts = &verify["counts"];
    let line = format!("{} groups, {} records, 40 entries", counts["groups"], counts["records"]);
    assert!(text(&log.inspect("verify", &[], 0).stdout).contains(&line));

    let summary = log.json("summary", &[], 0);
    assert_eq!(&summary["counts"], counts, "one definition");
    let segments = summary["segments"].as_array().unwrap();
    let live: Vec<_> = segments.iter().filter(|s| s["role"] == "live").collect();
    assert!(live.len() > 1 && segments.iter().any(|s| s["role"] == "spare"), "{summary}");
    assert_eq!(live.last().unwrap()["kept_end"], summary["end"]);
    let kept: u64 = live.iter().map(|s| s["groups_kept"].as_u64().unwrap()).sum();
    assert_eq!(kept, counts["groups"]);
    for segment in segments {
        assert_eq!(segment["file_bytes"], 65536, "{segment}");
    }
}

#[test]
fn whose_log_it_is_is_shown_and_is_no_group() {
    let log = engine_log();
    assert_eq!(log.json("verify", &[], 0).get("owner"), None);
    let owner = seawall::Owner { cluster: 7, node: 2, user: b"rack 4".to_vec() };
    let options = engine_options().with_owner(Some(owner));
    let (engine, _) = seawall::Engine::open(log.dir(), &options).unwrap();
    engine.close().unwrap();
    let verify = log.json("verify", &[], 0);
    assert_eq!(verify["owner"], "node 2 of cluster 7 (\"rack 4\")");
    assert_eq!(verify["raft_groups"], 2);
    assert!(text(&log.inspect("verify", &[], 0).stdout).contains("log of node 2 of cluster 7"));
}

#[test]
fn a_log_of_more_segments_than_descriptors_is_looked_at() {
    let log = Log::new();
    let wal = log.create();
    (1..=80).for_each(|fill| _ = append(&wal, fill, 40_000));
    wal.close().unwrap();
    for command in ["summary", "records", "verify", "report"] {
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_walinspect"), command])
            .arg(log.dir())
            .output()
            .unwrap();
        let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{command}: {shown}");
    }
}

#[test]
fn a_group_that_holds_a_vote_is_named_so() {
    let log = Log::new();
    let engine = Engine::create(log.dir(), &engine_options()).unwrap();
    for group in [7, OPENRAFT_STATE_GROUPS + 7] {
        let mut batch = WriteBatch::new();
        batch.append(group, &[EntryRef { index: 1, term: 1, payload: b"vote" }]);
        drop(engine.write(&mut batch).unwrap());
    }
    engine.close().unwrap();
    let verify = log.json("verify", &[], 0);
    assert_eq!((&verify["raft"][0]["vote_of"], &verify["raft"][1]["vote_of"]), (&Value::Null, &7.into()));
    for command in ["verify", "records"] {
        let text = text(&log.inspect(command, &[], 0).stdout);
        let name = "group 9223372036854775815 (openraft: the vote of group 7)";
        assert!(text.contains(name) && text.contains("group 7"), "{text}");
    }
}

#[test]
fn records_are_shown_with_what_the_engine_put_in_them() {
    let log = engine_log_with_small_state();
    let all = log.json("records", &[], 0);
    let all = all["records"].as_array().unwrap();
    let kinds: BTreeSet<_> = all.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["footer", "mark"]));
    let record = record_of(&log, 7, 5);
    assert_eq!(
        (&record["class"], &record["parts"], &record["state"]),
        (&"sync".into(), &1.into(), &"kept".into())
    );
    let expected = serde_json::json!([
        {"group": 7, "kind": "entries", "first": 5, "last": 5, "term": 3, "truncates": false, "lengths": [1000]},
        {"group": 7, "kind": "hard_state", "term": 3, "vote": 1, "commit": 4},
    ]);
    assert_eq!(record["ops"], expected);

    let small = all.iter().rfind(|line| !line["ops"].is_null()).unwrap();
    let expected = serde_json::json!([
        {"group": 8, "kind": "snapshot", "index": 9, "term": 3, "digest": "0000000000abcdef"},
        {"group": 8, "kind": "put_meta", "key": "a\\n", "lengths": [5]},
        {"group": 8, "kind": "remove_meta", "key": "b"},
    ]);
    assert_eq!(small["ops"], expected);
    let line = "group 8 snapshot index 9 term 3 digest 0000000000abcdef; group 8 put_meta key a\\n (5 bytes)";
    let from = small["lsn"].as_str().unwrap();
    assert!(text(&log.inspect("records", &["--from", from], 0).stdout).contains(line));

    // Lists records from a position, with and without its leading zeros, up to a limit, and of one segment.
    let at = record["lsn"].as_str().unwrap();
    let first = |more: &[&str]| log.json("records", more, 0)["records"].as_array().unwrap().clone();
    assert_eq!(first(&["--from", at, "--limit", "1"]), std::slice::from_ref(&record));
    let short = format!("{:x}:{:x}", lsn(&record["lsn"]).segment(), lsn(&record["lsn"]).offset());
    assert_eq!(first(&["--from", &short]), all[all.iter().position(|r| r["lsn"] == at).unwrap()..]);
    let second = first(&["--segment", "2"]);
    assert!(!second.is_empty() && second.iter().all(|r| lsn(&r["lsn"]).segment() == 2));
    assert_eq!(second, first(&["--segment", "00000002.wal"]));
    assert!(first(&["--limit", "0"]).is_empty());
    let line = "group 7 entries 5..=5 term 3 (1000 bytes); group 7 hard_state term 3 vote 1 commit 4";
    assert!(text(&log.inspect("records", &["--from", at], 0).stdout).contains(line));
    assert!(text(&log.inspect("records", &["--segment", "99"], 1).stderr).contains("no segment 99"));
}

#[test]
fn a_killed_log_is_sound_or_torn() {
    let log = Log::new();
    let wal = log.create();
    append(&wal, 1, 100);
    drop(wal.append(&batch(2, 100), Durability::Lazy).unwrap());
    drop(wal);
    let code = log.inspect_any("verify");
    assert!([0, 3].contains(&code), "{code}");
    log.exits(code);
}

/// Returns a log whose last write group was not known to be durable when the process died, and the range of
/// that group.
fn killed() -> (Log, Lsn, Lsn) {
    let log = Log::new();
    let wal = log.create();
    for fill in 1..5 {
        append(&wal, fill, 100);
    }
    let at = append(&wal, 9, 9000);
    drop(wal);
    log.exits(0);
    let from = Lsn::new(at.segment(), at.offset() & !4095);
    let end = lsn(&log.json("summary", &[], 0)["end"]);
    assert_eq!(end, ahead(from, 3 * 4096));
    (log, from, end)
}

#[test]
fn a_torn_tail_is_what_the_next_open_drops() {
    let (log, from, end) = killed();
    let middle = ahead(from, 6 * 1024);
    log.write(middle, &vec![0; usize::try_from(end.as_u64() - middle.as_u64()).unwrap()]);
    log.exits(3);
    let verify = log.json("verify", &[], 3);
    assert_eq!((&verify["result"], &verify["dropped"][0]["why"]), (&"torn_tail".into(), &"torn".into()));
    let foretold: Vec<_> = ranges(&verify["dropped"]);
    assert_eq!(foretold, [(from, end)]);
    let all = log.json("records", &["--all"], 3);
    let torn = all["records"].as_array().unwrap().iter().find(|r| r["state"] == "dropped").unwrap();
    assert!(lsn(&torn["lsn"]) == from && torn["fault"].is_string(), "{torn}");

    let (wal, report) = Wal::open(log.dir(), &options()).unwrap();
    assert_eq!(report.dropped.iter().map(|d| (d.from, d.to)).collect::<Vec<_>>(), foretold);
    assert_eq!(report.end, lsn(&verify["end"]));
    append(&wal, 10, 100);
    wal.close().unwrap();

    // Bytes that an earlier open dropped are void, and no longer a torn tail.
    log.exits(0);
    let after = log.json("verify", &[], 0);
    assert_eq!((ranges(&after["void"]), &after["dropped"]), (foretold, &Value::from(Vec::<Value>::new())));
    assert_eq!(after["other_faults"][0]["state"], "void");
    assert_eq!(after["counts"]["records"], 5, "the torn record is not counted: {after}");
}

#[test]
fn a_torn_tail_without_its_header_is_named_too() {
    let (log, from, end) = killed();
    log.write(from, &[0; 512]);
    log.exits(3);
    let verify = log.json("verify", &[], 3);
    assert_eq!(
        (&verify["dropped"], ranges(&verify["remains"])),
        (&Value::from(Vec::<Value>::new()), vec![(from, end)])
    );
    let (wal, report) = Wal::open(log.dir(), &options()).unwrap();
    assert_eq!((report.end, report.dropped.len()), (from, 0));
    wal.close().unwrap();
    log.exits(0);
}

#[test]
fn bytes_that_no_crash_can_have_left_are_damage() {
    let (log, from, _) = killed();
    log.flip(ahead(from, 2000));
    log.exits(2);
    let damage = &log.json("verify", &[], 2)["damage"][0];
    assert_eq!((&damage["kind"], lsn(&damage["from"])), (&"suspect".into(), from));
    assert!(Wal::open(log.dir(), &options()).is_err());
}

fn ranges(list: &Value) -> Vec<(Lsn, Lsn)> {
    list.as_array().unwrap().iter().map(|range| (lsn(&range["from"]), lsn(&range["to"]))).collect()
}

#[test]
fn a_flipped_bit_in_a_payload_names_its_entry() {
    let log = engine_log();
    let record = record_of(&log, 7, 3);
    log.flip(ahead(lsn(&record["lsn"]), record["length"].as_u64().unwrap() - 500));
    log.exits(2);
    let verify = log.json("verify", &[], 2);
    let [damage] = verify["damage"].as_array().unwrap().as_slice() else { panic!("{verify}") };
    let from = lsn(&record["group_lsn"]);
    assert_eq!((lsn(&damage["from"]), lsn(&damage["to"])), (from, ahead(from, 4096)));
    assert_eq!((&damage["file"], &damage["offset"]), (&"00000001.wal".into(), &from.offset().into()));
    assert_eq!((&damage["bytes"], &damage["kind"]), (&4096.into(), &"group_record".into()));
    let remnant = &damage["remnants"][0];
    assert_eq!(remnant["damaged_entries"], serde_json::json!([{"group": 7, "index": 3, "term": 3}]));
    assert_eq!((&remnant["ops"], &damage["complete"]), (&record["ops"], &true.into()));
    let shown = text(&log.inspect("verify", &[], 2).stdout);
    assert!(
        shown.contains("00000001.wal at byte 0x") && shown.contains("group 7: entry 3 of term 3 is damaged"),
        "{shown}"
    );
    // Without this, open would accept the segment by its footer.
    let mut options = engine_options();
    options.log.verify_on_open = true;
    let refusal = Engine::open(log.dir(), &options).err().unwrap().to_string();
    assert!(refusal.contains(damage["reason"].as_str().unwrap()), "open says the same: {refusal}");
}

#[test]
fn a_report_says_what_each_mode_would() {
    let log = engine_log();
    let modes = |report: &Value| -> Vec<(bool, bool, usize)> {
        let of = |m: &Value| {
            let damage = m["report"]["damage"].as_array().map_or(0, Vec::len);
            (m["opens"] == true, m["writable"] == true, damage)
        };
        report["modes"].as_array().unwrap().iter().map(of).collect()
    };
    let report = log.json("report", &[], 0);
    assert_eq!(modes(&report), [(true, true, 0), (true, true, 0), (true, false, 0)]);
    assert_eq!(report["modes"][0]["report"]["end"], report["end"]);
    let record = record_of(&log, 7, 3);
    log.flip(ahead(lsn(&record["lsn"]), record["length"].as_u64().unwrap() - 500));
    let report = log.json("report", &[], 2);
    assert_eq!(modes(&report), [(false, false, 0), (true, true, 1), (true, false, 1)]);
    assert_eq!(report["modes"][1]["report"]["damage"][0]["kind"], "group_record");
    let shown = text(&log.inspect("report", &[], 2).stdout);
    assert!(
        shown.contains("strict: an open refuses") && shown.contains("degraded: an open takes"),
        "{shown}"
    );
    fs::remove_file(log.file(2)).unwrap();
    let report = log.json("report", &[], 2);
    assert_eq!(modes(&report)[..2], [(false, false, 0), (false, false, 0)]);
    assert!(modes(&report)[2].0 && modes(&report)[2].2 > 1, "{report}");
}

#[test]
fn a_flipped_bit_in_a_header_names_what_is_missing_between() {
    let log = engine_log();
    let record = record_of(&log, 8, 4);
    for at in ["lsn", "group_lsn"] {
        log.flip(ahead(lsn(&record[at]), 9));
        let verify = log.json("verify", &[], 2);
        let damage = &verify["damage"][0];
        assert_eq!(lsn(&damage["from"]), lsn(&record["group_lsn"]));
        assert_eq!(damage["missing"], serde_json::json!([{"group": 8, "first": 4, "last": 4}]), "{damage}");
        assert!(text(&log.inspect("verify", &[], 2).stdout).contains("group 8: entries 4..=4 are missing"));
    }
    // Records that pass their checks are listed all the same.
    let rest = log.json("records", &["--group", "8"], 2);
    assert_eq!(rest["records"].as_array().unwrap().len(), 19);
    assert_eq!(rest["records"][0]["state"], "unjudged");
}

#[test]
fn a_missing_segment_a_short_one_and_a_bad_header_are_damage() {
    let log = engine_log();
    let content = fs::read(log.file(2)).unwrap();
    fs::remove_file(log.file(2)).unwrap();
    log.exits(2);
    let damage = log.json("verify", &[], 2)["damage"].clone();
    assert_eq!((&damage[0]["file"], &damage[0]["kind"]), (&"00000002.wal".into(), &"missing".into()));
    assert!(!damage[0]["missing"].as_array().unwrap().is_empty(), "{damage}");
    for bad in [&content[..content.len() - 4096], &[b"x", &content[1..]].concat()] {
        fs::write(log.file(2), bad).unwrap();
        log.exits(2);
        let damage = log.json("verify", &[], 2)["damage"].clone();
        assert_eq!((&damage[0]["file"], &damage[0]["kind"]), (&"00000002.wal".into(), &"header".into()));
    }
    fs::write(log.file(2), content).unwrap();
    log.exits(0);
}

#[test]
fn a_log_without_its_identity_or_its_segments_is_damage() {
    let log = engine_log();
    let identity = fs::read(log.dir().join("IDENTITY")).unwrap();
    fs::write(log.dir().join("IDENTITY"), &identity[1..]).unwrap();
    assert!(text(&log.inspect("verify", &[], 2).stderr).contains("IDENTITY: damaged"));
    fs::remove_file(log.dir().join("IDENTITY")).unwrap();
    assert!(text(&log.inspect("summary", &[], 2).stderr).contains("segments without IDENTITY"));
    fs::write(log.dir().join("IDENTITY"), identity).unwrap();
    for (path, _) in log.files() {
        if path.extension().is_some_and(|e| e == "wal") {
            fs::remove_file(path).unwrap();
        }
    }
    log.exits(2);
}

#[test]
fn what_is_no_log_or_no_sense_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    let nowhere = dir.path().join("nowhere");
    for command in ["summary", "records", "verify", "report"] {
        for (path, message) in
            [(dir.path(), "no log here"), (&file, "not a directory"), (&nowhere, "no such directory")]
        {
            let output = run(&[command, path.to_str().unwrap(), "--json"]);
            assert_eq!(output.status.code(), Some(1));
            assert!(output.stdout.is_empty() && text(&output.stderr).contains(message), "{output:?}");
        }
    }
    let here = dir.path().to_str().unwrap();
    for args in [
        &[][..],
        &["walk", here],
        &["verify"],
        &["verify", here, "--fast"],
        &["records", here, "--from", "12"],
        &["records", here, "--segment", "0"],
        &["records", here, "--limit", "-1"],
    ] {
        assert_eq!(run(args).status.code(), Some(1), "{args:?}");
    }
    let help = run(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("torn tail"));
}

#[test]
fn other_files_are_shown_and_do_no_harm() {
    let log = engine_log();
    fs::write(log.dir().join("notes.txt"), "text").unwrap();
    fs::write(log.dir().join("000000ff.new"), "half").unwrap();
    let summary = log.json("summary", &[], 0);
    assert_eq!(summary["foreign"][0], "notes.txt");
    // There may also be a spare that was not finished when the log was closed.
    let unfinished = summary["unfinished"].as_array().unwrap();
    assert!(unfinished.contains(&"000000ff.new".into()), "{unfinished:?}");
}

#[test]
fn the_file_of_a_clean_close_is_shown() {
    let log = engine_log();
    let path = log.dir().join("CLOSED");
    let summary = log.json("summary", &[], 0);
    assert_eq!(summary["closed_at"], summary["end"]);
    assert_eq!((&summary["closed_at"], &summary["closed_fault"]), (&summary["watermark"], &Value::Null));
    let mut bytes = fs::read(&path).unwrap();
    bytes[32] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let verify = log.json("verify", &[], 0);
    assert_eq!(verify["closed_at"], Value::Null);
    assert!(verify["closed_fault"].as_str().unwrap().contains("checksum"), "{verify}");
    assert!(text(&log.inspect("summary", &[], 0).stdout).contains("CLOSED is not used"));
    for mode in log.json("report", &[], 0)["modes"].as_array().unwrap() {
        assert_eq!(mode["report"]["closed_fault"], verify["closed_fault"], "{mode}");
    }
    fs::remove_file(path).unwrap();
    let summary = log.json("summary", &[], 0);
    assert_eq!((&summary["closed_at"], &summary["closed_fault"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_log_in_use_is_never_taken_for_damaged() {
    let log = Log::new();
    let wal = log.create();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut fill = 0;
            while !done.load(Ordering::Relaxed) {
                fill = (fill + 1) % 100;
                append(&wal, fill, 3000 * usize::from(fill % 7));
                if fill == 50 {
                    wal.release(wal.active_segment().saturating_sub(3).max(1)).unwrap();
                }
            }
        });
        let codes: BTreeSet<i32> = (0..6).map(|_| log.inspect_any("verify")).collect();
        done.store(true, Ordering::Relaxed);
        assert!(codes.is_subset(&BTreeSet::from([0, 3])), "{codes:?}");
    });
}

#[test]
fn every_field_is_documented() {
    fn fields(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                found.insert(name.clone());
                fields(value, found);
            }),
            Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
            _ => {}
        }
    }
    let readme = include_str!("../../README.md");
    let documented = |name: &String| readme.contains(&format!("`{name}`"));
    let mut found = BTreeSet::new();
    let log = engine_log_with_small_state();
    let collect = |code: i32, found: &mut BTreeSet<String>| {
        for command in ["summary", "records", "verify", "report"] {
            fields(&log.json(command, &[], code), found);
        }
    };
    collect(0, &mut found);
    let record = record_of(&log, 7, 3);
    log.flip(ahead(lsn(&record["lsn"]), record["length"].as_u64().unwrap() - 1));
    collect(2, &mut found);
    let (torn, from, _) = killed();
    torn.write(ahead(from, 4096), &[0; 8192]);
    fields(&torn.json("verify", &[], 3), &mut found);
    let missing: Vec<_> = found.iter().filter(|name| !documented(name)).collect();
    assert!(found.len() > 60 && missing.is_empty(), "{} fields, not documented: {missing:?}", found.len());
}
