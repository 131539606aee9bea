//! The Raft groups in memory: state and index of each group, the table of all groups, and what each segment still
//! holds.
//!
//! The write path and replay change groups through one function, `apply`. Changes to a group are applied in the order
//! of their records. Nothing here does I/O.

pub(crate) mod apply;
pub(crate) mod group_meta;
pub(crate) mod groups_mut;
pub(crate) mod index_builder;
pub(crate) mod relocated;
pub(crate) mod segment_usage;
pub(crate) mod table;

mod index;
mod state;
mod terms;

pub(crate) use apply::{Append, ValidRecord, apply, publish};
pub(crate) use group_meta::hard_state_back;
pub(crate) use groups_mut::GroupsMut;
pub(crate) use index::{Parts, SegmentRun};
pub(crate) use index_builder::{FooterIndexBuilder, footer_bytes};
pub(crate) use segment_usage::{Released, SegmentGuard, SegmentUsage, UsageDelta};
pub(crate) use state::{GroupState, Settled};
pub(crate) use table::{Groups, Locked};
