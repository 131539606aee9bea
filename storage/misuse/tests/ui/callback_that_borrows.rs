//! A callback may run after the caller has returned, so it cannot borrow from the caller.
use seawall::Ticket;

fn misuse(ticket: Ticket, durable: &mut u32) {
    ticket.on_durable(|_| *durable += 1);
}

fn main() {}
