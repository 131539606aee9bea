//! Tests of the log store that need its internals.

mod log;
mod model;
mod version;
