//! Where the anchor of a database lies now: another one when its file was replaced, none once it is closed.
//!
//! Owns which anchor is in force, when the file is looked up again, and closing anchors that are in force no more. It must not know what an
//! anchor is for (`anchor`). Invariants: an anchor is closed by who takes it out of force or by nobody who only looks at it; of several who
//! find a file replaced one opens the other, and nobody else waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use pool_cache::{Clock, Lately};

use crate::anchor::{Anchor, Lookout, Stamp};
use crate::error::Result;
use crate::key_look::Undecided;
use crate::ledger::Reads;
use crate::location::FileIdentity;

/// How often the file is looked up at most, in nanoseconds. Each time costs a microsecond; a database file should not be replaced under
/// those who use it at all (<https://www.sqlite.org/howtocorrupt.html>, section 2.4), so noticing it soon has to do: within 50 ms, of which 10
/// are for the lag of the cheap clock.
const LOOK_INTERVAL: u64 = 40_000_000;

/// Where the anchor of a database lies: another one when the file was replaced, none when the database was closed.
#[derive(Debug)]
pub(crate) struct Anchorage {
    /// Looked at with every hit, so by a way on which lookers don't write where others look.
    anchor: ArcSwapOption<Anchor>,
    /// Those that are not in force any more and may still be looked at. Who looks does so under a lock and has not counted itself, but may
    /// have to: with this, it never has the last reference, and closes nothing.
    retired: Mutex<Vec<Arc<Anchor>>>,
    /// Held while another file is opened, so that one caller does it and nobody else waits. Only closing changes `anchor` without it.
    moving: Mutex<()>,
    clock: Clock,
    /// When the file was last looked up, in nanoseconds by the clock.
    looked: AtomicU64,
    /// Whether the file was found to have been made read-only. It orders nothing.
    frozen: AtomicBool,
}

impl Anchorage {
    pub(crate) fn new(anchor: Anchor) -> Self {
        Self {
            anchor: ArcSwapOption::from_pointee(anchor),
            retired: Mutex::default(),
            moving: Mutex::new(()),
            clock: Clock::system(),
            looked: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
        }
    }

    /// The time, as of the last timer interrupt.
    #[inline]
    pub(crate) fn lately(&self) -> Lately {
        self.clock.lately()
    }

    /// Another reference to the clock that tells it.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Tells whether it is time to look up the file again, to one caller each time.
    #[inline]
    pub(crate) fn is_time_to_look(&self, lately: Lately) -> bool {
        let now = lately.nanos();
        let looked = self.looked.load(Ordering::Relaxed);
        now.saturating_sub(looked) > LOOK_INTERVAL
            && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Has the next caller look, however soon.
    pub(crate) fn look_again(&self) {
        self.looked.store(0, Ordering::Relaxed);
    }

    /// Notes whether the file was made read-only.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Tells whether it was.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// The anchor in force; `None` after closing.
    pub(crate) fn current(&self) -> Option<Arc<Anchor>> {
        self.anchor.load_full()
    }

    /// Takes a stamp; `None` when it can't be told now.
    #[inline]
    pub(crate) fn stamp(&self, lookout: Lookout<'_>) -> Option<Stamp> {
        self.anchor.load().as_ref()?.stamp(lookout)
    }

    /// Tells whether what was read after the stamp was taken is still true.
    pub(crate) fn holds(&self, stamp: &Stamp, reads: &Reads, lookout: Lookout<'_>) -> bool {
        self.anchor.load().as_ref().is_some_and(|anchor| anchor.holds(stamp, reads, lookout))
    }

    /// Tells the same as far as SQLite need not be asked.
    #[inline]
    pub(crate) fn plainly_holds(&self, stamp: &Stamp, reads: &Reads, lookout: Lookout<'_>) -> bool {
        let anchor = self.anchor.load();
        anchor.as_ref().and_then(|anchor| anchor.plainly_holds(stamp, reads, lookout)) == Some(true)
    }

    /// Finds out what has to be looked at to tell the same, if that would tell.
    pub(crate) fn undecided(&self, stamp: &Stamp, reads: &Reads) -> Option<Undecided> {
        self.anchor.load().as_ref()?.undecided(stamp, reads)
    }

    /// Tells whether there may be anything that has to be looked at.
    #[inline]
    pub(crate) fn may_be_undecided(&self) -> bool {
        self.anchor.load().as_ref().is_some_and(|anchor| anchor.commits().wants_values())
    }

    /// Tells whether connections made under `generation` are on the file that is known to be there.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.anchor.load().as_ref().is_some_and(|anchor| anchor.generation() == generation)
    }

    /// Returns the anchor of the file with this identity, making it with `open` if it is another file than before.
    pub(crate) fn of(
        &self,
        identity: Option<FileIdentity>,
        open: impl FnOnce(u64) -> Result<Anchor>,
    ) -> Result<Option<Arc<Anchor>>> {
        let known = |anchor: &Arc<Anchor>| anchor.identity() == identity;
        self.close_retired();
        if let Some(known) = self.current().filter(known) {
            return Ok(Some(known));
        }
        let _moving = self.moving.lock();
        let old = self.current();
        let generation = match &old {
            None => return Ok(None),
            Some(anchor) if known(anchor) => return Ok(old),
            Some(anchor) => anchor.generation() + 1,
        };
        let anchor = Arc::new(open(generation)?);
        let before = self.anchor.compare_and_swap(&old, Some(Arc::clone(&anchor)));
        // Closed meanwhile: then it stays closed.
        let moved = before.is_some();
        drop(before);
        self.retired.lock().extend(old.filter(|_| moved));
        Ok(moved.then_some(anchor))
    }

    /// Waits until no connection holds the write lock.
    pub(crate) fn wait_for_writer(&self, wait: Duration) {
        if let Some(Err(error)) = self.current().map(|anchor| anchor.wait_for_writer(wait)) {
            // What comes next meets the lock itself and reports it.
            tracing::debug!(target: "pool_manager", %error, "waiting for a writer that is about to finish failed");
        }
    }

    /// Takes the anchor out of force, for what is left to do with it; then it is to be [closed](Self::close).
    pub(crate) fn take(&self) -> Option<Arc<Anchor>> {
        self.anchor.swap(None)
    }

    /// Closes an anchor that is not in force any more, as soon as nobody looks at it. To be called when nobody can look at it under a
    /// lock any more.
    pub(crate) fn close(&self, anchor: Arc<Anchor>) {
        /// Who has it for longer than this does more than look, under no lock, and may close it.
        const PATIENCE: Duration = Duration::from_millis(100);
        self.close_within(PATIENCE, anchor);
    }

    fn close_within(&self, patience: Duration, anchor: Arc<Anchor>) {
        self.retired.lock().push(anchor);
        let since = Instant::now();
        while !self.close_retired() {
            if since.elapsed() >= patience {
                let left = std::mem::take(&mut *self.retired.lock());
                drop(left);
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Closes those that are not in force any more and that nobody looks at. Tells whether none is left.
    fn close_retired(&self) -> bool {
        let mut retired = self.retired.lock();
        let mut closing = Vec::new();
        for anchor in std::mem::take(&mut *retired) {
            match Arc::try_unwrap(anchor) {
                Ok(anchor) => closing.push(anchor),
                Err(looked_at) => retired.push(looked_at),
            }
        }
        let none_left = retired.is_empty();
        drop(retired);
        drop(closing);
        none_left
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pool_config::PoolConfig;

    use super::*;
    use crate::location::{Access, Location};

    fn open(generation: u64) -> Result<Anchor> {
        let location = Location::parse(Path::new(":memory:"))?;
        Anchor::open(&location, Access::Create, generation, &PoolConfig::builder().build()?)
    }

    #[test]
    fn whoever_only_looks_at_an_anchor_never_closes_it() {
        let anchorage = Anchorage::new(open(0).expect("it opens"));
        let looked_at = anchorage.current().expect("it is open");
        let other = FileIdentity::at(Path::new("/"));
        anchorage.of(other, open).expect("it opens").expect("it is open");
        assert_eq!(Arc::strong_count(&looked_at), 2, "who replaced it has it still");
        let replaced = Arc::downgrade(&looked_at);
        drop(looked_at);
        assert!(replaced.upgrade().is_some());
        assert!(anchorage.close_retired() && replaced.upgrade().is_none());

        let looked_at = anchorage.current().expect("it is open");
        let closed = Arc::downgrade(&looked_at);
        std::thread::scope(|threads| {
            let anchor = anchorage.take().expect("it is open");
            let closing = threads.spawn(|| anchorage.close_within(Duration::from_secs(600), anchor));
            while anchorage.retired.lock().is_empty() && !closing.is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(Arc::strong_count(&looked_at), 2, "who closes it waits");
            drop(looked_at);
            closing.join().expect("it closes");
            assert!(closed.upgrade().is_none() && anchorage.retired.lock().is_empty());
        });
    }
}
