//! Stops an engine when its last handle is dropped, and tracks which threads are inside a closure that the engine
//! calls.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use crate::engine::inner::EngineInner;

/// A reference to the engine. When the last reference of the users is dropped, that drop ends the engine: when it
/// returns, the log is dropped, its threads have ended and the directory is unlocked.
pub(super) struct UserHandle {
    core: Arc<EngineInner>,
    /// Whether this is the reference of the users. The engine's own threads have references too, which may exist a
    /// little longer.
    of_users: bool,
}

impl UserHandle {
    /// Makes the reference of the users. There is one for each engine; all handles share it.
    pub(super) fn of_users(core: Arc<EngineInner>) -> Arc<UserHandle> {
        Arc::new(UserHandle { core, of_users: true })
    }

    /// Makes a reference for the duration of one call on one of the engine's own threads.
    #[cfg(feature = "raft-rs")]
    pub(super) fn of_the_engine(core: Arc<EngineInner>) -> Arc<UserHandle> {
        Arc::new(UserHandle { core, of_users: false })
    }

    #[cfg(feature = "raft-rs")]
    pub(super) fn core(&self) -> &Arc<EngineInner> {
        &self.core
    }
}

impl Deref for UserHandle {
    type Target = EngineInner;

    fn deref(&self) -> &EngineInner {
        &self.core
    }
}

impl Drop for UserHandle {
    fn drop(&mut self) {
        if self.of_users {
            self.core.end();
        }
    }
}

thread_local! {
    /// Addresses of the engines that are calling a user's code on this thread.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// While it exists, the current thread counts as being inside a call of one engine.
pub(super) struct InsideCall(());

impl InsideCall {
    pub(super) fn of(core: &EngineInner) -> InsideCall {
        INSIDE.with_borrow_mut(|inside| inside.push(address(core)));
        InsideCall(())
    }

    /// Whether the current thread is inside a call of `core`.
    pub(super) fn is(core: &EngineInner) -> bool {
        // A thread whose thread-local values are already destroyed is inside no call.
        INSIDE.try_with(|inside| inside.borrow().contains(&address(core))).unwrap_or(false)
    }
}

impl Drop for InsideCall {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(Vec::pop);
    }
}

fn address(core: &EngineInner) -> usize {
    std::ptr::from_ref(core).addr()
}
