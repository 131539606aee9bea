//! A ticket is answered once, so awaiting it consumes it.
use seawall::Ticket;

fn block_on<T>(_future: impl Future<Output = T>) {}

fn misuse(ticket: Ticket) {
    block_on(ticket);
    block_on(ticket);
}

fn main() {}
