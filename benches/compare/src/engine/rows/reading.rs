//! Row 4: ranges and single entries of sealed segments, read from the page cache.
//!
//! The log is written by batches of several entries of one group, group after group, then closed and opened again, so
//! that the engine's own cache is empty. The newest part of each group is not read, because it may be in the active
//! segment. The reference is a bare file of frames, each with a length, a checksum and a payload, which is read in
//! pieces of one MiB and checked. The last table has the first pass over all ranges after another reopen.

use crate::args::Site;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_harness::load::payload;
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PIECE_BYTES: usize = 1 << 20;
const FRAME_HEADER_BYTES: usize = 8;
const MAPPED: &str = "seawall, maps";

/// Reads from sealed segments.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Payload sizes of entries, one table each
    #[arg(long, value_delimiter = ',', default_values_t = [256, 4096])]
    bytes: Vec<usize>,
    /// Total payload to read, in MiB
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// Groups
    #[arg(long, default_value_t = 100)]
    groups: u64,
    /// Entries of one group in one batch
    #[arg(long, default_value_t = 64)]
    per_batch: u64,
    /// Payload of one range, in KiB
    #[arg(long, default_value_t = 1024)]
    range_kib: u64,
    /// Time measured per line and round
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

/// Sizes of one table.
#[derive(Clone, Copy)]
struct Sizes {
    groups: u64,
    /// Numbers of entries: of each group that are read, of one range, and of one batch.
    entries: u64,
    range: u64,
    per_batch: u64,
    bytes: usize,
    window: Duration,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { mib: 4, groups: 4, range_kib: 64, seconds: 0.02, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        // Three engines including the part that is not read, and the bare file.
        (self.mib << 20) * 5 + (1 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        self.bytes
            .iter()
            .map(|bytes| self.table(*bytes, site))
            .collect::<Result<Vec<_>>>()
            .map(|t| t.concat())
    }

    fn table(&self, bytes: usize, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let size = bytes as u64;
        let range = (self.range_kib << 10) / size;
        let entries = ((self.mib << 20) / size / self.groups).next_multiple_of(range);
        let (groups, per_batch) = (self.groups, self.per_batch);
        let window = Duration::from_secs_f64(self.seconds);
        let sizes = Sizes { groups, entries, range, per_batch, bytes, window };
        let data = Bytes::from(payload(site.seed, bytes));
        let dir = |name: &str| site.dir.join(format!("{name}-{bytes}"));
        let plain = Setup::default();
        let maps = Setup { map_sealed: true, ..plain };
        let ours: Written<Seawall> = Written::create(&dir("ours"), &plain, sizes, &data)?;
        let mapped: Written<Seawall> = Written::create(&dir("mapped"), &maps, sizes, &data)?;
        let theirs: Written<RaftEngine> = Written::create(&dir("theirs"), &plain, sizes, &data)?;
        let bare = Bare::create(&dir("bare"), sizes, &data)?;

        let title = format!("ranges of {} KiB, {bytes} B", self.range_kib);
        let lines = vec![
            Line::new(Seawall::NAME, || ours.ranges()),
            Line::new(RaftEngine::NAME, || theirs.ranges()),
            Line::new("bare file", || bare.ranges()),
            Line::new(MAPPED, || mapped.ranges()),
        ];
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let bar = Bar::AtLeast(if bytes < 1024 { 3.0 } else { 1.5 });
        let over = Check::new("seawall over raft-engine", rounds.ratio("GB/s", 0, 1), bar);
        let maps = Check::new("the same with map_sealed", rounds.ratio("GB/s", 3, 1), bar);
        let of_ranges = rounds.outcome(4, title, vec![over, maps]);

        let title = format!("single entries at random, {bytes} B");
        let lines = vec![
            Line::new(Seawall::NAME, || ours.singles(site.seed)),
            Line::new(RaftEngine::NAME, || theirs.singles(site.seed)),
            Line::new("bare file", || bare.singles(site.seed)),
            Line::new(MAPPED, || mapped.singles(site.seed)),
        ];
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let over = Check::new("seawall over raft-engine", rounds.ratio("reads/s", 0, 1), Bar::AtLeast(2.0));
        let maps = Check::new("the same with map_sealed", rounds.ratio("reads/s", 3, 1), Bar::AtLeast(2.0));
        let of_singles = rounds.outcome(4, title, vec![over, maps]);

        // Twice, to show how far figures of the same engine differ.
        let title = format!("first pass after a reopen, cached files, {bytes} B");
        let lines = vec![
            Line::new(Seawall::NAME, || ours.first_pass()),
            Line::new(RaftEngine::NAME, || theirs.first_pass()),
            Line::new("seawall, again", || ours.first_pass()),
        ];
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let bar = Bar::AtLeast(1.0);
        let over = Check::new("seawall over raft-engine", rounds.ratio("GB/s", 0, 1), bar);
        let again = Check::new("seawall, again, over raft-engine", rounds.ratio("GB/s", 2, 1), bar);
        let of_first = rounds.outcome(4, title, vec![over, again]);
        ours.close()?;
        mapped.close()?;
        theirs.close()?;
        for name in ["ours", "mapped", "theirs", "bare"] {
            let dir = dir(name);
            let removed =
                if dir.is_dir() { std::fs::remove_dir_all(&dir) } else { std::fs::remove_file(&dir) };
            removed.with_context(|| format!("remove {}", dir.display()))?;
        }
        Ok(vec![of_ranges, of_singles, of_first])
    }
}

/// A pseudo-random sequence, the same for all lines.
struct Chosen(u64);

impl Chosen {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Reads ranges in order, repeatedly, for a window. `read` gets the group, the first index and the index after the
/// last, and returns the number of payload bytes read.
fn ranges(sizes: Sizes, read: impl Fn(u64, u64, u64) -> Result<u64>) -> Result<Figures> {
    let (begin, mut bytes, mut reads) = (Instant::now(), 0, 0u32);
    'all: loop {
        for group in 1..=sizes.groups {
            for low in (1..=sizes.entries).step_by(usize::try_from(sizes.range)?) {
                let found = read(group, low, low + sizes.range)?;
                ensure!(
                    found == sizes.range * sizes.bytes as u64,
                    "{found} bytes of group {group} from {low}"
                );
                bytes += found;
                reads += 1;
                if begin.elapsed() >= sizes.window {
                    break 'all;
                }
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(vec![("GB/s", bytes as f64 / seconds / 1e9), ("us per range", seconds * 1e6 / f64::from(reads))])
}

/// Reads single entries.
fn singles(sizes: Sizes, seed: u64, read: impl Fn(u64, u64) -> Result<u64>) -> Result<Figures> {
    let (begin, mut reads, mut chosen) = (Instant::now(), 0u32, Chosen(seed | 1));
    while begin.elapsed() < sizes.window {
        // Read the clock only once for several entries.
        for _ in 0..64 {
            let (group, index) = (1 + chosen.below(sizes.groups), 1 + chosen.below(sizes.entries));
            let found = read(group, index)?;
            ensure!(found == sizes.bytes as u64, "{found} bytes of entry {index} of group {group}");
            reads += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(vec![("reads/s", f64::from(reads) / seconds), ("us", seconds * 1e6 / f64::from(reads))])
}

/// An engine that was written, reopened and read once.
struct Written<S> {
    /// `None` between a close and the open after it.
    store: RefCell<Option<S>>,
    dir: PathBuf,
    setup: Setup,
    sizes: Sizes,
}

impl<S: Store> Written<S> {
    fn create(dir: &Path, setup: &Setup, sizes: Sizes, data: &Bytes) -> Result<Written<S>> {
        let store = S::create(dir, setup)?;
        let mut writer = store.writer();
        // The entries after `entries` fill the rest of the segment that has the last entry to be read.
        let file_bytes = setup.file_bytes.max(u64::from(setup.segment_bytes));
        let more = (2 * file_bytes).div_ceil(sizes.groups * sizes.bytes as u64);
        let mut first = 1;
        while first <= sizes.entries + more {
            for group in 1..=sizes.groups {
                S::append(&mut writer, group, first, sizes.per_batch, data)?;
                store.submit_lazily(&mut writer)?;
            }
            first += sizes.per_batch;
        }
        store.flush()?;
        store.close()?;
        let store = RefCell::new(Some(S::open(dir, setup)?));
        let written = Written { store, dir: dir.to_owned(), setup: *setup, sizes };
        written.pass()?;
        Ok(written)
    }

    /// Reads a range and returns the number of its payload bytes.
    fn read(&self, group: u64, low: u64, high: u64) -> Result<u64> {
        let store = self.store.borrow();
        Ok(store.as_ref().context("the engine is closed")?.read(group, low, high)?.1)
    }

    /// Reads all ranges once, in order. Returns the number of payload bytes.
    fn pass(&self) -> Result<u64> {
        let Sizes { groups, entries, range, .. } = self.sizes;
        let mut bytes = 0;
        for group in 1..=groups {
            for low in (1..=entries).step_by(usize::try_from(range)?) {
                bytes += self.read(group, low, low + range)?;
            }
        }
        ensure!(bytes == groups * entries * self.sizes.bytes as u64, "{bytes} bytes in one pass");
        Ok(bytes)
    }

    fn ranges(&self) -> Result<Figures> {
        ranges(self.sizes, |group, low, high| self.read(group, low, high))
    }

    fn singles(&self, seed: u64) -> Result<Figures> {
        singles(self.sizes, seed, |group, index| self.read(group, index, index + 1))
    }

    /// Reopens the engine, whose files are cached, and reads all of it once.
    fn first_pass(&self) -> Result<Figures> {
        self.close()?;
        *self.store.borrow_mut() = Some(S::open(&self.dir, &self.setup)?);
        let begin = Instant::now();
        let bytes = self.pass()?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(vec![("GB/s", bytes as f64 / seconds / 1e9), ("ms", seconds * 1e3)])
    }

    fn close(&self) -> Result<()> {
        self.store.borrow_mut().take().map_or(Ok(()), S::close)
    }
}

/// The same entries in a file without an engine, one group after another.
struct Bare {
    file: File,
    path: PathBuf,
    sizes: Sizes,
}

impl Bare {
    fn create(path: &Path, sizes: Sizes, data: &Bytes) -> Result<Bare> {
        let file = File::create_new(path).with_context(|| format!("create {}", path.display()))?;
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + data.len());
        frame.extend_from_slice(&u32::try_from(data.len())?.to_le_bytes());
        frame.extend_from_slice(&crc_fast::crc32_iscsi(data).to_le_bytes());
        frame.extend_from_slice(data);
        let mut out = std::io::BufWriter::with_capacity(PIECE_BYTES, &file);
        for _ in 0..sizes.groups * sizes.entries {
            out.write_all(&frame).context("write the bare file")?;
        }
        out.flush().context("write the bare file")?;
        drop(out);
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Bare { file, path: path.to_owned(), sizes })
    }

    /// Reads `count` frames from the entry `index` on. Each read has its own buffer, as for a reader that keeps the
    /// entries.
    fn read(&self, group: u64, index: u64, count: u64) -> Result<u64> {
        let frame_bytes = (FRAME_HEADER_BYTES + self.sizes.bytes) as u64;
        let from = ((group - 1) * self.sizes.entries + index - 1) * frame_bytes;
        let mut buffer = vec![0; usize::try_from(count * frame_bytes)?];
        let reading = || format!("read {}", self.path.display());
        let mut at = 0;
        for piece in buffer.chunks_mut(PIECE_BYTES) {
            self.file.read_exact_at(piece, from + at).with_context(reading)?;
            at += piece.len() as u64;
        }
        let buffer = Bytes::from(buffer);
        let (mut rest, mut entries) = (0, Vec::with_capacity(usize::try_from(count)?));
        while rest < buffer.len() {
            let word = |at: usize| buffer[at..at + 4].try_into().map(u32::from_le_bytes);
            let (length, crc) = (usize::try_from(word(rest)?)?, word(rest + 4)?);
            let entry = buffer.slice(rest + FRAME_HEADER_BYTES..rest + FRAME_HEADER_BYTES + length);
            ensure!(crc_fast::crc32_iscsi(&entry) == crc, "a frame of the bare file fails its checksum");
            entries.push(entry);
            rest += FRAME_HEADER_BYTES + length;
        }
        Ok(entries.iter().map(|entry| entry.len() as u64).sum())
    }

    fn ranges(&self) -> Result<Figures> {
        ranges(self.sizes, |group, low, high| self.read(group, low, high - low))
    }

    fn singles(&self, seed: u64) -> Result<Figures> {
        singles(self.sizes, seed, |group, index| self.read(group, index, 1))
    }
}
