//! A callback runs when the write is durable, whoever has returned by then.
use seawall::Ticket;

fn misuse(ticket: Ticket, durable: &mut u32) {
    ticket.on_durable(|_| *durable += 1);
}

fn main() {}
