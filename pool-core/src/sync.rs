//! Owns the choice between the real synchronisation primitives and loom's.
//!
//! Everything else in the crate takes its atomics, locks and cells from here, so that the models in `tests/loom.rs`
//! explore the very code that runs. Must not know what is being synchronised.

#[cfg(loom)]
use loom as real;
#[cfg(not(loom))]
use std as real;

pub(crate) use real::sync::MutexGuard;
pub(crate) use real::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A lock that knows no poison.
///
/// Whoever finds it taken looks again for a microsecond or two before sleeping. What is done inside takes less than that, and
/// parking_lot's lock has the system run somebody else in the middle of that time.
#[derive(Debug)]
pub(crate) struct Mutex<T>(real::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(real::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A cell whose accesses loom can check; without loom it is `std::cell::UnsafeCell`.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
