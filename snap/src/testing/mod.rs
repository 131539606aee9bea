//! Functions for the fuzz targets.

pub mod fuzz;
