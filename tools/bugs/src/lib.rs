//! Plants bugs in a copy of the workspace and runs the tests that must find them.
//!
//! A bug is a file `PACKAGE/bugs/NAME.toml` ([`entry`]): what it breaks, the text that it replaces, the tests that find
//! it. The source code contains none of them. [`plant`] puts bugs into the text of a source file, each behind a choice by the
//! environment variable `SEAWALL_BUG`; [`tree`] makes the copy; [`campaign`] builds it once and runs the tests for each bug.

pub mod campaign;
pub mod entry;
pub mod plant;
pub mod tree;
