//! The locks and thread parking the crate uses, in one place so that loom can stand in for them.
//!
//! Owns nothing but names: outside loom these are `parking_lot`'s locks and the standard library's threads, under
//! `--cfg loom` they are loom's, behind the same calls. Must not know what is locked. Invariant: no lock is ever
//! poisoned, a panic of user code releases it and nothing more.

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, current, park, yield_now};
#[cfg(not(loom))]
pub(crate) use std::thread_local;

/// Releases a lock to whoever has waited longest, for callers that will want it again at once: they would overtake
/// everybody else many times over.
#[cfg(not(loom))]
pub(crate) fn give_way<T>(guard: parking_lot::MutexGuard<'_, T>) {
    parking_lot::MutexGuard::unlock_fair(guard);
}

#[cfg(loom)]
pub(crate) fn give_way<T>(guard: loom::sync::MutexGuard<'_, T>) {
    drop(guard);
}

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::{Thread, current, park, yield_now};
#[cfg(loom)]
pub(crate) use loom::thread_local;
#[cfg(loom)]
pub(crate) use modelled::Mutex;

#[cfg(loom)]
mod modelled {
    use loom::sync::MutexGuard;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("BUG: a modelled lock was poisoned")
        }
    }
}
