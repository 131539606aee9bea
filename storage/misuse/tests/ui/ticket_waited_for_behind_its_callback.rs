//! A ticket is answered once, so `on_durable` consumes it.
use seawall::Ticket;

fn misuse(ticket: Ticket) {
    ticket.on_durable(|_| {});
    let _ = ticket.wait();
}

fn main() {}
