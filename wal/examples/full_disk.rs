//! Fills the file system of a directory, frees it and continues, repeatedly. The file system should be small and have
//! no other users; `benches/full-disk.sh` makes one. Fails if an acknowledged record is missing.
//!
//! `full_disk <directory> [cycles]`. On a file system with `cp --reflink`: `full_disk <directory> 1 shared`, where a
//! copy shares the blocks of released files. There is no space for their zeros then, and the log must not retry without
//! a pause.

use seawall_wal::disk::is_no_room;
use seawall_wal::{Durability, Error, Lsn, Options, RecordBuilder, Ticket, Wal};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Payload of one record in bytes, and the number of records that may wait for the disk.
const PAYLOAD_BYTES: usize = 48 << 10;
const IN_FLIGHT: usize = 16;

/// Size of the other file, in bytes.
const HOG_BYTES: usize = 64 << 20;

/// Time limit for the log to notice freed space.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options::default().with_segment_bytes(8 << 20)
}

/// One log that is filled, and the records that it acknowledged.
struct Filled {
    dir: PathBuf,
    wal: Wal,
    next: u64,
    /// Records acknowledged and not released, with their numbers.
    acknowledged: VecDeque<(Lsn, u64)>,
}

fn payload(number: u64) -> Vec<u8> {
    let mut bytes = vec![number.to_le_bytes()[0]; PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

impl Filled {
    /// Appends one record without waiting for it.
    fn append(&mut self) -> Result<Ticket, Error> {
        let mut batch = RecordBuilder::new();
        batch.push_part(&payload(self.next));
        self.wal.append(&batch, Durability::Sync)
    }

    /// Appends until the disk is full. Returns the number of records.
    fn fill(&mut self) -> Result<usize, Error> {
        let before = self.acknowledged.len();
        let mut tickets: VecDeque<(Ticket, u64)> = VecDeque::new();
        let mut full = false;
        while !full || !tickets.is_empty() {
            if !full && tickets.len() < IN_FLIGHT {
                match self.append() {
                    Ok(ticket) => tickets.push_back((ticket, self.next)),
                    Err(Error::NoSpace { .. }) => full = true,
                    Err(error) => return Err(error),
                }
                self.next += u64::from(!full);
                continue;
            }
            if let Some((ticket, number)) = tickets.pop_front() {
                self.acknowledged.push_back((ticket.wait()?, number));
            }
        }
        Ok(self.acknowledged.len() - before)
    }

    /// Appends one record as soon as there is space for it. Returns how long that took.
    fn go_on(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        loop {
            match self.append() {
                Ok(ticket) => {
                    self.acknowledged.push_back((ticket.wait()?, self.next));
                    self.next += 1;
                    return Ok(start.elapsed());
                }
                Err(Error::NoSpace { .. }) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks that the log has all records acknowledged and not released, in order, and no unknown ones.
    fn verify(&self) -> Result<usize, Error> {
        let mut missing = self.acknowledged.iter().peekable();
        let Some((first, _)) = missing.peek() else { return Ok(0) };
        for record in self.wal.records(*first) {
            let record = record?;
            let Some((lsn, number)) = missing.next() else { panic!("{}: never appended", record.lsn()) };
            assert_eq!(record.lsn(), *lsn, "record {number} is not where it was");
            let (_, bytes) = record.parts().next().expect("one part");
            assert_eq!(bytes, payload(*number), "record {number} at {lsn}");
        }
        assert_eq!(missing.next(), None, "acknowledged, and not there");
        Ok(self.acknowledged.len())
    }

    /// Releases all but the last two segments.
    fn release(&mut self) -> Result<(), Error> {
        let below = self.wal.active_segment().saturating_sub(1);
        self.wal.release(below)?;
        self.acknowledged.retain(|(lsn, _)| lsn.segment() >= below);
        Ok(())
    }

    /// Closes the log, or only drops it, and opens it again. A full disk may refuse the mark that closing writes.
    fn reopen(self, close: bool) -> Result<Filled, Error> {
        let Filled { dir, wal, next, acknowledged } = self;
        let ended = if close {
            wal.close()
        } else {
            drop(wal);
            Ok(())
        };
        match ended {
            Ok(()) | Err(Error::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        let (wal, report) = Wal::open(&dir, &options())?;
        assert!(report.dropped.is_empty(), "all was waited for: {:?}", report.dropped);
        Ok(Filled { dir, wal, next, acknowledged })
    }
}

/// Takes up to `bytes` bytes of space from the log.
fn hog(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..bytes >> 20 {
        match file.write_all(&[1; 1 << 20]) {
            Err(e) if is_no_room(&e) => break,
            result => result?,
        }
    }
    match file.sync_all() {
        Err(e) if is_no_room(&e) => Ok(()),
        result => result,
    }
}

/// Processor time of this process. The kernel counts hundredths of a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the name, which may hold any character.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(12).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Releases files whose blocks a copy shares while the disk is full.
fn shared(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (log, copy, hog_file) = (dir.join("log"), dir.join("copy"), dir.join("hog"));
    let wal = Wal::create(&log, &options())?;
    let mut filled = Filled { dir: log.clone(), wal, next: 0, acknowledged: VecDeque::new() };
    while filled.wal.active_segment() < 10 {
        filled.go_on()?;
    }
    fs::create_dir(&copy)?;
    for sequence in 1..filled.wal.active_segment() {
        let name = seawall_wal::inspect::file_name(sequence);
        let args = [Path::new("--reflink=always"), &log.join(&name), &copy.join(&name)];
        assert!(std::process::Command::new("cp").args(args).status()?.success(), "no shared blocks here");
    }
    hog(&hog_file, usize::MAX)?;
    filled.release()?;
    let wait = Duration::from_secs(2);
    std::thread::sleep(wait);
    let before = processor_time();
    std::thread::sleep(wait);
    let (used, stats) = (processor_time() - before, filled.wal.stats());
    println!(
        "{} ms of processor in {} s; found no room {} times, gave up {} released files",
        used.as_millis(),
        wait.as_secs(),
        stats.no_room,
        stats.released_given_up
    );
    assert!(used < wait / 4, "a full disk is tried without a pause");
    assert!(stats.released_given_up > 0, "no released file met the full disk");
    fs::remove_file(&hog_file)?;
    filled.go_on()?;
    filled.verify()?;
    filled.wal.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: full_disk <directory> [cycles]")?);
    let cycles: u32 = args.next().map_or(Ok(20), |n| n.parse())?;
    if args.next().is_some_and(|word| word == "shared") {
        return shared(&dir);
    }
    let (log, hog_file) = (dir.join("log"), dir.join("hog"));
    let wal = Wal::create(&log, &options())?;
    let mut filled = Filled { dir: log, wal, next: 0, acknowledged: VecDeque::new() };
    for cycle in 0..cycles {
        let hogged = cycle % 4 == 1;
        if hogged {
            hog(&hog_file, HOG_BYTES)?;
        }
        let records = filled.fill()?;
        let kept = filled.verify()?;
        let reopened = cycle % 5 == 2 || cycle % 5 == 4;
        if reopened {
            filled = filled.reopen(cycle % 5 == 2)?;
            filled.verify()?;
        }
        // The space comes from the other file, or from the log itself.
        if hogged {
            fs::remove_file(&hog_file)?;
        } else {
            filled.release()?;
        }
        let waited = filled.go_on()?;
        filled.verify()?;
        println!(
            "cycle {cycle:>2}: {records:>5} records until full, {kept:>5} checked, {}, {} ms until the next",
            match (reopened, hogged) {
                (true, _) => "reopened while full",
                (_, true) => "other file removed ",
                _ => "segments released  ",
            },
            waited.as_millis()
        );
        if cycle % 7 == 3 {
            filled = filled.reopen(true)?;
            filled.verify()?;
        }
    }
    let strategy = filled.wal.stats().strategy;
    filled.wal.close()?;
    println!("{cycles} cycles, strategy {strategy}: all acknowledged records were there");
    Ok(())
}
