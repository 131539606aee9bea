//! Tests of the bytes on disk.

mod corpus;
mod document;
mod golden;
mod golden_files;
