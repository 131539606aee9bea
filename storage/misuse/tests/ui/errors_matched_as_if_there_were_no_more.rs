//! Error enums may get more variants, so a match needs a wildcard arm.
use seawall::raft_rs::CodecError;

fn misuse(error: CodecError) -> u32 {
    match error {
        CodecError::TooShort { .. } => 1,
        CodecError::EntryType { .. } => 2,
        CodecError::ContextLength => 3,
        CodecError::Context { .. } => 4,
    }
}

fn main() {}
