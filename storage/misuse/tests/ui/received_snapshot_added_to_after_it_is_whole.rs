//! `finish` publishes the received snapshot, which cannot be written any more.
use seawall::snapshots::Incoming;
use seawall::snapshots::snap::Piece;

fn misuse(mut incoming: Incoming, piece: &Piece) {
    let _ = incoming.finish();
    let _ = incoming.accept(piece);
}

fn main() {}
