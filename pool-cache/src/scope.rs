//! Which loads the running code is part of, to tell a load that would wait for itself.
//!
//! Owns a stack per thread of the loads whose loader is running right now on it, and the process-wide record of loads that
//! wait for other loads. Must not know caches: a load is a number. Invariant: a wait is recorded before it
//! begins and only if it closes no circle, so of the loads in a circle at least one gets an error instead of waiting.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

crate::sync::thread_local! {
    // Not a const initializer: loom's macro knows none.
    #[allow(clippy::missing_const_for_thread_local)]
    static RUNNING: RefCell<Vec<u64>> = RefCell::new(Vec::new());
}

/// For each load that waits: the loads it waits for. Only loads within loads come here, so one lock serves all caches.
static WAITS: Mutex<Option<HashMap<u64, Vec<u64>>>> = Mutex::new(None);

/// Gives a number that no other load of the process has.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Loads that the calling thread is part of, until dropped there; how many it was part of before.
struct Entered(usize);

impl Entered {
    fn new(ids: &[u64]) -> Self {
        let note = |running: &RefCell<Vec<u64>>| {
            let mut running = running.borrow_mut();
            let before = running.len();
            running.extend_from_slice(ids);
            before
        };
        Self(RUNNING.try_with(note).unwrap_or(0))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.borrow_mut().truncate(self.0));
    }
}

/// The loads that the calling thread is part of. One that is ending, and whose locals are gone, is part of none.
fn running() -> Vec<u64> {
    RUNNING.try_with(|running| running.borrow().clone()).unwrap_or_default()
}

/// Runs a part of the loader of load `id`.
pub(crate) fn within<T>(id: u64, run: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(&[id]);
    run()
}

/// The loads that the running code is part of, to be taken along by work of theirs that runs on another thread: then a load that would wait
/// for itself is told so there, too.
///
/// ```
/// use pool_cache::{LoadError, LoadScope, TtlCache};
/// use std::convert::Infallible;
///
/// let cache: TtlCache<u8, u8> = TtlCache::builder().max_entries(10).build()?;
/// let loaded = cache.get_or_load_blocking(&1, || {
///     let scope = LoadScope::current();
///     let ask = || scope.run(|| cache.get_or_load_blocking(&1, || Ok::<u8, Infallible>(7)));
///     let asked = std::thread::scope(|threads| threads.spawn(ask).join());
///     assert!(matches!(asked, Ok(Err(LoadError::Recursive))));
///     Ok::<u8, Infallible>(8)
/// });
/// assert_eq!(*loaded?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct LoadScope(Vec<u64>);

impl LoadScope {
    /// Notes which loads the calling code is part of; none allocates nothing.
    #[must_use]
    pub fn current() -> Self {
        Self(running())
    }

    /// Runs something on the calling thread as part of those loads.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = (!self.0.is_empty()).then(|| Entered::new(&self.0));
        work()
    }
}

/// A wait of the loads that are running on this thread for another one; its drop ends it.
#[derive(Debug)]
pub(crate) struct Wait {
    waiting: Vec<u64>,
    target: u64,
}

/// Records that the code running now waits for load `target`; `None` if that could never end.
pub(crate) fn wait_for(target: u64) -> Option<Wait> {
    let waiting = running();
    if waiting.is_empty() {
        return Some(Wait { waiting, target });
    }
    let mut waits = WAITS.lock();
    let waits = waits.get_or_insert_with(HashMap::new);
    let mut seen = vec![target];
    let mut next = 0;
    while let Some(&load) = seen.get(next) {
        if waiting.contains(&load) {
            return None;
        }
        for &further in waits.get(&load).into_iter().flatten() {
            if !seen.contains(&further) {
                seen.push(further);
            }
        }
        next += 1;
    }
    for &load in &waiting {
        waits.entry(load).or_default().push(target);
    }
    Some(Wait { waiting, target })
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut waits = WAITS.lock();
        let waits = waits.get_or_insert_with(HashMap::new);
        for load in &self.waiting {
            if let Some(targets) = waits.get_mut(load) {
                if let Some(index) = targets.iter().position(|target| *target == self.target) {
                    targets.swap_remove(index);
                }
                if targets.is_empty() {
                    waits.remove(load);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_waits_is_refused_and_a_chain_is_not() {
        let (a, b, c) = (next_id(), next_id(), next_id());
        let first = within(a, || wait_for(b));
        assert!(first.is_some());
        let second = within(b, || wait_for(c));
        assert!(second.is_some());
        assert!(within(c, || wait_for(a)).is_none(), "c waits for a, which waits for b, which waits for c");
        assert!(within(a, || within(c, || wait_for(a))).is_none());
        drop(first);
        assert!(within(c, || wait_for(a)).is_some());
    }

    #[test]
    fn a_loader_that_panics_leaves_its_scope() {
        let outcome = std::panic::catch_unwind(|| within(next_id(), || panic!("expected")));
        assert!(outcome.is_err());
        assert!(running().is_empty());
    }

    #[test]
    fn a_thread_that_ends_may_load_to_the_last() {
        struct AtEnd(std::sync::mpsc::Sender<bool>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                let waits = within(next_id(), || wait_for(next_id()).is_some());
                LoadScope::current().run(|| self.0.send(waits)).expect("somebody listens");
            }
        }
        std::thread_local!(static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(|| {
            // The first local of this thread, and so the last to go.
            LAST.set(Some(AtEnd(tell)));
            within(next_id(), || ());
        });
        thread.join().expect("it does not panic");
        assert_eq!(told.recv(), Ok(true));
    }
}
