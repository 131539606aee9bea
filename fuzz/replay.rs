//! What the packages' `tests/corpus.rs` share: every file of `fuzz/corpus/<target>/` is run, and the seeds,
//! which a test can make again, are held to what is in the tree (`SEAWALL_CORPUS=write` writes them).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::{env, fs};

/// A seed: its file name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// Runs `target` on every file of its folder.
#[track_caller]
pub fn replay(target: &str, seeds: &[Seed], run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let folder = folder.join("fuzz/corpus").join(target);
    if env::var_os("SEAWALL_CORPUS").is_some_and(|value| value == "write") {
        fs::create_dir_all(&folder).expect("a folder");
        seeds.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).expect("written"));
    }
    for (name, bytes) in seeds {
        let found = fs::read(folder.join(name)).unwrap_or_default();
        assert!(found == *bytes, "{target}/{name} is another; SEAWALL_CORPUS=write makes it");
    }
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        let bytes = fs::read(&file).expect("a file");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&bytes))) {
            eprintln!("while running {}", file.display());
            resume_unwind(panic);
        }
    }
}
