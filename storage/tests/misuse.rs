//! What cannot be done wrong, because it does not compile. One file each in `misuse/`, named after the mistake, with what
//! the compiler says of it.
//!
//! The compiler's words change between its versions. To take those of another one over, and read them, since a file that
//! fails for another reason proves nothing: `TRYBUILD=overwrite cargo test -p seawall --test misuse`.

use std::process::Command;

/// Whose words the expected ones are.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn what_types_forbid_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(COMPILER) && std::env::var_os("TRYBUILD").is_none() {
        println!("not run: the words to compare with are those of {COMPILER}x, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
