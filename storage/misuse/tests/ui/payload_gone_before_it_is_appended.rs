//! An entry to append borrows its payload, which must live until the entry is appended.
use seawall::{EntryRef, WriteBatch};

fn misuse(batch: &mut WriteBatch) {
    let entry = {
        let payload = vec![7; 100];
        EntryRef { index: 1, term: 1, payload: &payload }
    };
    batch.append(1, &[entry]);
}

fn main() {}
