//! A batch that was written is gone: it cannot be lent for it and still be what it was.
use seawall::{Engine, WriteBatch};

fn misuse(engine: &Engine, batch: &WriteBatch) {
    let _ = engine.write(batch);
}

fn main() {}
