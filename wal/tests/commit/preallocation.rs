//! Tests that the preallocator never overwrites groups, and that the log works with spares of another size,
//! on a full disk and after a release.
//!
//! Each test is the smallest history in which an earlier build lost acknowledged records or got stuck.

use crate::harness;

use harness::{Gate, Watchdog, env, ids, record, sleep_ms, spawned, stepped};
use seawall_wal::disk::sim::{CallOp, FaultError, FaultOp, FaultRule, HookDisk, SimDisk, SimOptions};
use seawall_wal::disk::{Disk, Mode};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{
    Durability, Error, Lsn, Options, PartInfo, RecordBuilder, Threads, UnexplainedTail, Wal,
    segments::SegmentIndexBuilder,
};
use std::ops::Range;
use std::sync::Arc;

const MIB: u32 = 1 << 20;

fn buffered() -> SimOptions {
    SimOptions { mode: Mode::Buffered, ..SimOptions::default() }
}

/// The payload size, in bytes, with which a [`record`] and its group fill `bytes` of a segment exactly.
fn filling(bytes: u32) -> usize {
    bytes as usize - 64 - 24 - 8 - 8
}

/// Makes a copy without blocks of zeros, as `cp --sparse=always`, `rsync -S` and `tar -S` do.
fn copy_sparse(from: &std::path::Path, to: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let file = std::fs::File::create(to.join(entry.file_name())).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (i, block) in bytes.chunks(4096).enumerate() {
            if block.iter().any(|&b| b != 0) {
                file.write_all_at(block, i as u64 * 4096).unwrap();
            }
        }
        file.sync_all().unwrap();
    }
}

#[test]
fn zeros_are_never_written_over_a_log_restored_from_a_sparse_copy() {
    let _watchdog = Watchdog::new("sparse copy");
    let places = [std::env::temp_dir(), "/dev/shm".into()];
    for place in places.iter().filter(|p| p.is_dir()) {
        let dir = tempfile::tempdir_in(place).unwrap();
        let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
        let options = Options::default().with_segment_bytes(4 * MIB);
        let wal = Wal::create(&original, &options).unwrap();
        let mut zeros = RecordBuilder::new();
        zeros.meta().extend(254u64.to_le_bytes());
        zeros.push_part(&vec![0; 20_000]);
        wal.append(&zeros, Durability::Sync).unwrap().wait().unwrap();
        for id in 0..20 {
            wal.append(&record(id, 5000), Durability::Sync).unwrap().wait().unwrap();
        }
        wal.close().unwrap();
        copy_sparse(&original, &copy);
        for _ in 0..2 {
            let (wal, _) = Wal::open(&copy, &options).unwrap();
            wal.append(&record(20, 10), Durability::Sync).unwrap().wait().unwrap();
            sleep_ms(100);
            let found: Vec<_> = wal.records(Lsn::ZERO).map(Result::unwrap).collect();
            assert!(found.len() > 21, "{}", place.display());
            wal.close().unwrap();
        }
    }
}

#[test]
fn larger_segments_after_reopening_with_spares_of_the_old_size() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let old = Options::default().with_segment_bytes(32 << 10).with_spare_segments(4);
        let new = Options::default().with_segment_bytes(256 << 10).with_spare_segments(4);
        let wal = Wal::create_in(stepped(&disk), &old).unwrap();
        wal.append(&record(1, 100), Durability::Sync).unwrap().wait().unwrap();
        let stepper = Stepper::new(&wal);
        while stepper.prepare().unwrap() {}
        wal.close().unwrap();

        let (wal, _) = Wal::open_in(stepped(&disk), &new).unwrap();
        let large = record(2, 100_000);
        assert!(large.encoded_len() < wal.record_bytes_max());
        for id in 2..5 {
            wal.append(&record(id, 100_000), Durability::Sync).unwrap().wait().unwrap();
        }
        assert_eq!(ids(&wal), [1, 2, 3, 4]);
        disk.crash();
        let (wal, report) = Wal::open_in(stepped(&disk), &new).unwrap();
        assert_eq!((ids(&wal), report.dropped.len()), (vec![1, 2, 3, 4], 0));
        wal.close().unwrap();
    }
}

#[test]
fn a_record_of_the_largest_size_fits_and_one_more_byte_leaves_no_trace() {
    for segment_bytes in [24 << 10, (24 << 10) + 3990, (28 << 10) - 1, 64 << 10, (64 << 10) + 4095] {
        let options = Options::default().with_segment_bytes(segment_bytes);
        let disk = SimDisk::new(1, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        let max = wal.record_bytes_max();
        assert!(max > 1000, "{segment_bytes}");
        let mut expected = Vec::new();
        for footer in (0..8200u32).step_by(97).filter(|&footer| footer as usize + 40 < max) {
            let id = u64::from(footer);
            let mut batch = record(id, max - footer as usize - 24 - 8 - 8);
            batch.set_footer_bytes(footer);
            assert_eq!(batch.encoded_len() + footer as usize, max);
            wal.append(&batch, Durability::Sync).unwrap().wait().unwrap();
            expected.push(id);
            let mut over = record(9, max - footer as usize - 24 - 8 - 8 + 1);
            over.set_footer_bytes(footer);
            let segment = wal.active_segment();
            assert!(matches!(wal.append(&over, Durability::Sync), Err(Error::RecordTooLarge { .. })));
            assert_eq!(wal.active_segment(), segment);
        }
        assert_eq!(ids(&wal), expected);
        disk.crash();
        assert_eq!(ids(&Wal::open_in(stepped(&disk), &options).unwrap().0), expected);
    }
}

/// A disk on which the zeros for the second MiB of segment 1 wait at the gate.
fn gated(disk: &Arc<SimDisk>, gate: &Arc<Gate>) -> Arc<dyn Disk> {
    let gate = Arc::clone(gate);
    HookDisk::new(disk.process(), move |call| {
        let spare = std::thread::current().name() == Some("seawall-spare");
        if spare
            && call.op == CallOp::Write
            && call.name.starts_with("00000001")
            && call.offset == u64::from(MIB)
        {
            gate.pass();
        }
        Ok(())
    })
}

#[test]
fn a_mark_keeps_out_of_blocks_that_are_being_zeroed() {
    let _watchdog = Watchdog::new("mark");
    let (disk, gate) = (SimDisk::new(1, SimOptions::default()), Arc::new(Gate::default()));
    let options = Options::default().with_segment_bytes(4 * MIB).with_idle_ms(5);
    let wal = Wal::create_in(env(gated(&disk, &gate), Threads::Spawned), &options).unwrap();
    gate.wait_for_one();
    // The header, the mark of the open and this record end where the zeroed blocks end.
    wal.append(&record(1, filling(MIB - 8192)), Durability::Sync).unwrap().wait().unwrap();
    assert_eq!(wal.durable(), Lsn::new(1, MIB));
    sleep_ms(100);
    gate.open();
    sleep_ms(100);
    wal.append(&record(2, 10), Durability::Sync).unwrap().wait().unwrap();
    wal.append(&record(3, 10), Durability::Sync).unwrap().wait().unwrap();
    disk.kill();
    drop(wal);
    assert_eq!(ids(&Wal::open_in(stepped(&disk), &options).unwrap().0), [1, 2, 3]);
}

/// An index builder that writes one byte for every footer byte that was reserved.
#[derive(Default)]
struct Bytes(usize);

impl SegmentIndexBuilder for Bytes {
    fn record(&mut self, _: Lsn, _: &[u8], parts: &mut dyn Iterator<Item = PartInfo>) {
        self.0 += parts.count();
    }

    fn seal(&mut self, _: u32, out: &mut Vec<u8>) {
        out.resize(std::mem::take(&mut self.0), 7);
    }
}

fn footed(id: u64, bytes: usize) -> RecordBuilder {
    let mut batch = record(id, bytes);
    batch.set_footer_bytes(1);
    batch
}

#[test]
fn a_footer_keeps_out_of_blocks_that_are_being_zeroed() {
    let _watchdog = Watchdog::new("footer");
    let (disk, gate) = (SimDisk::new(1, SimOptions::default()), Arc::new(Gate::default()));
    let options = Options::default().with_segment_bytes(4 * MIB).with_idle_ms(60_000);
    let wal = Wal::create_in(env(gated(&disk, &gate), Threads::Spawned), &options).unwrap();
    wal.set_index_builder(Box::<Bytes>::default()).unwrap();
    gate.wait_for_one();
    wal.append(&footed(1, filling(MIB - 8192)), Durability::Sync).unwrap().wait().unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            // This record does not fit into the rest of segment 1.
            wal.append(&footed(2, 7 * (MIB as usize / 2)), Durability::Sync).unwrap().wait().unwrap();
            wal.append(&footed(3, 10), Durability::Sync).unwrap().wait().unwrap();
        });
        sleep_ms(100);
        gate.open();
        next.join().unwrap();
    });
    sleep_ms(50);
    disk.kill();
    drop(wal);
    assert_eq!(ids(&Wal::open_in(stepped(&disk), &options).unwrap().0), [1, 2, 3]);
}

#[test]
fn a_mark_leaves_the_footer_its_room() {
    let disk = SimDisk::new(1, SimOptions::default());
    let options = Options::default().with_segment_bytes(64 << 10);
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    wal.set_index_builder(Box::<Bytes>::default()).unwrap();
    let mut stepper = Stepper::new(&wal);
    for id in 0..200 {
        wal.append(
            &footed(id, [3000, 4000, 5000, 6000, 7000, 8000, 9000][usize::try_from(id % 7).unwrap()]),
            Durability::Sync,
        )
        .unwrap()
        .wait()
        .unwrap();
        stepper.idle();
        while stepper.prepare().unwrap() {}
    }
    let sealed = wal.active_segment() - 1;
    wal.close().unwrap();
    let found = seawall_wal::inspect::inspect(&*disk).unwrap();
    let footers = |s: &seawall_wal::inspect::SegmentScan| {
        s.heads.iter().filter(|h| h.kind == seawall_wal::inspect::GroupKind::Footer).count()
    };
    let footers: usize = found.segments.iter().map(footers).sum();
    assert_eq!(footers, sealed as usize);
}

#[test]
fn a_failed_sync_of_zeros_is_a_failed_sync() {
    // The error of the sync may concern a group in the same file, and the kernel reports it only once.
    for seed in 0..20 {
        let disk = SimDisk::new(seed, buffered());
        let options = Options::default().with_segment_bytes(2 * MIB);
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        let stepper = Stepper::new(&wal);
        let ticket = wal.append(&record(1, 3000), Durability::Sync).unwrap();
        let write = stepper.issue().unwrap();
        stepper.complete(write);
        assert!(!ticket.is_durable());
        disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Full).on("00000001.wal"));
        for _ in 0..30 {
            if !stepper.prepare().unwrap_or(false) {
                break;
            }
        }
        disk.clear_faults();
        while let Some(io) = stepper.issue() {
            stepper.complete(io);
        }
        let acknowledged = ticket.is_durable();
        disk.crash();
        let (wal, _) = Wal::open_in(stepped(&disk), &options).unwrap();
        assert!(!acknowledged || ids(&wal) == [1], "seed {seed}: acknowledged and lost");
    }
}

#[test]
fn a_full_disk_does_not_keep_the_segment_in_use_from_being_filled() {
    let _watchdog = Watchdog::new("full disk");
    for threads in [Threads::Stepped, Threads::Spawned] {
        let disk = SimDisk::new(1, SimOptions::default());
        let options = Options::default().with_segment_bytes(4 * MIB);
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        wal.close().unwrap();
        // The existing segments are allocated in full, and the disk has no free byte.
        disk.set_capacity(Some(0));
        let (wal, _) = Wal::open_in(env(disk.process(), threads), &options).unwrap();
        let full = fill_up(&wal, 100_000);
        assert!(full >= 38, "{full} records in the 4 MiB that were reserved");
        disk.set_capacity(None);
        append_all(&wal, full..full + 60, || {
            if threads == Threads::Stepped {
                Stepper::new(&wal).prepare().unwrap();
            }
            sleep_ms(1);
        });
        wal.close().unwrap();
        let (wal, _) = Wal::open_in(stepped(&disk), &options).unwrap();
        assert_eq!(ids(&wal), (0..full + 60).collect::<Vec<_>>());
    }
}

#[test]
fn where_written_blocks_are_not_reserved_a_full_disk_is_an_error_not_a_hang() {
    // As on a copy-on-write file system, zeros for an allocated block find the disk full.
    let _watchdog = Watchdog::new("full for zeros");
    let disk = SimDisk::new(1, SimOptions::default());
    let options = Options::default().with_segment_bytes(4 * MIB);
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = Arc::clone(&full);
    let hooked = HookDisk::new(disk.process(), move |call| {
        let many = call.offset >= u64::from(MIB) && call.bytes.len() >= 128 << 10;
        let zeros = call.op == CallOp::Write && many && call.bytes.iter().all(|&byte| byte == 0);
        if zeros && switch.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        Ok(())
    });
    let wal = Wal::create_in(env(hooked, Threads::Spawned), &options).unwrap();
    let n = fill_up(&wal, 100_000);
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    append_all(&wal, n..60, || sleep_ms(10));
    assert_eq!(ids(&wal), (0..60).collect::<Vec<_>>());
    wal.close().unwrap();
}

/// Fills the log until the disk has no room for another segment. Returns the number of records.
fn fill_up(wal: &Wal, bytes: usize) -> u64 {
    let mut n = 0;
    loop {
        match wal.append(&record(n, bytes), Durability::Sync) {
            Ok(ticket) => {
                ticket.wait().unwrap();
            }
            Err(Error::NoSpace { .. }) => return n,
            Err(error) => panic!("{error}"),
        }
        n += 1;
    }
}

/// Appends the records of these numbers, with 100,000 bytes each. Calls `wait` before each new try while the
/// disk has no room.
fn append_all(wal: &Wal, numbers: Range<u64>, wait: impl Fn()) {
    for n in numbers {
        let ticket = loop {
            match wal.append(&record(n, 100_000), Durability::Sync) {
                Ok(ticket) => break ticket,
                Err(Error::NoSpace { .. }) => wait(),
                Err(error) => panic!("{error}"),
            }
        };
        ticket.wait().unwrap();
    }
}

#[test]
fn releasing_frees_a_full_disk_without_reopening() {
    let _watchdog = Watchdog::new("release on a full disk");
    releases_a_full_disk(10_000, 0);
    releases_a_full_disk(10_000, 100);
}

#[test]
fn releasing_frees_a_full_disk_although_the_segment_is_full_to_the_last_block() {
    let _watchdog = Watchdog::new("release on a full disk");
    releases_a_full_disk(8000, 100);
}

fn releases_a_full_disk(bytes: usize, quiet_ms: u64) {
    let sim = SimOptions { capacity_bytes: Some(400 << 10), ..SimOptions::default() };
    let disk = SimDisk::new(1, sim);
    let wal = Wal::create_in(spawned(&disk), &harness::small()).unwrap();
    let n = fill_up(&wal, bytes);
    sleep_ms(quiet_ms);
    wal.release(wal.active_segment()).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    loop {
        match wal.append(&record(n, bytes), Durability::Sync) {
            Ok(ticket) => {
                ticket.wait().unwrap();
                break;
            }
            Err(Error::NoSpace { .. }) if std::time::Instant::now() < end => sleep_ms(5),
            Err(error) => panic!("{bytes} bytes, after {quiet_ms} ms: {error}"),
        }
    }
    wal.close().unwrap();
}

#[test]
fn a_crash_on_a_full_disk_can_be_recovered_from() {
    for seed in 0..50 {
        let sim = SimOptions { capacity_bytes: Some(400 << 10), ..SimOptions::default() };
        let disk = SimDisk::new(seed, sim);
        let options = harness::small();
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        let n = fill_up(&wal, 30_000);
        let stepper = Stepper::new(&wal);
        let _ticket = wal.append(&record(n, 3000), Durability::Sync);
        if let Some(io) = stepper.issue() {
            stepper.abandon(&io);
        }
        drop(wal);
        disk.crash();
        match Wal::open_in(stepped(&disk), &options) {
            Ok((wal, _)) => assert_eq!(ids(&wal)[..usize::try_from(n).unwrap()], (0..n).collect::<Vec<_>>()),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

#[test]
fn an_empty_log_is_not_shortened_before_its_new_start_is_durable() {
    let options = harness::small().with_unexplained_tail(UnexplainedTail::Drop);
    for seed in 0..300 {
        let disk = SimDisk::new(seed, SimOptions::default());
        drop(Wal::create_in(stepped(&disk), &options).unwrap());
        disk.kill();
        // The padding of the first mark rots. No watermark says that the mark was durable.
        disk.corrupt("00000001.wal", 4096 + 100, |bytes| bytes[0] ^= 1);
        disk.crash_after(1 + seed % 30);
        let _ = Wal::open_in(stepped(&disk), &options);
        disk.crash();
        let again = Wal::open_in(stepped(&disk), &options);
        assert!(again.is_ok(), "seed {seed}: {}", again.unwrap_err());
    }
}

#[test]
fn zeros_stay_ahead_of_the_records_but_do_not_compete_with_them() {
    let env = env(SimDisk::new(1, SimOptions::default()), Threads::Stepped);
    let options = Options::default().with_segment_bytes(16 * MIB);
    let wal = Wal::create_in(env, &options).unwrap();
    let stepper = Stepper::new(&wal);
    stepper.pace();
    let (mut batch, mut written) = (RecordBuilder::new(), 0);
    batch.push_part(&[7; 12_000]);
    for _ in 0..300 {
        drop(wal.append(&batch, Durability::Sync).unwrap());
        stepper.complete(stepper.issue().unwrap());
        written += 12_288;
        while stepper.prepare().unwrap() {}
        let headers = 5 * u64::from(MIB);
        let most = headers + written * 5 / 4 + 4 * u64::from(MIB) + (128 << 10);
        let zeroed = wal.stats().preallocated_bytes;
        assert!(zeroed <= most, "{zeroed} bytes of zeros for {written} bytes of records");
    }
    assert_eq!(wal.stats().appends_waited, 0);
    // An idle log gets all its zeros at once.
    for _ in 0..30 {
        while stepper.prepare().unwrap() {}
    }
    let files = 1 + u64::from(options.spare_segments);
    // Nearly: `create` writes the first pieces of two files itself.
    assert!(wal.stats().preallocated_bytes >= (files * 16 - 2) * u64::from(MIB));
}
