//! Plants bugs in a copy of the workspace and runs the tests that must find them.
//!
//! Each bug is a file `PACKAGE/bugs/NAME.toml` ([`entry`]) that states what the bug breaks, the text that it replaces,
//! and the tests that find it. The source code contains none of the bugs. [`plant`] inserts bugs into the text of a
//! source file and guards each one with a test of the environment variable `SEAWALL_BUG`. [`tree`] makes the copy.
//! [`campaign`] builds the copy once and runs the tests for each bug.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod entry;
pub mod plant;
pub mod tree;
