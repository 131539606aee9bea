//! Tests of the way from an append to its acknowledgement: groups, tickets, callbacks and threads.

mod callbacks;
mod gathering;
#[path = "../harness/mod.rs"]
mod harness;
mod io_uring_ring;
mod preallocation;
mod reads_during_writes;
mod real_threads;
mod slow_disks;
mod stopping;
