//! How a follower gets a snapshot that the leader offered: piece by piece, beside the core's messages.

use std::sync::PoisonError;

use seawall::raft_rs::raft::eraftpb::Message;
use seawall::snapshots::Snapshots;
use seawall::snapshots::snap::{Offer, Piece};

use crate::net::{Event, Net, Outcome};

/// Fetches what `message` offers to node `at`, and gives the message to its pump again; or tells the sender that it did
/// not work, who offers another one then. On a thread of its own: it waits for disks.
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
    // From where an interrupted transfer stopped.
    for piece in export.pieces(incoming.next())? {
        // What a connection carries.
        let bytes = piece?.encode();
        incoming.accept(&Piece::decode(&bytes)?)?;
    }
    incoming.finish()?;
    Ok(())
}
