//! Tools for tests: a conformance suite for stores, and the bodies of the fuzz targets.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "fuzz")]
pub mod fuzz;
