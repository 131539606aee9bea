//! Reads records back: where they are, what is damaged, and an iterator over them.

pub(crate) mod damaged_ranges;
pub(crate) mod log_view;
pub(crate) mod record_iter;
pub(crate) mod segment_table;
