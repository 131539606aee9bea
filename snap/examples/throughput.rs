//! Writes and reads snapshots of a seeded corpus, half text-like and half noise. Compares the times with those of the
//! parts alone: zstd, in memory and from a file, and a plain write with a sync. Reports the peak memory of the process.
//!
//! `throughput <directory> [MiB] [helpers,helpers..] [rounds] [level]`; see `benches/README.md`. Fails if the data read
//! differ from the data written, or if memory exceeds 64 MiB.

#![expect(clippy::cast_possible_truncation, reason = "places in pools of a few MiB")]

use seawall_disk::{Access, AlignedBuf, Disk, Mode, PosixDisk, read_exact_medium};
use seawall_snap::{Catalog, Options, SnapshotId};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::time::Instant;
use zstd::bulk::{Compressor, Decompressor};

const SEED: u64 = 20_261_122;
const MIB: usize = 1 << 20;
/// Size in bytes of the pool of text and noise. Chunks are windows of it. Each chunk is compressed alone, so repeated
/// text does not matter.
const POOL: usize = 8 * MIB;
/// Alignment of direct reads of the packed corpus, in bytes.
const BLOCK: usize = 4096;
/// Upper limit for the peak memory of the process, in KiB.
const RESIDENT_KIB_MAX: u64 = 64 << 10;

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

struct Corpus {
    text: Vec<u8>,
    noise: Vec<u8>,
    chunks: u64,
}

impl Corpus {
    fn new(chunks: u64) -> Corpus {
        let mut noise = Vec::with_capacity(POOL);
        (0..POOL as u64 / 8).for_each(|n| noise.extend(mix(SEED ^ (n << 20)).to_le_bytes()));
        // Words of a vocabulary of 4096, the first ones more frequent, with occasional numbers.
        let mut text = Vec::with_capacity(POOL + 64);
        let mut n = 0;
        while text.len() < POOL {
            n += 1;
            let draw = mix(SEED + n);
            let word = mix(((draw & 0xFFF) * (draw >> 12 & 0xFFF)) >> 12);
            if draw >> 60 == 0 {
                text.extend((draw >> 24 & 0xFFFF_FFFF).to_string().bytes());
            } else {
                text.extend((0..2 + word % 8).map(|at| b'a' + (word >> (8 + at * 5) & 31) as u8 % 26));
            }
            text.push(if draw >> 50 & 15 == 0 { b'\n' } else { b' ' });
        }
        text.truncate(POOL);
        Corpus { text, noise, chunks }
    }

    fn chunk(&self, n: u64) -> &[u8] {
        let pool = if n.is_multiple_of(2) { &self.text } else { &self.noise };
        let at = mix(SEED.wrapping_mul(n + 1)) as usize % (POOL - MIB);
        &pool[at..at + MIB]
    }
}

fn seconds(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Compresses the corpus into the file `zstd`, one frame per chunk, each at the start of a block. Returns their
/// lengths.
fn pack(dir: &Path, corpus: &Corpus, level: i32) -> Result<Vec<usize>, Box<dyn Error>> {
    let (mut file, mut zstd) = (File::create(dir.join("zstd"))?, Compressor::new(level)?);
    let mut lengths = Vec::new();
    let mut out = Vec::with_capacity(2 * MIB);
    for n in 0..corpus.chunks {
        out.clear();
        lengths.push(zstd.compress_to_buffer(corpus.chunk(n), &mut out)?);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        file.write_all(&out)?;
    }
    file.sync_all()?;
    Ok(lengths)
}

/// Seconds that one thread takes to read these frames from the medium and decompress them, without checks.
fn unpack(dir: &Path, lengths: &[usize]) -> Result<f64, Box<dyn Error>> {
    let disk = PosixDisk::open(dir, Some(Mode::Buffered))?;
    let file = disk.open("zstd", Access::Read)?;
    file.drop_cache();
    let (mut buf, mut out) = (AlignedBuf::zeroed(2 * MIB), Vec::with_capacity(MIB));
    seconds(|| {
        let (mut zstd, mut at) = (Decompressor::new()?, 0);
        for &len in lengths {
            let blocks = len.next_multiple_of(BLOCK);
            read_exact_medium(&*file, &mut buf, at, blocks)?;
            out.clear();
            zstd.decompress_to_buffer(&buf[..len], &mut out)?;
            at += blocks as u64;
        }
        Ok(())
    })
}

/// Seconds of the parts alone: compression, decompression, writing and syncing `bytes`, and reading them from the
/// medium.
fn floors(dir: &Path, corpus: &Corpus, level: i32, bytes: u64) -> Result<[f64; 4], Box<dyn Error>> {
    let mut out = Vec::with_capacity(2 * MIB);
    let compression = seconds(|| {
        let mut zstd = Compressor::new(level)?;
        for n in 0..corpus.chunks {
            out.clear();
            zstd.compress_to_buffer(corpus.chunk(n), &mut out)?;
        }
        Ok(())
    })?;
    let frames =
        (0..8).map(|n| zstd::bulk::compress(corpus.chunk(n), level)).collect::<Result<Vec<_>, _>>()?;
    let decompression = seconds(|| {
        let mut zstd = Decompressor::new()?;
        for n in 0..corpus.chunks {
            out.clear();
            zstd.decompress_to_buffer(&frames[n as usize % frames.len()], &mut out)?;
        }
        Ok(())
    })?;
    drop(frames);
    let path = dir.join("raw");
    let writing = seconds(|| {
        let mut file = File::create(&path)?;
        let mut left = bytes;
        while left > 0 {
            let len = left.min(MIB as u64);
            file.write_all(&corpus.noise[..len as usize])?;
            left -= len;
        }
        Ok(file.sync_all()?)
    })?;
    drop(out);
    let disk = PosixDisk::open(dir, Some(Mode::Buffered))?;
    let file = disk.open("raw", Access::Read)?;
    file.drop_cache();
    let mut buf = AlignedBuf::zeroed(MIB);
    let reading = seconds(|| {
        let mut at = 0;
        while at + MIB as u64 <= bytes {
            read_exact_medium(&*file, &mut buf, at, MIB)?;
            at += MIB as u64;
        }
        Ok(())
    })?;
    std::fs::remove_file(path)?;
    Ok([compression, decompression, writing, reading])
}

/// Seconds of writing, verifying and reading, and the size of the file in bytes.
fn snapshot(
    dir: &Path,
    corpus: &Corpus,
    level: i32,
    helpers: u32,
) -> Result<([f64; 3], u64), Box<dyn Error>> {
    let options = Options::default().with_helpers(helpers).with_level(Some(level));
    let (catalog, _) = Catalog::open_dir(&dir.join("snapshots"), &options)?;
    let id = SnapshotId { group: 1, index: 1, term: 1 };
    let mut bytes = 0;
    let writing = seconds(|| {
        let mut writer = catalog.write(id, b"", b"")?;
        (0..corpus.chunks).try_for_each(|n| writer.append(corpus.chunk(n)))?;
        bytes = writer.finish()?.file_bytes;
        Ok(())
    })?;
    let verifying = seconds(|| Ok(catalog.verify(id, &mut |_| Continue(()))?))?;
    let reading = seconds(|| {
        let mut reader = catalog.reader(id)?;
        for n in 0..corpus.chunks {
            if reader.chunk()? != corpus.chunk(n) {
                return Err(format!("chunk {n} is another").into());
            }
        }
        if reader.chunk()?.is_empty() { Ok(()) } else { Err("too long".into()) }
    })?;
    drop(catalog);
    std::fs::remove_dir_all(dir.join("snapshots"))?;
    Ok(([writing, verifying, reading], bytes))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The peak memory of the process, in KiB.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let arg = |at: usize, default: &'static str| args.get(at).map_or(default, String::as_str);
    let dir = Path::new(args.get(1).ok_or("throughput <directory> [MiB] [helpers,..] [rounds] [level]")?);
    let chunks: u64 = arg(2, "4096").parse()?;
    let helpers: Vec<u32> = arg(3, "0,1,2").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (rounds, level): (usize, i32) = (arg(4, "3").parse()?, arg(5, "1").parse()?);
    std::fs::create_dir_all(dir)?;
    let cores = std::thread::available_parallelism()?;
    println!("{chunks} MiB, seed {SEED}, zstd level {level}, {cores} processors, {rounds} rounds, medians");

    let corpus = Corpus::new(chunks);
    let lengths = pack(dir, &corpus, level)?;
    let mut alone = vec![Vec::new(); 5];
    let mut ways = vec![vec![Vec::new(); 3]; helpers.len()];
    let mut file_bytes = chunks * MIB as u64 * 6 / 10;
    for _ in 0..rounds {
        for (way, &helpers) in ways.iter_mut().zip(&helpers) {
            let (times, bytes) = snapshot(dir, &corpus, level, helpers)?;
            file_bytes = bytes;
            way.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
        }
        let times = floors(dir, &corpus, level, file_bytes)?;
        let times = times.into_iter().chain([unpack(dir, &lengths)?]);
        alone.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }
    std::fs::remove_file(dir.join("zstd"))?;
    let alone: Vec<f64> = alone.into_iter().map(median).collect();
    let (compression, decompression, writing, reading) = (alone[0], alone[1], alone[2], alone[3]);
    println!("file: {} MiB", file_bytes >> 20);
    let from_file = alone[4];
    println!(
        "zstd alone: {compression:.3} s, back: {decompression:.3} s, back from a file: {from_file:.3} s"
    );
    println!("raw write and sync: {writing:.3} s, raw read: {reading:.3} s");
    println!(
        "| helpers | write s | x larger floor | verify s | x larger floor | x zstd back | x from a file | read and compare s |"
    );
    for (way, helpers) in ways.into_iter().zip(helpers) {
        let times: Vec<f64> = way.into_iter().map(median).collect();
        let (write, verify, read) = (times[0], times[1], times[2]);
        let (x, y) = (write / compression.max(writing), verify / decompression.max(reading));
        let (z, f) = (verify / decompression, verify / from_file);
        println!("| {helpers} | {write:.3} | {x:.2} | {verify:.3} | {y:.2} | {z:.2} | {f:.2} | {read:.3} |");
    }
    let resident = resident_kib()?;
    println!("resident at most: {} MiB", resident >> 10);
    if resident > RESIDENT_KIB_MAX { Err("more than 64 MiB of memory".into()) } else { Ok(()) }
}
