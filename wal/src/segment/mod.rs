//! Segment files: how they are named, created, reused, sealed and mapped.

pub(crate) mod create;
pub(crate) mod descriptors;
pub(crate) mod directory;
pub(crate) mod footer;
pub(crate) mod index_builder;
pub(crate) mod lazy_map;
pub(crate) mod names;
pub(crate) mod open_segment;
pub(crate) mod preallocator;
pub(crate) mod read_ahead;
pub(crate) mod spare_pool;
