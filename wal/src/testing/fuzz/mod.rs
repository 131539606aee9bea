//! What the fuzz targets run: one function for each, from any bytes to nothing, or to a panic that says what
//! was found. The targets in `fuzz/` are one call each; `tests/corpus.rs` calls the same functions.
//!
//! Place: above everything, for tests only (feature `sim`). A checksum is no obstacle for bytes that rot in
//! the way a fuzzer wants, so inputs may ask for checksums to be made right: then what lies behind them is
//! under test. Invariants: total, and the same for the same bytes; the only panics are findings.

mod choices;
mod damage;
mod entry;
mod formats;
pub mod model;
pub mod quick;
mod recovery;
mod rot;
mod segment;
mod tally;

pub use choices::Choices;
pub use formats::{closed, footer, group, record};
pub use recovery::recovery;
pub use segment::segment;

/// Lives of a log in one input, at most.
const LIVES: u32 = 16;

/// Bytes as the operations of a scheduler on the simulated disk, against the reference model.
pub fn operations(data: &[u8]) {
    model::run(Choices::from_bytes(data), LIVES);
}
