//! What tests of stores need: a conformance suite, and the fuzz targets.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "fuzz")]
pub mod fuzz;
