//! `walbench open`: measures how long opening an engine takes by its size, and which part takes how long.
//!
//! It makes an engine of each size, closes it, and opens it in rounds: once with segments skipped by the proof of their
//! footers, once reading everything. The same rounds measure two references: a bare scan, which follows and checksums
//! the groups of every file on one thread by the same direct reads; and the scan of `walinspect verify`, which uses all
//! cores. Open reads from the device, or from caches below it.

use crate::args::{self, Strategy, Where, check_range, check_segment, parse_bytes, parse_segment_bytes};
use crate::load::{median, payload};
use crate::place::{self, Place};
use crate::{machine, report, seed, text};
use anyhow::{Context, Result, ensure};
use clap::Args;
use seawall::{Engine, EntryRef, Options, WriteBatch};
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, PosixDisk, read_exact_medium};
use seawall_wal::inspect::{GroupHeader, SegmentHeader, inspect};
use seawall_wal::{Lsn, report::Timings};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GIB_MAX: u64 = 64;
const GROUPS_MAX: usize = 100_000;
/// Entries of one batch.
const BATCH: u64 = 64;
/// Bytes read at a time by the bare scan.
const CHUNK_BYTES: usize = 1 << 20;

/// Options of `walbench open`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    place: Where,
    /// Sizes of the engine in GiB of entries
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4")]
    gib: Vec<u64>,
    /// Payload of an entry
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "1KiB")]
    bytes: usize,
    /// Raft groups that the entries are spread over
    #[arg(long, value_name = "N", default_value_t = 100)]
    groups: usize,
    /// Rounds; the figures are medians over them
    #[arg(long, value_name = "R", default_value_t = 5)]
    rounds: usize,
    /// Size of a segment of the log
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes, default_value = "64MiB")]
    segment_bytes: u32,
    /// Write the results here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of the payload bytes [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

/// Times of one size, in milliseconds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    gib: u64,
    entries: u64,
    /// Number of segment files, spares included, and of those that open skipped because their footers prove them.
    segments: usize,
    by_footer: usize,
    /// Time of an open that uses footers, and three parts of it.
    open_ms: f64,
    sync_ms: f64,
    scan_ms: f64,
    /// Rebuilding the groups from footer indexes and from the records of other segments.
    replay_ms: f64,
    /// Opening with `verify_on_open`.
    verified_open_ms: f64,
    /// The scan of `walinspect verify`, on all cores.
    verify_ms: f64,
    /// The bare scan of the same files, on one thread.
    bare_scan_ms: f64,
    /// Rate of verify divided by the rate of the bare scan.
    verify_over_bare: f64,
    /// `open_ms` divided by that of the first size.
    over_first: f64,
}

/// Runs the measurement and prints the report.
pub(crate) fn bench(args: &OpenArgs) -> Result<()> {
    check_range("--rounds", args.rounds, args::ROUNDS_MAX)?;
    check_range("--groups", args.groups, GROUPS_MAX)?;
    args::check_bytes(args.bytes)?;
    check_segment(args.segment_bytes, args.bytes)?;
    let largest = args.gib.iter().copied().max().unwrap_or(0);
    let sane = args.gib.iter().all(|gib| (1..=GIB_MAX).contains(gib));
    ensure!(sane && largest > 0, "--gib must be between 1 and {GIB_MAX}");
    args.json.as_deref().map_or(Ok(()), text::check_json)?;
    let seed = seed(args.seed)?;
    // The payload, plus an eighth for framing.
    let files = ((largest << 30) / 8 * 9).div_ceil(u64::from(args.segment_bytes)) + place::LOG_SEGMENTS;
    let place = Place::prepare(&args.place.spot(), place::space_needed(files, args.segment_bytes))?;
    let machine = machine::describe(place.scratch(), seed)?;
    let title = format!(
        "walbench {}: time to open, medians of {} rounds, entries of {} B in {} groups, seed {seed}",
        machine.version, args.rounds, args.bytes, args.groups
    );
    text::say(&text::setting(&title, &machine, args.place.dir(), args.segment_bytes))?;
    let mut rows: Vec<Row> = Vec::new();
    for &gib in &args.gib {
        let dir = place.scratch().join(format!("engine-{gib}"));
        let entries = fill(&dir, args, gib, seed)?;
        let mut row = measure(&dir, args, gib, entries)?;
        row.over_first = row.open_ms / rows.first().map_or(row.open_ms, |first| first.open_ms);
        rows.push(row);
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    drop(place);
    text::say(&table(&rows))?;
    args.json.as_deref().map_or(Ok(()), |path| report::write_json(path, &machine, &rows))
}

fn options(args: &OpenArgs) -> Options {
    Options::default().with_log(Strategy::Auto.options(args.segment_bytes))
}

/// Makes the engine and closes it. Returns the number of entries in it.
fn fill(dir: &Path, args: &OpenArgs, gib: u64, seed: u64) -> Result<u64> {
    let engine = Engine::create(dir, &options(args)).context("create the engine")?;
    let payload = payload(seed, args.bytes + 4096);
    let (total, mut written, mut batch) = ((gib << 30) / args.bytes as u64, 0, WriteBatch::new());
    let mut next = vec![1; args.groups];
    for group in (0..args.groups).cycle() {
        if written >= total {
            break;
        }
        let from = next[group];
        next[group] += BATCH;
        written += BATCH;
        let entries: Vec<_> = (from..from + BATCH)
            .map(|index| {
                let at = usize::try_from(index % 4096).unwrap_or(0);
                EntryRef { index, term: 1, payload: &payload[at..at + args.bytes] }
            })
            .collect();
        batch.append(group as u64 + 1, &entries);
        drop(engine.write(&mut batch).context("write")?);
    }
    engine.close().context("close the engine")?;
    Ok(written)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn measure(dir: &Path, args: &OpenArgs, gib: u64, entries: u64) -> Result<Row> {
    let (mut fast, mut verified, mut verify, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut by_footer = 0;
    for _ in 0..args.rounds {
        for verify_on_open in [false, true] {
            let mut options = options(args);
            options.log.verify_on_open = verify_on_open;
            let begin = Instant::now();
            let (engine, found) = Engine::open(dir, &options).context("open the engine")?;
            let took = begin.elapsed();
            ensure!(found.entries == entries, "{} entries, not {entries}", found.entries);
            engine.close().context("close the engine")?;
            if verify_on_open {
                verified.push(ms(took));
            } else {
                by_footer = found.log.by_footer.len();
                fast.push((ms(took), found.log.took));
            }
        }
        let disk = PosixDisk::open(dir, None).context("look at the engine")?;
        let begin = Instant::now();
        let found = inspect(&disk).context("verify")?;
        verify.push(ms(begin.elapsed()));
        ensure!(found.verdict.is_ok(), "the engine is damaged");
        bare.push(ms(bare_scan(&disk)?));
    }
    let files = PosixDisk::open(dir, None)?.list()?;
    let of = |part: fn(&(f64, Timings)) -> f64| median(fast.iter().map(part));
    let (verify_ms, bare_scan_ms) = (median(verify.into_iter()), median(bare.into_iter()));
    Ok(Row {
        gib,
        entries,
        segments: files.iter().filter(|(name, _)| name.ends_with(".wal")).count(),
        by_footer,
        open_ms: of(|f| f.0),
        sync_ms: of(|f| ms(f.1.sync)),
        scan_ms: of(|f| ms(f.1.scan)),
        replay_ms: of(|f| f.0 - ms(f.1.total)),
        verified_open_ms: median(verified.into_iter()),
        verify_ms,
        bare_scan_ms,
        verify_over_bare: bare_scan_ms / verify_ms,
        over_first: 1.0,
    })
}

/// Reads every segment, follows the lengths of its groups, and checksums each group in one piece.
fn bare_scan(disk: &PosixDisk) -> Result<Duration> {
    let begin = Instant::now();
    for (name, _) in disk.list().context("list")?.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let file = disk.open(name, Access::Read).with_context(|| format!("open {name}"))?;
        scan_file(&*file, disk.block_size()).with_context(|| format!("read {name}"))?;
    }
    Ok(begin.elapsed())
}

fn scan_file(file: &dyn DiskFile, block_bytes: u32) -> Result<()> {
    let (len, block) = (usize::try_from(file.len()?)?, block_bytes as usize);
    let mut buf = AlignedBuf::zeroed(CHUNK_BYTES.min(len));
    let (mut start, mut at, mut sum) = (0, block, 0);
    read_exact_medium(file, &mut buf, 0, CHUNK_BYTES.min(len))?;
    let Ok(SegmentHeader { salt, sequence, .. }) = SegmentHeader::decode(&buf[..block]) else {
        return Ok(());
    };
    while at < len {
        let ahead = buf.len().saturating_sub(at - start);
        let lsn = Lsn::new(sequence, u32::try_from(at)?);
        let group = buf.get(at - start..).and_then(|bytes| GroupHeader::decode(bytes, salt, lsn));
        let length = group.and_then(|group| group.disk_bytes(block_bytes)).map_or(block, |n| n as usize);
        if ahead < length.max(block) {
            let want = length.max(CHUNK_BYTES).min(len - at);
            ensure!(want > ahead || ahead == 0, "a group is longer than its file");
            buf.set_len_for_read(want);
            read_exact_medium(file, &mut buf, at as u64, want)?;
            start = at;
            continue;
        }
        if group.is_some() {
            sum ^= crc32c::crc32c(&buf[at - start..at - start + length]);
        }
        at += length;
    }
    std::hint::black_box(sum);
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "\n GiB  segments  by footer   open ms   sync   scan  replay  x first   verified open   verify   bare  verify/bare\n",
    );
    for r in rows {
        let _ = writeln!(
            out,
            "{:>4} {:>9} {:>10} {:>9.1} {:>6.1} {:>6.1} {:>7.1} {:>8.2} {:>15.1} {:>8.1} {:>6.1} {:>12.2}",
            r.gib,
            r.segments,
            r.by_footer,
            r.open_ms,
            r.sync_ms,
            r.scan_ms,
            r.replay_ms,
            r.over_first,
            r.verified_open_ms,
            r.verify_ms,
            r.bare_scan_ms,
            r.verify_over_bare
        );
    }
    out
}
