//! Runs a fuzz target on its corpus and on mutations of it, for the `corpus` tests of the packages.
//!
//! Every file of `fuzz/corpus/<target>/` is run. The seeds, which a test can make again, must equal the files
//! in the tree (`SEAWALL_CORPUS=write` writes them). Then the target runs on a fixed number of mutations of
//! those files, the same ones in every run, without a fuzzer and its compiler.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::{env, fs};

/// A seed: its file name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// Largest number of bytes of a mutated input, as in `fuzz/smoke.sh`.
const BYTES_MAX: usize = 4096;

/// Runs `target` on every file of its folder, then on `mutations` inputs made from them, which takes about a
/// second. `SEAWALL_RUNS=n` makes n times as many.
#[track_caller]
pub fn replay(target: &str, seeds: &[Seed], mutations: u64, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").join("fuzz");
    let folder = fuzz.join("corpus").join(target);
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
    let mut inputs = Vec::new();
    for file in files {
        let bytes = fs::read(&file).expect("a file");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&bytes))) {
            eprintln!("while running {}", file.display());
            resume_unwind(panic);
        }
        inputs.push(bytes);
    }
    let times = env::var("SEAWALL_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    // Each target gets its own numbers, whatever runs at the same time.
    let mut numbers =
        Numbers(target.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(byte)));
    for n in 0..mutations * times {
        let bytes = mutated(&inputs, &mut numbers);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&bytes))) {
            let kept = fuzz.join("artifacts").join(target);
            fs::create_dir_all(&kept).expect("a folder");
            fs::write(kept.join(format!("smoke-{n}")), &bytes).expect("written");
            eprintln!("while running mutation {n}, kept as {}/smoke-{n}", kept.display());
            resume_unwind(panic);
        }
    }
}

/// SplitMix64, which returns the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number less than `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("less than a usize")
    }
}

/// Returns one of `inputs` with up to eight changes, as a fuzzer makes them.
fn mutated(inputs: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = inputs[numbers.below(inputs.len())].clone();
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(bytes.len() + 1);
        let count = (1 + numbers.below(16)).min(bytes.len() - at);
        match numbers.below(8) {
            0 | 1 if count > 0 => bytes[at] ^= 1 << numbers.below(8),
            2 if count > 0 => bytes[at] = numbers.next().to_le_bytes()[0],
            // Writes an edge value of a length or a count.
            3 => {
                let word = [0, 1, 0x7fff_ffff, u32::MAX, 4096, 64, u32::MAX - 63][numbers.below(7)];
                bytes.iter_mut().skip(at).zip(word.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            4 => drop(bytes.drain(at..at + count)),
            5 => {
                let new = numbers.next().to_le_bytes();
                bytes.splice(at..at, new);
            }
            6 => {
                let again = bytes[at..at + count].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                // Appends the rest of another input.
                let other = &inputs[numbers.below(inputs.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}
