//! `write` empties the batch, so it cannot take a batch by shared reference.
use seawall::{Engine, WriteBatch};

fn misuse(engine: &Engine, batch: &WriteBatch) {
    let _ = engine.write(batch);
}

fn main() {}
