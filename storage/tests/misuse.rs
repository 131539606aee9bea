//! What cannot be done wrong, because it does not compile. One file each in `misuse/`, named after the mistake, with what
//! the compiler says of it.
//!
//! The compiler's words change between its versions. To take those of another one over, and read them, since a file that
//! fails for another reason proves nothing: `TRYBUILD=overwrite cargo test -p seawall --test misuse`.

#[test]
fn what_types_forbid_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
