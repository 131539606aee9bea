//! What tests of the log and of its users need: a log driven step by step, and the fuzz targets.

pub mod fuzz;
pub mod stepper;
