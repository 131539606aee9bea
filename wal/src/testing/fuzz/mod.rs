//! The functions that the fuzz targets run: each takes any bytes and panics if it finds an error.
//!
//! The targets in `fuzz/` are one call each; `tests/format/corpus.rs` calls the same functions. For tests only (feature
//! `sim`). Inputs may ask for checksums to be repaired, because otherwise almost every change would end at a checksum
//! and the code after it would not be tested. The functions terminate on every input, do the same for the same bytes,
//! and panic only for findings.

mod choices;
mod damage;
mod entry;
mod files;
mod formats;
pub mod model;
pub mod quick;
mod recovery;
mod rot;
mod segment;
mod tally;

pub use choices::Choices;
pub use files::{checkpoint, closed, identity};
pub use formats::{footer, group, record};
pub use recovery::recovery;
pub use segment::segment;

/// Largest number of lives of a log in one input.
const LIVES: u32 = 16;

/// Interprets `data` as operations of a scheduler on the simulated disk, and compares the log with the reference
/// model.
pub fn operations(data: &[u8]) {
    model::run(Choices::from_bytes(data), LIVES);
}
