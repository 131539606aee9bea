//! Sends a snapshot to another node in pieces, and receives one.

pub(crate) mod export;
pub(crate) mod receive;
