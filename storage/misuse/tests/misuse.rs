//! Tests that mistakes that the types forbid do not compile.
//!
//! Each file in `ui/` is named after a mistake, and has the compiler's message next to it. The messages
//! change between versions of the compiler. `TRYBUILD=overwrite cargo test --manifest-path
//! storage/misuse/Cargo.toml` writes
//! those of the installed compiler. Read them afterwards, since a file that fails for another reason proves
//! nothing.

use std::process::Command;

/// Version of the compiler whose messages are expected.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn what_types_forbid_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(COMPILER) && std::env::var_os("TRYBUILD").is_none() {
        println!("not run: the expected messages are those of {COMPILER}x, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
