//! The write-ahead log of one database: when its content moves into the database file, and what happens when it grows too large.
//!
//! Owns the decision after each commit, and the thread that empties a log which is larger than `wal_size_limit`. It must not know who
//! commits. Invariants: at most one thread empties the log of a database at a time, and none of this process' writers meets its locks:
//! it waits for the writer's turn like them, next after the commit that made the log too large, and has it for `checkpoint_timeout` or half
//! of `acquire_timeout` at most.
//!
//! A checkpoint that nobody waits for (SQLite's PASSIVE, at `wal_autocheckpoint`) copies what no reader needs any more; the log begins
//! anew when no reader is left in it, which with readers overlapping for ever is never. Emptying it waits for those who are in it, and they
//! for nobody. So as long as no reader stays for longer than that, the log is at most `wal_size_limit` and one transaction large; while one
//! does, writers go on and are kept waiting once each time the log has grown by another `wal_size_limit`.
//! Source: <https://www.sqlite.org/wal.html>, section 6.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::driver::Database;
use crate::in_force::InForce;
use crate::lane::Place;
use crate::parking;

/// What is known about the log of one database.
#[derive(Debug, Default)]
pub(crate) struct Log {
    emptying: AtomicBool,
    /// Bytes that the log has to exceed before emptying it is tried again; zero when the last try succeeded.
    again_above: AtomicU64,
    /// Whether a thread waits for readers that are in the way to become long ones.
    watched: AtomicBool,
    /// Whether a commit left it to the next one to write the log back.
    put_off: AtomicBool,
    /// How many pages the log had when it was last written back; zero when it has begun anew since.
    written_back_at: AtomicU32,
}

/// What to do after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Move into the database file what no reader needs any more.
    Passive,
}

impl Log {
    /// Judges the log after a commit that left it with so many pages, and has it emptied if it is too large. With a page size of zero it
    /// is the log of another database.
    pub(crate) fn committed(&self, pages: u32, page_size: u64, in_force: &InForce, database: &Weak<Database>) -> Due {
        let (every, limit) = in_force.log_limits();
        let bytes = u64::from(pages) * page_size;
        let again_above = self.again_above.load(Ordering::Relaxed);
        if bytes > limit.max(again_above) {
            self.begin_emptying(bytes, limit, database);
        } else if bytes <= limit && again_above != 0 && page_size != 0 && !self.is_being_emptied() {
            // It began anew by itself: those who were in the way have gone.
            self.again_above.store(0, Ordering::Relaxed);
        }
        let due = if page_size == 0 { every > 0 && u64::from(pages) >= every } else { self.is_due(pages, every) };
        if due { Due::Passive } else { Due::Nothing }
    }

    /// While readers keep the log from beginning anew, it is written back once for so many more pages, and not with every commit: each time
    /// takes SQLite two waits for the disk.
    fn is_due(&self, pages: u32, every: u64) -> bool {
        let last = self.written_back_at.load(Ordering::Relaxed);
        let grown = pages.checked_sub(last).unwrap_or_else(|| {
            self.written_back_at.store(0, Ordering::Relaxed);
            pages
        });
        every > 0 && u64::from(grown) >= every
    }

    /// Leaves writing the log back to the next commit that is not made on a thread that others wait for.
    #[cold]
    pub(crate) fn put_off(&self) {
        self.put_off.store(true, Ordering::Relaxed);
    }

    /// Notes that the log is being written back, and how many pages it has; `None`: it is the log of another database.
    pub(crate) fn caught_up(&self, pages: Option<u32>) {
        if let Some(pages) = pages {
            self.written_back_at.store(pages, Ordering::Relaxed);
        }
        self.put_off.store(false, Ordering::Relaxed);
    }

    /// Notes that a commit found nothing to be written back.
    #[inline]
    pub(crate) fn is_fine(&self) {
        if self.is_put_off() {
            self.put_off.store(false, Ordering::Relaxed);
        }
    }

    /// Tells whether that was left to the next commit.
    #[inline]
    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off.load(Ordering::Relaxed)
    }

    /// Tells whether the log waits for those who read from it. Then nobody may keep a snapshot for the next.
    #[inline]
    pub(crate) fn is_being_emptied(&self) -> bool {
        self.emptying.load(Ordering::Relaxed)
    }

    #[cold]
    fn begin_emptying(&self, bytes: u64, limit: u64, database: &Weak<Database>) {
        let Some(database) = database.upgrade() else { return };
        if self.emptying.swap(true, Ordering::Acquire) {
            return;
        }
        // If that fails, not with every commit from now on.
        self.again_above.store(bytes.saturating_add(limit), Ordering::Relaxed);
        // Taken here and now: whoever writes next would make it larger still.
        let place = database.lane.place_of_writer(database.in_force.acquire_timeout());
        let work = move || {
            let wait = database.in_force.emptying_time();
            let emptied = empty(&database, place, wait);
            let mut some_left = false;
            if emptied {
                database.log.again_above.store(0, Ordering::Relaxed);
            } else {
                some_left = database.name_long_readers(true);
                tracing::warn!(target: "pool_manager", database = &*database.name, bytes, limit, waited = ?wait,
                    "the log could not be emptied: somebody reads from it or writes");
            }
            database.log.emptying.store(false, Ordering::Release);
            if some_left && !database.log.watched.swap(true, Ordering::Acquire) {
                watch(database);
            }
        };
        // What happens there is told to whom this thread tells it.
        let teller = tracing::dispatcher::get_default(Clone::clone);
        let work = move || tracing::dispatcher::with_default(&teller, work);
        if std::thread::Builder::new().name("pool-log".to_owned()).spawn(work).is_err() {
            self.emptying.store(false, Ordering::Release);
        }
    }
}

fn empty(database: &Database, place: Place, wait: Duration) -> bool {
    // In this order: whoever waits for the turn to close the database finds the anchor let go of.
    let Ok(_turn) = parking::block_on(place) else { return false };
    let Some(anchor) = database.anchorage.current() else { return true };
    anchor.checkpoint(wait, || database.give_up_snapshots()).unwrap_or(false)
}

/// Names those who are in the way once they have been for long, as long as there are any and the database is open.
fn watch(database: Arc<Database>) {
    const ROUND: Duration = Duration::from_millis(100);
    let log = Arc::clone(&database.log);
    let watched = Arc::downgrade(&database);
    drop(database);
    while watched.upgrade().is_some_and(|database| database.name_long_readers(false)) {
        std::thread::sleep(ROUND);
    }
    log.watched.store(false, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_readers_hold_is_written_back_once_for_so_many_more_pages() {
        let log = Log::default();
        assert!(!log.is_due(9, 10) && log.is_due(10, 10));
        assert!(log.is_due(11, 10), "nobody has done it");
        log.caught_up(Some(11));
        assert!(!log.is_due(12, 10) && !log.is_due(20, 10) && log.is_due(21, 10));
        log.caught_up(Some(21));
        assert!(!log.is_due(2, 10), "it has begun anew");
        assert!(log.is_due(10, 10) && !log.is_due(10, 0), "never, if it is not wanted");
    }
}
