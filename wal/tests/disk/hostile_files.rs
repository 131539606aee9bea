//! Tests that hostile files and unusual answers of the system neither make the log panic nor make it lose
//! records: headers with right checksums and false contents, names at the end of the number space, short
//! reads, odd block sizes, and a directory that moves.

use crate::harness;

use harness::{ids, record, small, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, Mode, PosixDisk, read_exact_medium};
use seawall_wal::inspect::{GroupHeader, GroupKind, Identity, PriorContents, SegmentHeader, inspect};
use seawall_wal::{Durability, Error, Lsn, Options, UnexplainedTail, Wal};
use std::io;
use std::sync::Arc;

/// A file of which one call reads at most a page.
#[derive(Debug)]
struct Slow(Vec<u8>);

impl DiskFile for Slow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn links(&self) -> io::Result<u64> {
        Ok(1)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn written_end(&self, _: u64) -> io::Result<u64> {
        self.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
        let n = rest.len().min(buf.len()).min(4096);
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.read_at(&mut buf[..len], offset)
    }
    fn write_at(&self, buf: &[u8], _: u64, _: bool) -> io::Result<usize> {
        Ok(buf.len())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn drop_cache(&self) {}
}

#[test]
fn a_read_larger_than_the_kernel_does_at_once_goes_on() {
    // Linux transfers at most 0x7ffff000 bytes per call; a group may be larger.
    let _watchdog = harness::Watchdog::new("short reads");
    let file = Slow((0..40_960u32).map(|i| u8::try_from(i % 251).unwrap()).collect());
    let mut buf = AlignedBuf::zeroed(32_768);
    read_exact_medium(&file, &mut buf, 4096, 32_768).unwrap();
    assert_eq!(buf[..], file.0[4096..36_864]);
    let error = read_exact_medium(&file, &mut buf, 12_288, 32_768).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// A closed log of a few records in two or three segments, and its identity.
fn closed_log(seed: u64) -> (Arc<SimDisk>, Identity) {
    let disk = SimDisk::new(seed, SimOptions::default());
    let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
    for id in 0..8 {
        wal.append(&record(id, 12_000), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    let identity = inspect(&*disk).unwrap().identity;
    (disk, identity)
}

/// Opens the log with either policy. A log that opens must keep the record that is then appended.
fn opens_or_refuses(disk: &Arc<SimDisk>, what: &str) {
    for suspect in [UnexplainedTail::Refuse, UnexplainedTail::Drop] {
        let disk = disk.fork(3);
        let options = small().with_unexplained_tail(suspect);
        let Ok((wal, _)) = Wal::open_in(stepped(&disk), &options) else { continue };
        let before = ids(&wal);
        wal.append(&record(99, 10), Durability::Sync).unwrap().wait().unwrap();
        drop(wal);
        disk.crash();
        let (wal, _) = Wal::open_in(stepped(&disk), &options)
            .unwrap_or_else(|error| panic!("{what}: opened, then refused: {error}"));
        assert_eq!(ids(&wal), [before, vec![99]].concat(), "{what}");
    }
}

#[test]
fn crafted_groups_never_panic_open_nor_make_it_forget() {
    let (disk, identity) = closed_log(1);
    let found = inspect(&*disk).unwrap();
    let verdict = found.verdict.as_ref().unwrap();
    let end = verdict.end;
    let scan = found.segments.iter().find(|s| s.sequence == end.segment()).unwrap();
    let (header, last) = (scan.header.unwrap(), scan.heads.last().unwrap());
    let name = format!("{:08x}.wal", end.segment());
    let sane = GroupHeader {
        kind: GroupKind::Mark,
        lsn: end,
        watermark: end,
        previous_end: last.previous_end,
        first_live: 1,
        record_count: 0,
        wall_clock_ms: 0,
        body_bytes: 0,
    };
    let values = [0, 1, 2, 3, 4, 7, 1 << 31, u32::MAX - 1, u32::MAX];
    let positions = values.iter().flat_map(|&s| values.iter().map(move |&o| Lsn::new(s, o & !4095)));
    let mut crafted = vec![sane];
    for kind in [GroupKind::Data, GroupKind::Mark, GroupKind::Footer] {
        crafted.extend(values.map(|v| GroupHeader { kind, body_bytes: v, ..sane }));
        crafted.extend(values.map(|v| GroupHeader { kind, record_count: v, ..sane }));
        crafted.extend(values.map(|v| GroupHeader { kind, first_live: v, ..sane }));
    }
    crafted.extend(positions.clone().map(|at| GroupHeader { watermark: at, ..sane }));
    crafted.extend(positions.map(|at| GroupHeader { previous_end: at, ..sane }));
    for group in crafted {
        // After the end of the log, in place of its last mark, and as the first group of a segment.
        for at in [end, Lsn::new(end.segment(), last.offset), Lsn::new(end.segment(), 4096)] {
            let disk = disk.fork(1);
            let group = GroupHeader { lsn: at, ..group };
            disk.corrupt(&name, at.offset() as usize, |bytes| {
                bytes[..4096].fill(0);
                group.encode(header.salt, bytes);
            });
            opens_or_refuses(&disk, &format!("{group:?}"));
        }
    }
    assert_eq!(identity.block_bytes, 4096);
}

#[test]
fn crafted_segments_never_panic_open_nor_make_it_forget() {
    let (disk, identity) = closed_log(1);
    let top = inspect(&*disk).unwrap().segments.last().unwrap().sequence;
    for sequence in [top + 1, top + 2, 1 << 31, u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, u32::MAX] {
        for first_live in [0, 1, 2, top, top + 1, top + 2, sequence, u32::MAX - 1, u32::MAX] {
            for alone in [false, true] {
                for touched in [false, true] {
                    let disk = disk.fork(1);
                    let header = SegmentHeader {
                        uuid: identity.uuid,
                        sequence,
                        salt: 5,
                        first_live,
                        block_bytes: 4096,
                        file_bytes: 65536,
                        prior: PriorContents::Zeros,
                        reach_blocks: 0,
                    };
                    let mut bytes = vec![0; 65536];
                    header.encode(&mut bytes[..4096]);
                    if touched {
                        let group = GroupHeader {
                            kind: GroupKind::Mark,
                            lsn: Lsn::new(sequence, 4096),
                            watermark: Lsn::ZERO,
                            previous_end: Lsn::ZERO,
                            first_live: 1,
                            record_count: 0,
                            wall_clock_ms: 0,
                            body_bytes: 0,
                        };
                        group.encode(5, &mut bytes[4096..]);
                    }
                    disk.write_file(&format!("{sequence:08x}.wal"), &bytes);
                    if alone {
                        (1..=top).for_each(|n| disk.remove_file(&format!("{n:08x}.wal")));
                    }
                    opens_or_refuses(&disk, &format!("{sequence:#x} {first_live:#x} {alone} {touched}"));
                }
            }
        }
    }
}

#[test]
fn every_block_size_works_or_is_refused_by_name() {
    for block_size in [512, 4096, 8192, 16 << 10, 64 << 10, 128 << 10] {
        for mode in [Mode::Direct, Mode::Buffered] {
            for segment_bytes in [16 << 10, 64 << 10, 300 << 10] {
                let disk = SimDisk::new(1, SimOptions { mode, block_size, ..SimOptions::default() });
                let options = Options::default().with_segment_bytes(segment_bytes);
                let wal = match Wal::create_in(stepped(&disk), &options) {
                    Ok(wal) => wal,
                    Err(Error::OptionOutOfRange(_) | Error::Io { .. }) => continue,
                    Err(error) => panic!("{block_size} {mode:?} {segment_bytes}: {error}"),
                };
                let bytes = wal.record_bytes_max().min(9000) - 40;
                for id in 0..20 {
                    wal.append(&record(id, bytes), Durability::Sync).unwrap().wait().unwrap();
                }
                drop(wal);
                disk.crash();
                let (wal, _) = Wal::open_in(stepped(&disk), &options).unwrap();
                assert_eq!(ids(&wal), (0..20).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_log_is_not_opened_on_a_disk_of_larger_blocks() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let with = |block_size| SimDisk::new(1, SimOptions { mode, block_size, ..SimOptions::default() });
        let moved = |from: &SimDisk, block_size| {
            let to = with(block_size);
            from.names().iter().for_each(|name| to.write_file(name, &from.read_file(name)));
            to
        };
        let (small, large) = (with(4096), with(16 << 10));
        let options = Options::default().with_segment_bytes(512 << 10);
        for disk in [&small, &large] {
            let wal = Wal::create_in(stepped(disk), &options).unwrap();
            wal.append(&record(1, 9000), Durability::Sync).unwrap().wait().unwrap();
            wal.close().unwrap();
        }
        // A block of the disk holds several blocks of the log, so writing one would write its neighbours,
        // too.
        let disk = moved(&small, 16 << 10);
        let before: Vec<_> = disk.names().iter().map(|name| disk.read_file(name)).collect();
        let error = Wal::open_in(stepped(&disk), &options).unwrap_err();
        assert!(matches!(&error, Error::BlockSize { log: 4096, disk: 16384, .. }), "{mode:?}: {error}");
        let after: Vec<_> = disk.names().iter().map(|name| disk.read_file(name)).collect();
        assert!(before == after, "{mode:?}: changed on refusal");
        // On a disk with smaller blocks, the log's blocks share none.
        let disk = moved(&large, 4096);
        let (wal, _) = Wal::open_in(stepped(&disk), &options).unwrap();
        wal.append(&record(2, 9000), Durability::Sync).unwrap().wait().unwrap();
        assert_eq!(ids(&wal), [1, 2]);
    }
}

#[test]
fn no_file_of_a_real_directory_refuses_to_wait() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = PosixDisk::open(place.path(), Some(mode)).unwrap();
        let name = format!("{mode:?}");
        for access in [Access::Create, Access::Write, Access::Read] {
            let Ok(file) = disk.open(&name, access) else {
                assert_eq!(mode, Mode::Direct, "{access:?}");
                continue;
            };
            // Under io_uring an operation on such a file fails with EAGAIN wherever it would have to wait.
            let flags = rustix::fs::fcntl_getfl(file.descriptor().unwrap()).unwrap();
            assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{mode:?} {access:?}: {flags:?}");
        }
    }
}

#[test]
fn a_log_made_in_small_segments_is_not_opened_with_ones_too_small_for_its_blocks() {
    let sim = SimOptions { mode: Mode::Buffered, block_size: 64 << 10, ..SimOptions::default() };
    let disk = SimDisk::new(1, sim);
    let good = Options::default().with_segment_bytes(1 << 20);
    Wal::create_in(stepped(&disk), &good).unwrap().close().unwrap();
    let names = disk.names();
    let bad = Options::default().with_segment_bytes(64 << 10);
    let error = Wal::open_in(stepped(&disk), &bad).unwrap_err();
    assert!(matches!(error, Error::OptionOutOfRange(o) if o.option == "segment_bytes" && o.min == 384 << 10));
    assert_eq!(disk.names(), names);
}

#[test]
fn the_directory_may_be_moved_while_the_log_is_open() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let options = small();
    let wal = Wal::create(old.join("log"), &options).unwrap();
    std::fs::rename(&old, &new).unwrap();
    for id in 0..40 {
        wal.append(&record(id, 10_000), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    let (wal, _) = Wal::open(new.join("log"), &options).unwrap();
    assert_eq!(ids(&wal), (0..40).collect::<Vec<_>>());
}
