//! Each part of the range is read once, so two threads cannot read from the same pinned reader.
use seawall::PinnedReader;

fn two_threads(_one: impl FnOnce() + Send, _other: impl FnOnce() + Send) {}

fn misuse(reader: &mut PinnedReader) {
    two_threads(|| drop(reader.read(None)), || drop(reader.read(None)));
}

fn main() {}
