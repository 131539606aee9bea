//! Provides logs for the tests, and runs `walinspect` on them.

use seawall::{Engine, EntryRef, HardState, SnapshotMarker, WriteBatch};
use seawall_wal::{Durability, Lsn, Options, RecordBuilder, Wal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;
use tempfile::TempDir;

/// Returns options with small segments, and with no mark while a test runs.
pub fn options() -> Options {
    Options::default().with_segment_bytes(64 << 10).with_idle_ms(60_000)
}

pub fn engine_options() -> seawall::Options {
    seawall::Options::default().with_log(options())
}

pub fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_walinspect")).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

type Files = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

pub struct Log(TempDir);

impl Log {
    pub fn new() -> Log {
        Log(TempDir::new().unwrap())
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn create(&self) -> Wal {
        Wal::create(self.dir(), &options()).unwrap()
    }

    pub fn files(&self) -> Files {
        let names = fs::read_dir(self.dir()).unwrap().map(|name| name.unwrap().path());
        names
            .map(|path| {
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                let content = fs::read(&path).unwrap();
                (path, (content, modified))
            })
            .collect()
    }

    /// Runs the tool on this log, and checks that it changed nothing.
    pub fn inspect(&self, command: &str, more: &[&str], code: i32) -> Output {
        let before = self.files();
        let args = [&[command, self.dir().to_str().unwrap()], more].concat();
        let output = run(&args);
        let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {shown}");
        assert!(before == self.files(), "{args:?} changed something");
        output
    }

    pub fn json(&self, command: &str, more: &[&str], code: i32) -> Value {
        let output = self.inspect(command, &[&["--json"], more].concat(), code);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["exit_code"], &json["command"]), (&Value::from(code), &Value::from(command)));
        json
    }

    /// Checks that all commands end with this exit code.
    pub fn exits(&self, code: i32) {
        for command in ["summary", "records", "verify", "report"] {
            self.inspect(command, &[], code);
            self.json(command, &[], code);
        }
    }

    pub fn file(&self, segment: u32) -> PathBuf {
        self.dir().join(format!("{segment:08x}.wal"))
    }

    pub fn write(&self, at: Lsn, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(self.file(at.segment())).unwrap();
        file.write_all_at(bytes, u64::from(at.offset())).unwrap();
    }

    pub fn flip(&self, at: Lsn) {
        let file = fs::File::open(self.file(at.segment())).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, u64::from(at.offset())).unwrap();
        self.write(at, &[byte[0] ^ 4]);
    }
}

pub fn lsn(value: &Value) -> Lsn {
    let (segment, offset) = value.as_str().unwrap().split_once(':').unwrap();
    Lsn::new(u32::from_str_radix(segment, 16).unwrap(), u32::from_str_radix(offset, 16).unwrap())
}

pub fn ahead(at: Lsn, bytes: u64) -> Lsn {
    Lsn::from_u64(at.as_u64() + bytes)
}

pub fn batch(fill: u8, bytes: usize) -> RecordBuilder {
    let mut batch = RecordBuilder::new();
    batch.meta().push(fill);
    batch.push_part(&vec![fill; bytes]);
    batch
}

pub fn append(wal: &Wal, fill: u8, bytes: usize) -> Lsn {
    let ticket = wal.append(&batch(fill, bytes), Durability::Sync).unwrap();
    ticket.wait().unwrap();
    ticket.lsn()
}

/// Appends entry `index` of term 3 to `group`, together with a hard state.
pub fn write(engine: &Engine, group: u64, index: u64, bytes: usize) {
    let payload = vec![0xa5; bytes];
    let mut batch = WriteBatch::new();
    batch
        .append(group, &[EntryRef { index, term: 3, payload: &payload }])
        .hard_state(group, HardState { term: 3, vote: 1, commit: index - 1 });
    engine.write(&mut batch).unwrap().wait().unwrap();
}

/// Creates an engine's log of two groups with 20 entries each, and closes it.
pub fn engine_log() -> Log {
    let log = Log::new();
    let engine = Engine::create(log.dir(), &engine_options()).unwrap();
    for index in 1..=20 {
        write(&engine, 7, index, 1000);
        write(&engine, 8, index, 10);
    }
    engine.close().unwrap();
    log
}

/// Creates the same log with a snapshot marker and metadata of group 8.
pub fn engine_log_with_small_state() -> Log {
    let log = engine_log();
    let (engine, _) = Engine::open(log.dir(), &engine_options()).unwrap();
    let mut batch = WriteBatch::new();
    let marker = SnapshotMarker { index: 9, term: 3, digest: 0xabcdef };
    batch.snapshot_marker(8, marker).put_meta(8, b"a\n", b"value").remove_meta(8, b"b");
    engine.write(&mut batch).unwrap().wait().unwrap();
    engine.close().unwrap();
    log
}

/// Returns the record with entry `index` of `group`.
pub fn record_of(log: &Log, group: u64, index: u64) -> Value {
    let json = log.json("records", &["--group", &group.to_string()], 0);
    let has = |r: &&Value| r["ops"].as_array().unwrap().iter().any(|op| op["first"] == index);
    json["records"].as_array().unwrap().iter().find(has).unwrap().clone()
}

impl Log {
    pub fn inspect_any(&self, command: &str) -> i32 {
        run(&[command, self.dir().to_str().unwrap()]).status.code().unwrap()
    }
}
