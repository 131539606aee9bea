//! The pump's order, on a simulated disk that does nothing until it is told to: what leaves when, what
//! the core hears when, and what happens when the disk fails or is full.

mod faults;
mod node;
mod order;
mod restarts;
mod stop;
