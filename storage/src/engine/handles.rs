//! Ends an engine with its last handle, and knows which threads are inside of a closure that the engine calls.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use super::EngineInner;

/// A hold on the core. When the users' last one goes, the engine has ended when its drop returns: the log is dropped, its
/// threads have ended and the directory is unlocked.
pub(super) struct UserHandle {
    core: Arc<EngineInner>,
    /// Whether the hold is the users'. The engine's own threads have holds, too, which may live a little longer.
    of_users: bool,
}

impl UserHandle {
    /// The users' hold on `core`, of which there is one, shared by all handles.
    pub(super) fn of_users(core: Arc<EngineInner>) -> Arc<UserHandle> {
        Arc::new(UserHandle { core, of_users: true })
    }

    /// A hold for the time of a call by one of the engine's own threads.
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
    /// The cores whose calls this thread is inside of while it runs a user's code, by address.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread as being inside of a call of one core.
pub(super) struct InsideCall(());

impl InsideCall {
    pub(super) fn of(core: &EngineInner) -> InsideCall {
        INSIDE.with_borrow_mut(|inside| inside.push(address(core)));
        InsideCall(())
    }

    /// Whether the thread is inside of a call of `core`.
    pub(super) fn is(core: &EngineInner) -> bool {
        // While a thread ends it is inside of nothing.
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
