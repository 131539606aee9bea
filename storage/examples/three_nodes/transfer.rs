//! Transfers a snapshot from the leader to a follower piece by piece, outside the core's messages.

use std::sync::PoisonError;

use seawall::raft_rs::raft::eraftpb::Message;
use seawall::snapshots::Snapshots;
use seawall::snapshots::snap::{Offer, Piece};

use crate::net::{Event, Net, Outcome};

/// Fetches the snapshot that `message` offers to node `at`, then passes the message to the node's pump again.
/// On failure it tells the sender, which offers another snapshot then. Runs on its own thread, because it
/// waits for disks.
pub(crate) fn fetch(net: &Net, at: usize, own: &Snapshots, offer: &Offer, message: Message) {
    let from = usize::try_from(message.from - 1).unwrap_or(0);
    match pieces(net, from, own, offer) {
        Ok(()) => net.send(at, Event::Message(message)),
        Err(error) => {
            println!("node-{}: {}: {error}", at + 1, offer.id());
            net.send(from, Event::SnapshotLost { peer: message.to })
        }
    };
}

fn pieces(net: &Net, from: usize, own: &Snapshots, offer: &Offer) -> Outcome<()> {
    let theirs = net.snapshots[from].lock().unwrap_or_else(PoisonError::into_inner).clone();
    let theirs = theirs.ok_or("the sender is down")?;
    let Some(mut incoming) = own.receive(offer)? else { return Ok(()) };
    let export = theirs.catalog().export(offer.id())?;
    // Continue at the position where an interrupted transfer stopped.
    for piece in export.pieces(incoming.next())? {
        // These are the bytes that a connection would carry.
        let bytes = piece?.encode();
        incoming.accept(&Piece::decode(&bytes)?)?;
    }
    incoming.finish()?;
    Ok(())
}
