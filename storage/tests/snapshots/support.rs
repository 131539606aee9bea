//! Provides an engine and a catalog on one simulated disk, a state machine whose state is a function of its
//! index, and the check of all three.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::io::{self, Read};
use std::sync::Arc;

use seawall::snapshots::snap::{self, Catalog, Offer, Piece, SnapshotId, SnapshotReader};
use seawall::snapshots::{Error, SnapshotOptions, SnapshotSource, Snapshots, Start, Taken};
use seawall::{ConfState, Engine, EntryRef, HardState, Options, WriteBatch};
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Access, Disk, DiskFile, DiskLock, Mode, NameKind};
use seawall_wal::{Env, Threads};

pub const GROUP: u64 = 7;

/// A directory of a simulated disk. The disk has no directories, so the names get a prefix.
#[derive(Debug)]
pub struct Folder {
    disk: Arc<SimDisk>,
    prefix: &'static str,
}

impl Folder {
    pub fn new(disk: Arc<SimDisk>, prefix: &'static str) -> Folder {
        Folder { disk, prefix }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Disk for Folder {
    fn location(&self) -> String {
        self.prefix.trim_end_matches('-').to_owned()
    }

    fn mode(&self) -> Mode {
        self.disk.mode()
    }

    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        let own = |(name, kind): (String, NameKind)| Some((name.strip_prefix(self.prefix)?.to_owned(), kind));
        Ok(self.disk.list()?.into_iter().filter_map(own).collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.name(name), access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.name(from), &self.name(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.name(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    /// Locks the log. The disk has only one lock, so the snapshots have none.
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        if self.prefix == LOG {
            return self.disk.lock(&self.name(name), holder);
        }
        Ok(Ok(Box::new(Unlocked)))
    }
}

#[derive(Debug)]
struct Unlocked;

impl DiskLock for Unlocked {}

/// Prefixes of the log's files and of the snapshots'.
const LOG: &str = "log-";
const FILES: &str = "snap-";

pub fn sim(seed: u64) -> Arc<SimDisk> {
    let options =
        SimOptions { mode: Mode::Buffered, short_writes: seed.is_multiple_of(2), ..SimOptions::default() };
    SimDisk::new(seed, options)
}

/// The parts of a node that use the disk.
pub struct Node {
    pub engine: Engine,
    pub catalog: Catalog,
    pub snapshots: Snapshots,
    pub start: Start,
}

#[derive(Clone, Copy)]
pub struct Setup {
    pub keep: u32,
    pub fall_back: bool,
    pub catch_up: u64,
}

pub const SETUP: Setup = Setup { keep: 2, fall_back: true, catch_up: 1 };

impl Setup {
    pub fn catalog(self) -> snap::Options {
        let Setup { keep, fall_back, .. } = self;
        let small = snap::Options::default().with_helpers(0).with_chunk_bytes(4096).with_sync_bytes(64 << 10);
        small.with_keep(keep).with_fall_back(fall_back)
    }

    pub fn snapshots(self) -> SnapshotOptions {
        SnapshotOptions::default().with_background(false).with_catch_up_entries(self.catch_up)
    }

    pub fn open(self, disk: &Arc<SimDisk>) -> Result<Node, Error> {
        let mut options = Options::default().with_slack_bytes(0);
        options.log.segment_bytes = 96 << 10;
        let folder = |prefix| Arc::new(Folder::new(disk.process(), prefix));
        let env = Env {
            disk: folder(LOG),
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SimRandom::new(1)),
            threads: Threads::Stepped,
        };
        let engine = if disk.exists("log-IDENTITY") {
            Engine::open_in(env, &options)?.0
        } else {
            Engine::create_in(env, &options)?
        };
        let (catalog, _) = Catalog::open(folder(FILES), &self.catalog())?;
        let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, self.snapshots(), 0)?;
        Ok(Node { engine, catalog, snapshots, start })
    }
}

pub fn id(index: u64, term: u64) -> SnapshotId {
    SnapshotId { group: GROUP, index, term }
}

/// Returns the name of a snapshot's file on the disk.
pub fn file(index: u64, term: u64) -> String {
    format!("snap-{GROUP:016x}-{index:016x}-{term:016x}.snap")
}

/// Returns the indexes of the published files, in ascending order.
pub fn files(disk: &SimDisk) -> Vec<u64> {
    let index = |name: &String| {
        let name = name.strip_prefix("snap-")?.strip_suffix(".snap")?;
        u64::from_str_radix(name.split('-').nth(1)?, 16).ok()
    };
    disk.names().iter().filter_map(index).collect()
}

/// Returns the state after entry `index`, somewhat more than two chunks.
pub fn state(index: u64) -> Vec<u8> {
    let mut state = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = b"all that was applied ".repeat(200);
    for _ in 0..600 {
        state = (state ^ (state << 13)) ^ ((state ^ (state << 13)) >> 7);
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

pub fn dump(index: u64) -> SnapshotSource {
    Box::new(move |to| to.write_all(&state(index)))
}

pub fn read(mut reader: SnapshotReader) -> Vec<u8> {
    let mut found = Vec::new();
    reader.read_to_end(&mut found).expect("a complete snapshot");
    found
}

impl Node {
    /// Appends entries up to `last`, with a commit index, and waits until they are durable.
    pub fn append(&self, last: u64, term: u64, commit: u64) -> Result<(), Error> {
        let group = self.engine.group(GROUP);
        let mut batch = WriteBatch::new();
        for index in group.last_index() + 1..=last {
            batch.append(GROUP, &[EntryRef { index, term, payload: &[7; 300] }]);
            if index % 100 == 0 && index < last {
                drop(self.engine.write(&mut batch)?);
            }
        }
        let hard = group.hard_state();
        batch.hard_state(GROUP, HardState { term, vote: 1, commit: commit.max(hard.commit) });
        if group.conf_state().is_none() {
            batch.conf_state(GROUP, &ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
        }
        self.engine.write(&mut batch)?.wait().map(drop).map_err(Error::from)
    }

    pub fn take(&self, index: u64) -> Result<Taken, Error> {
        self.snapshots.take(index, b"", dump(index))
    }

    /// Receives all pieces of a transfer, and publishes the snapshot.
    pub fn receive(&self, offer: &Offer, pieces: &[Piece]) -> Result<(), Error> {
        if let Some(mut incoming) = self.snapshots.receive(offer)? {
            while let Some(piece) = pieces.get(incoming.next() as usize) {
                incoming.accept(piece)?;
            }
            incoming.finish()?;
        }
        Ok(())
    }

    /// Checks that the state machine starts with a complete snapshot or empty, and that the log has
    /// everything from there on. Returns the index where it starts.
    #[track_caller]
    pub fn check(&mut self) -> u64 {
        let applied = self.start.applied;
        if let Some(reader) = self.start.reader.take() {
            assert_eq!(reader.id().index, applied);
            let mut voters = [0; 3];
            let members = self.snapshots.members(&reader).unwrap().expect("members");
            voters.copy_from_slice(&members.voters);
            assert_eq!(voters, [1, 2, 3]);
            assert!(read(reader) == state(applied), "the snapshot at {applied} has other content");
            let served = self.snapshots.served().expect("the loaded snapshot can be sent");
            assert_eq!(served.index(), applied);
        } else {
            assert_eq!(applied, 0);
        }
        let group = self.engine.group(GROUP);
        let (point, last) = (group.compaction_point().0, group.last_index());
        assert!(point <= applied && applied <= last, "{point} {applied} {last}: a gap");
        let entries = group.entries(applied + 1, last + 1, None).expect("every entry after the snapshot");
        assert_eq!(entries.len() as u64, last - applied);
        assert!(group.hard_state().commit <= last);
        assert!(group.snapshots().first().is_none_or(|newest| newest.index <= last));
        applied
    }
}

/// Returns whether a power cut can have caused the error.
pub fn is_crash(error: &Error) -> bool {
    let io = |source: &io::Error| SimDisk::is_crash(source);
    match error {
        Error::Catalog(snap::Error::Io { source, .. }) => io(source),
        Error::Catalog(snap::Error::Stopped { .. }) => true,
        Error::Engine(seawall::Error::Log(_)) => true,
        Error::Content { source, .. } => io(source),
        _ => false,
    }
}
