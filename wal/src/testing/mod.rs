//! Support for tests of the log and of its users: a log driven step by step, the fuzz targets,
//! and fixed ways to write.

pub mod fuzz;
pub mod stepper;
pub mod write_plans;
