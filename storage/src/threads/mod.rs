//! Threads of the engine: one for background work, a pool for tasks that may block.

pub(crate) mod background;
#[cfg(any(feature = "openraft", feature = "openraft-09", feature = "snapshots"))]
pub(crate) mod task_pool;
