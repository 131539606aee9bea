//! Support for tests of the log and of its users: a log driven step by step, and the fuzz targets.

pub mod fuzz;
pub mod stepper;
