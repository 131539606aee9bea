//! Tests that each mistake of users and other programs is an error that names what is wrong and where, and
//! changes nothing (INV-9).

use crate::harness;

use harness::{ids, record, small};
use seawall_wal::{Durability, Error, OpenMode, Options, RecordBuilder, Wal};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everything in `dir`: kind and permissions, and the bytes of regular files.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, (meta.permissions().mode(), bytes));
    }
    found
}

/// A closed log of twelve records in a few segments.
fn log() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("log");
    let wal = Wal::create(&dir, &small()).unwrap();
    for id in 0..12 {
        wal.append(&record(id, 10_000), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    (place, dir)
}

fn segment_names(dir: &Path) -> Vec<String> {
    let names = snapshot(dir).into_keys().map(|p| p.file_name().unwrap().to_string_lossy().into_owned());
    names.filter(|n| n.ends_with(".wal")).collect()
}

/// Asserts that open fails with an error that `is_right` accepts and that mentions `name`, that create fails
/// too, and that neither changes anything.
#[track_caller]
fn refused(dir: &Path, name: &str, is_right: impl Fn(&Error) -> bool) {
    let before = snapshot(dir);
    let error = Wal::open(dir, &small()).unwrap_err();
    assert!(is_right(&error), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(name) && text.contains(&dir.display().to_string()), "{text}");
    assert!(Wal::create(dir, &small()).is_err());
    let after = snapshot(dir);
    assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
    assert!(before == after, "{name}: something changed");
}

#[test]
fn the_directory_is_a_file_or_missing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(Wal::open(&file, &small()), Err(Error::NotADirectory { .. })));
    assert!(matches!(Wal::create(&file, &small()), Err(Error::NotADirectory { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"x");
    let missing = place.path().join("a/b");
    assert!(matches!(Wal::open(&missing, &small()), Err(Error::NotALog { .. })));
    assert!(matches!(Wal::create(&missing, &small()), Err(Error::Io { .. })));
    assert!(!place.path().join("a").exists());
}

#[test]
fn an_empty_directory_is_no_log_and_stays_empty() {
    let place = tempfile::tempdir().unwrap();
    let error = Wal::open(place.path(), &small()).unwrap_err();
    assert!(matches!(&error, Error::NotALog { found: "no IDENTITY", .. }), "{error}");
    assert!(snapshot(place.path()).is_empty());
    Wal::create(place.path(), &small()).unwrap();
}

/// A mounted tmpfs, which is unmounted when this is dropped.
struct ReadOnly(tempfile::TempDir);

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_directory_that_cannot_be_written() {
    let place = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| {
        let done = Command::new("mount").args(args).arg(place.path()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=8m", "seawall-test"]) {
        eprintln!("skipped: no right to mount");
        return;
    }
    let dir = place.path().join("log");
    let wal = Wal::create(&dir, &small()).unwrap();
    wal.append(&record(1, 10), Durability::Sync).unwrap().wait().unwrap();
    wal.close().unwrap();
    assert!(mount(&["-o", "remount,ro"]));
    let place = ReadOnly(place);
    let before = snapshot(&dir);
    let error = Wal::open(&dir, &small()).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("Read-only"), "{error}");
    let error = Wal::create(place.0.path().join("other"), &small()).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("Read-only"), "{error}");
    assert!(before == snapshot(&dir));
}

#[test]
fn locked_by_another_process_which_is_named() {
    const HOLD: &str = "SEAWALL_TEST_HOLD";
    if let Some(dir) = std::env::var_os(HOLD) {
        let (wal, _) = Wal::open(dir, &small()).unwrap();
        settle(&wal);
        println!("\nheld");
        // Holds the log until the parent ends this process.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let (_place, dir) = log();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bad_input::locked_by_another_process_which_is_named", "--nocapture"])
        .env(HOLD, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let before = snapshot(&dir);
    let error = Wal::open(&dir, &small()).unwrap_err();
    let name = format!("process {}", holder.id());
    assert!(matches!(&error, Error::Locked { holder, .. } if *holder == name), "{error:?}");
    assert!(error.to_string().contains(&name));
    assert!(matches!(Wal::create(&dir, &small()), Err(Error::AlreadyALog { .. })));
    assert!(before == snapshot(&dir));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(ids(&Wal::open(&dir, &small()).unwrap().0).len(), 12);
}

#[test]
fn the_same_process_twice() {
    let (_place, dir) = log();
    let (wal, _) = Wal::open(&dir, &small()).unwrap();
    let name = format!("process {}", std::process::id());
    assert!(matches!(Wal::open(&dir, &small()), Err(Error::Locked { holder, .. }) if holder == name));
    drop(wal);
    Wal::open(&dir, &small()).unwrap();
}

#[test]
fn a_log_whose_lock_file_was_removed_stays_locked() {
    let (_place, dir) = log();
    let (wal, _) = Wal::open(&dir, &small()).unwrap();
    for round in 0..2 {
        fs::remove_file(dir.join("LOCK")).unwrap();
        let error = Wal::open(&dir, &small()).map(drop).expect_err("two writers");
        assert!(matches!(&error, Error::Locked { .. }), "{error}");
        assert!(!dir.join("LOCK").exists(), "round {round}: a refused open makes no file");
        let salvage = small().with_mode(OpenMode::Salvage);
        assert!(matches!(Wal::open(&dir, &salvage), Err(Error::Locked { .. })), "round {round}");
        fs::write(dir.join("LOCK"), "someone else").unwrap();
        let error = Wal::open(&dir, &small()).map(drop).expect_err("two writers");
        assert!(
            !error.to_string().contains("someone else"),
            "the file names a process that holds no lock: {error}"
        );
    }
    wal.append(&record(12, 100), Durability::Sync).unwrap().wait().unwrap();
    drop(wal);
    assert_eq!(ids(&Wal::open(&dir, &small()).unwrap().0).len(), 13);
}

/// The user may pass through the directory above the log's, but neither read nor sync it.
#[test]
fn the_directory_above_need_not_be_readable() {
    const DIR: &str = "SEAWALL_TEST_ABOVE";
    let create_and_open = |dir: &Path| {
        let wal = Wal::create(dir, &small()).unwrap();
        wal.append(&record(0, 100), Durability::Sync).unwrap().wait().unwrap();
        wal.close().unwrap();
        let (wal, _) = Wal::open(dir, &small()).unwrap();
        (1..12).for_each(|id| _ = wal.append(&record(id, 12_000), Durability::Sync).unwrap().wait().unwrap());
        assert_eq!(ids(&wal).len(), 12);
    };
    if let Some(dir) = std::env::var_os(DIR) {
        assert!(fs::read_dir(Path::new(&dir).parent().unwrap()).is_err(), "it can be read");
        create_and_open(Path::new(&dir));
        // The directory above may be written to, so that the log's own directory can be made there.
        return create_and_open(&Path::new(&dir).with_file_name("made"));
    }
    let place = tempfile::tempdir().unwrap();
    let (above, dir) = (place.path().join("above"), place.path().join("above/log"));
    fs::create_dir_all(&dir).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&dir, 0o700);
    // Root may read everything, so as root the test runs again in a process of another user.
    if fs::metadata(&dir).unwrap().uid() == 0 {
        const NOBODY: u32 = 65534;
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        set(place.path(), 0o711);
        set(&above, 0o733);
        let program = place.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let done = Command::new(&program)
            .args(["--exact", "bad_input::the_directory_above_need_not_be_readable", "--nocapture"])
            .current_dir("/")
            .env(DIR, &dir)
            .uid(NOBODY)
            .gid(NOBODY)
            .output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        let passed = done.status.success() && said.contains("1 passed");
        assert!(passed, "{said}{}", String::from_utf8_lossy(&done.stderr));
    } else {
        set(&above, 0o311);
        create_and_open(&dir);
        create_and_open(&above.join("made"));
        set(&above, 0o755);
    }
}

/// Changes bytes of a structure of 64 bytes at the start of a file, and corrects its checksum.
fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
    let mut head = [0; 60];
    file.read_exact_at(&mut head, 0).unwrap();
    file.write_all_at(&crc_fast::crc32_iscsi(&head).to_le_bytes(), 60).unwrap();
}

#[test]
fn another_version_of_the_format() {
    for (name, version) in [("IDENTITY", 2u32), ("IDENTITY", 0), ("00000001.wal", 7), ("00000002.wal", 7)] {
        let (_place, dir) = log();
        patch(&dir.join(name), 8, &version.to_le_bytes());
        refused(&dir, name, |e| {
            let Error::UnsupportedVersion { file, found, supported: 1, .. } = e else { return false };
            file == name && *found == version
        });
    }
    let (_place, dir) = log();
    let last = segment_names(&dir).pop().unwrap();
    patch(&dir.join(&last), 8, &9u32.to_le_bytes());
    refused(&dir, &last, |e| matches!(e, Error::UnsupportedVersion { found: 9, .. }));
}

#[test]
fn unknown_features() {
    for at in [32, 40] {
        let (_place, dir) = log();
        patch(&dir.join("IDENTITY"), at, &(1u64 << 40).to_le_bytes());
        refused(
            &dir,
            "IDENTITY",
            |e| matches!(e, Error::UnsupportedFeatures { bits, .. } if *bits == 1 << 40),
        );
    }
}

/// A feature that this build reads but does not write is refused by its name, and nothing is changed; the records can
/// still be read.
#[test]
fn features_that_are_read_and_not_written() {
    let mut salvage = small();
    salvage.mode = OpenMode::Salvage;
    for (bits, name) in [(2u64, "forgotten"), (4, "no-sync"), (6, "forgotten, no-sync")] {
        let (_place, dir) = log();
        patch(&dir.join("IDENTITY"), 32, &bits.to_le_bytes());
        refused(
            &dir,
            name,
            |e| matches!(e, Error::ReadOnlyFeatures { features, .. } if features.bits() == bits),
        );
        Wal::open(&dir, &salvage).expect("opens for reading").0.close().expect("closes");
    }
}

#[test]
fn a_checkpoint_is_no_log() {
    let (_place, dir) = log();
    fs::rename(dir.join("IDENTITY"), dir.join("CHECKPOINT")).unwrap();
    refused(&dir, "a checkpoint", |e| matches!(e, Error::NotALog { .. }));
}

#[test]
fn a_damaged_identity() {
    for size in [0, 1, 63, 64, 4095, 4097, 1 << 20] {
        let (_place, dir) = log();
        fs::File::options().write(true).open(dir.join("IDENTITY")).unwrap().set_len(size).unwrap();
        refused(&dir, "IDENTITY", |e| matches!(e, Error::Identity { .. }));
    }
    for at in [0u64, 16, 63, 64, 4095] {
        let (_place, dir) = log();
        let file = fs::File::options().read(true).write(true).open(dir.join("IDENTITY")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        refused(&dir, "IDENTITY", |e| matches!(e, Error::Identity { .. }));
    }
}

#[test]
fn parts_of_a_log() {
    let (_place, dir) = log();
    fs::remove_file(dir.join("IDENTITY")).unwrap();
    refused(&dir, "without IDENTITY", |e| matches!(e, Error::NotALog { .. }));

    let (_place, dir) = log();
    segment_names(&dir).iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
    refused(&dir, "missing", |e| matches!(e, Error::Corrupt { .. }));

    let (_place, dir) = log();
    fs::rename(dir.join("IDENTITY"), dir.join("IDENTITY.new")).unwrap();
    let before = snapshot(&dir);
    assert!(
        matches!(Wal::open(&dir, &small()), Err(Error::NotALog { found, .. }) if found.contains("not finished"))
    );
    // The log has records, so create does not take it for an unfinished creation of its own.
    assert!(matches!(Wal::create(&dir, &small()), Err(Error::AlreadyALog { .. })));
    assert!(before == snapshot(&dir));
}

#[test]
fn an_unfinished_creation_is_taken_up_again() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("IDENTITY.new"), "half").unwrap();
    fs::write(place.path().join("00000001.wal"), "").unwrap();
    fs::write(place.path().join("00000002.new"), vec![0; 9000]).unwrap();
    assert!(matches!(Wal::open(place.path(), &small()), Err(Error::NotALog { .. })));
    let wal = Wal::create(place.path(), &small()).unwrap();
    wal.append(&record(1, 10), Durability::Sync).unwrap().wait().unwrap();
    wal.close().unwrap();
    assert_eq!(ids(&Wal::open(place.path(), &small()).unwrap().0), [1]);
}

#[test]
fn create_on_a_log_refuses() {
    let (_place, dir) = log();
    let before = snapshot(&dir);
    let error = Wal::create(&dir, &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::AlreadyALog { found, .. } if found == "IDENTITY"), "{error}");
    assert!(before == snapshot(&dir));
}

#[test]
fn foreign_names_are_left_alone_and_reported() {
    let (place, dir) = log();
    let plain = ["notes.txt", "00000001.wal.bak", "0000000A.wal", "1.wal", "00000000.wal", "IDENTITY.bak"];
    plain.iter().for_each(|name| fs::write(dir.join(name), "mine").unwrap());
    fs::create_dir(dir.join("directory")).unwrap();
    symlink(place.path(), dir.join("link")).unwrap();
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"\xff\xfe.wal")), "mine").unwrap();
    let before = snapshot(&dir);
    let (wal, report) = Wal::open(&dir, &small()).unwrap();
    let mut expected: Vec<String> = plain.iter().map(|&s| s.to_owned()).collect();
    expected.extend(["directory".to_owned(), "link".to_owned(), "\u{fffd}\u{fffd}.wal".to_owned()]);
    expected.sort();
    assert_eq!(report.foreign, expected);
    assert_eq!(ids(&wal).len(), 12);
    wal.close().unwrap();
    let after = snapshot(&dir);
    assert!(before.iter().filter(|(p, _)| !is_ours(p)).all(|(path, what)| after.get(path) == Some(what)));
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name == "LOCK"
        || name == "IDENTITY"
        // A spare that was being made when the log was closed is removed when it is opened.
        || (name.len() == 12
            && name.starts_with("0000000")
            && (name.ends_with(".wal") || name.ends_with(".new")))
}

#[test]
fn something_else_under_a_name_of_the_log() {
    let names =
        ["IDENTITY", "LOCK", "00000001.wal", "00000002.wal", "00000009.new", "IDENTITY.new", "00000020.wal"];
    for name in names {
        for kind in ["directory", "link", "dangling link", "FIFO"] {
            let (place, dir) = log();
            let path = dir.join(name);
            let aside = place.path().join("aside");
            if path.exists() {
                fs::rename(&path, &aside).unwrap();
            } else {
                fs::write(&aside, "x").unwrap();
            }
            match kind {
                "directory" => fs::create_dir(&path).unwrap(),
                "link" => symlink(&aside, &path).unwrap(),
                "dangling link" => symlink("nowhere", &path).unwrap(),
                _ => {
                    let fifo = rustix::fs::FileType::Fifo;
                    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
                }
            }
            refused(&dir, name, |e| matches!(e, Error::NotAFile { file, .. } if file == name));
        }
    }
}

#[test]
fn options_out_of_range() {
    let good = Options::default();
    let bad = [
        ("segment_bytes", good.clone().with_segment_bytes(0)),
        ("segment_bytes", good.clone().with_segment_bytes((16 << 10) - 1)),
        ("segment_bytes", good.clone().with_segment_bytes(u32::MAX)),
        ("spare_segments", good.clone().with_spare_segments(1)),
        ("spare_segments", good.clone().with_spare_segments(65)),
        ("group_bytes", good.clone().with_group_bytes(4095)),
        ("group_bytes", good.clone().with_group_bytes((64 << 20) + 1)),
        ("queue_bytes", good.clone().with_queue_bytes(65535)),
        ("writes_in_flight_max", good.clone().with_writes_in_flight_max(0)),
        ("writes_in_flight_max", good.clone().with_writes_in_flight_max(65)),
        ("idle_ms", good.clone().with_idle_ms(0)),
        ("idle_ms", good.clone().with_idle_ms(60_001)),
    ];
    let place = tempfile::tempdir().unwrap();
    let (new, (_other, dir)) = (place.path().join("new"), log());
    let before = snapshot(&dir);
    for (name, options) in bad {
        let results = [Wal::create(&new, &options).map(drop), Wal::open(&dir, &options).map(drop)];
        for error in results.map(Result::unwrap_err) {
            assert!(matches!(&error, Error::OptionOutOfRange(o) if o.option == name), "{error}");
            assert!(error.to_string().contains(name));
        }
    }
    assert!(!new.exists() && before == snapshot(&dir));
}

/// Waits until the preallocator has nothing to do, so that no name changes between two looks at the
/// directory.
fn settle(wal: &Wal) {
    let mut seen = 0;
    loop {
        let stats = wal.stats();
        if stats.spares_zeroed + stats.spares_stale >= 3 && stats.preallocated_bytes == seen {
            return;
        }
        seen = stats.preallocated_bytes;
        harness::sleep_ms(50);
    }
}

#[test]
fn a_record_that_is_too_large_leaves_no_trace() {
    let (_place, dir) = log();
    let (wal, _) = Wal::open(&dir, &small()).unwrap();
    settle(&wal);
    let (end, before) = (wal.durable(), snapshot(&dir));
    let max = wal.record_bytes_max();
    let mut footed = RecordBuilder::new();
    footed.set_footer_bytes(u32::MAX);
    for batch in [record(1, max), record(1, 10 << 20), footed] {
        let error = wal.append(&batch, Durability::Sync).map(drop).unwrap_err();
        assert!(matches!(error, Error::RecordTooLarge { max: m, .. } if m == max), "{error}");
    }
    assert_eq!((wal.flush().unwrap(), wal.stats().records), (end, 0));
    assert!(before == snapshot(&dir));
    wal.append(&record(12, max - 40), Durability::Sync).unwrap().wait().unwrap();
    assert_eq!(ids(&wal).len(), 13);
}

#[test]
fn only_the_owner_may_read_and_write() {
    let (_place, dir) = log();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    for (path, (mode, _)) in snapshot(&dir) {
        assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
    }
}
