//! What a process that was forked has inherited and must not touch.
//!
//! "Do not open an SQLite database connection, then fork(2), then try to use that database connection in the child process", nor close
//! it there (<https://www.sqlite.org/howtocorrupt.html>, section 2.6): locks belong to processes, and threads do not come along. So what was
//! made before the fork is refused and leaked in the child. Owns telling which process this is, without a system call, and what exists
//! once in each process. It must not know databases.
//!
//! Invariant: the generation changes in the child before any code of the program runs there, and never otherwise.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(unix)]
use crate::inherited;

/// How many forks lie between this process and the one that the program began as. It orders nothing: only the forked thread changes it,
/// when it is the only one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A process, among those that descend from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// The one that this runs in.
    #[inline]
    pub(crate) fn this() -> Self {
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// One that this is not.
    #[cfg(test)]
    pub(crate) fn another() -> Self {
        Self(u64::MAX)
    }

    /// Tells whether this is another one: what was made there does not belong here.
    #[inline]
    pub(crate) fn is_gone(self) -> bool {
        self != Self::this()
    }
}

/// Notices forks from now on.
pub(crate) fn watch() {
    #[cfg(unix)]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: the three are functions of the signature asked for, and live as long as the process. What they do in the child is to
        // add to an atomic number and to let go of mutexes that the same thread took before the fork:
        // https://pubs.opengroup.org/onlinepubs/9799919799/functions/pthread_atfork.html
        ONCE.call_once(|| unsafe {
            // Fails for want of memory only.
            libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
        });
    }
}

#[cfg(unix)]
extern "C" fn before() {
    inherited::hold();
}

#[cfg(unix)]
extern "C" fn in_parent() {
    inherited::release();
}

#[cfg(unix)]
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    inherited::release();
}

/// A value of the process that made it: leaked, not dropped, in one that was forked from it.
#[derive(Debug, Clone)]
pub(crate) struct Bound<T> {
    value: ManuallyDrop<T>,
    process: Process,
}

impl<T> Bound<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), process: Process::this() }
    }

    /// Tells whether it was made in another process.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_gone()
    }
}

impl<T> Deref for Bound<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Bound<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Bound<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_inherited() {
            // SAFETY: dropped once, here, and nobody uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

/// What exists once in each process: a forked one begins with its own, for locks of the old may be held and its threads are gone.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<(Process, T)>);

impl<T: Default + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The one of this process.
    #[inline]
    pub(crate) fn get(&self) -> &'static T {
        loop {
            // Acquire: pairs with the exchange below, by which another thread published it.
            let known = self.0.load(Ordering::Acquire);
            // SAFETY: null, or published below and never freed.
            if let Some((process, value)) = unsafe { known.as_ref() }
                && !process.is_gone()
            {
                return value;
            }
            self.begin(known);
        }
    }

    #[cold]
    fn begin(&self, known: *mut (Process, T)) {
        let fresh = Box::into_raw(Box::new((Process::this(), T::default())));
        if self.0.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: another thread was first; this one was shown to nobody.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, PerProcess, Process};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn what_another_process_made_is_not_dropped() {
        let value = Arc::new(());
        drop(Bound::new(Arc::clone(&value)));
        assert_eq!(Arc::strong_count(&value), 1);
        let mut inherited = Bound::new(Arc::clone(&value));
        inherited.process = Process(u64::MAX);
        assert!(inherited.is_inherited());
        drop(inherited);
        assert_eq!(Arc::strong_count(&value), 2);
    }

    #[test]
    fn a_process_has_one_of_each() {
        static ONE: PerProcess<AtomicU64> = PerProcess::new();
        let addresses = std::thread::scope(|scope| {
            let get = || scope.spawn(|| std::ptr::from_ref(ONE.get()).addr());
            [get(), get(), get()].map(|thread| thread.join().unwrap())
        });
        assert_eq!(addresses, [std::ptr::from_ref(ONE.get()).addr(); 3]);
    }
}
