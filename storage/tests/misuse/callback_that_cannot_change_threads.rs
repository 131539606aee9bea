//! A callback runs on whichever thread completed the write.
use seawall::Ticket;
use std::cell::Cell;
use std::rc::Rc;

fn misuse(ticket: Ticket, durable: Rc<Cell<bool>>) {
    ticket.on_durable(move |_| durable.set(true));
}

fn main() {}
