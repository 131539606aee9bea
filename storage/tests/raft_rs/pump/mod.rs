//! Tests the pump on a simulated disk that writes only when it is told to: when messages leave, when the core
//! learns what is durable, and what happens when the disk fails or is full.

mod faults;
mod node;
mod order;
mod own_writes;
mod restarts;
mod stop;
