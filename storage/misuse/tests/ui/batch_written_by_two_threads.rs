//! `write` empties the batch, so two threads cannot write the same batch.
use seawall::{Engine, WriteBatch};

fn two_threads(_one: impl FnOnce() + Send, _other: impl FnOnce() + Send) {}

fn misuse(engine: &Engine, batch: &mut WriteBatch) {
    two_threads(|| drop(engine.write(batch)), || drop(engine.write(batch)));
}

fn main() {}
