//! Tests of the log store that need its insides.

mod log;
mod model;
mod version;
