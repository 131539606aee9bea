//! Faults: power cuts, and one damage to the files.

pub mod crash;
pub mod damage;
