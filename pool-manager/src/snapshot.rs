//! The snapshot that a connection keeps between two uses, so that the next one need not take it anew.
//!
//! Taking a read transaction costs SQLite several system calls, and so does giving it up. A statement that was stepped and not
//! finished keeps one open. As long as the first bytes of the wal-index are those from before it was taken, nobody has committed
//! since, and the snapshot is the newest there is: the next use reads from it as it is. An idle snapshot keeps the log from being
//! emptied, so the `sweeper` gives it up when nobody used it for a while, and at once when the log is to be emptied.
//!
//! A connection that commits takes its snapshot along: SQLite goes on reading from the state that the commit left. If the header counts
//! one commit more than before, that state is still the newest. So who writes alone needs two system calls for its locks and not six.
//!
//! Owns the pinning statement and the word that says whose it is. It must not know what is read. Invariants: the statement is used by
//! the owner of the connection while the word says `HELD` or `NONE`, and by a sweeper while it says `SWEEPING`; the header was read
//! before the snapshot was taken, or is the one that the connection's own commit left and nobody's after it, so an error can only cost
//! taking it once more; it is finalized before its connection closes.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rusqlite::ffi;

use crate::faults::{self, Point};
use crate::sweeper;
use crate::wal_index::{Header, WalIndex, commits};

/// No snapshot is kept; the owner of the connection may take one.
const NONE: u8 = 0;
/// A snapshot is kept and the connection is in use.
const HELD: u8 = 1;
/// A snapshot is kept, and was used since the sweeper came by.
const FRESH: u8 = 2;
/// A snapshot is kept, and was not.
const STALE: u8 = 3;
/// A sweeper gives the snapshot up.
const SWEEPING: u8 = 4;

/// After so many commits of its connection a snapshot is taken anew: the log is not written back beyond where it was taken.
const MOST_COMMITS: u32 = 32;

/// Yields a row whatever is in the database, and then still has a table to read.
const PIN: &std::ffi::CStr = c"SELECT 1 UNION ALL SELECT 1 FROM sqlite_schema";

/// The snapshot of one connection.
#[derive(Debug)]
pub(crate) struct Snapshot {
    word: AtomicU8,
    statement: *mut ffi::sqlite3_stmt,
    wal_index: WalIndex,
    known: UnsafeCell<Known>,
    /// Whether a transaction was rolled back on the connection, and what keeps the snapshot may stand in the way of those after it.
    /// Relaxed: for the owner alone.
    rolled_back: AtomicBool,
}

/// What is known of the newest state that the connection has seen.
#[derive(Debug, Default)]
struct Known {
    /// The header of the wal-index from before the snapshot was taken, or from after the connection's own last commit.
    header: Header,
    /// How often the connection has committed since the snapshot was taken.
    commits: u32,
}

// SAFETY: `statement` and `known` are used by whom the word names only, one at a time; it is handed over by release and acquire.
unsafe impl Send for Snapshot {}
// SAFETY: as above.
unsafe impl Sync for Snapshot {}

impl Snapshot {
    /// Prepares keeping snapshots on a connection, which must be in WAL mode and have read once. `None` where it has no wal-index.
    ///
    /// The caller calls [`retire`](Self::retire) before the connection closes.
    pub(crate) fn on(connection: &rusqlite::Connection) -> rusqlite::Result<Option<Self>> {
        let Some(wal_index) = WalIndex::of(connection) else { return Ok(None) };
        let mut statement = std::ptr::null_mut();
        // SAFETY: the connection is open and the text ends with NUL.
        let code = unsafe {
            let flags = ffi::SQLITE_PREPARE_PERSISTENT;
            ffi::sqlite3_prepare_v3(
                connection.handle(),
                PIN.as_ptr(),
                -1,
                flags,
                &raw mut statement,
                std::ptr::null_mut(),
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
        Ok(Some(Self {
            word: AtomicU8::new(NONE),
            statement,
            wal_index,
            known: UnsafeCell::default(),
            rolled_back: AtomicBool::new(false),
        }))
    }

    /// Tells whether this is the statement that pins the snapshot.
    #[inline]
    pub(crate) fn is_pin(&self, statement: *mut ffi::sqlite3_stmt) -> bool {
        self.statement == statement
    }

    // For the owner of the connection.

    /// Sees to it that what the connection reads from now on is one state of the database, the newest there is. Where SQLite can't take a
    /// snapshot now, nothing is kept, and what is read next meets the reason itself.
    #[inline]
    pub(crate) fn enter(&self) {
        let held = self.take();
        let now = self.wal_index.read();
        // SAFETY: the word is `HELD` or `NONE`, so this is the owner's.
        let known = unsafe { &mut *self.known.get() };
        if held && known.header == now && !self.is_interrupted() {
            return;
        }
        *known = Known { header: now, commits: 0 };
        self.take_anew(held);
    }

    /// The same for a use that begins to write at once. A snapshot is kept or taken if nobody else has committed since this connection did:
    /// then the same is likely next time. SQLite lets nobody write on a snapshot that is not the newest. What interrupts an idle connection is
    /// forgotten where the transaction begins.
    #[inline]
    pub(crate) fn enter_to_write(&self) {
        let held = self.take();
        let now = self.wal_index.read();
        faults::pause(Point::LookedToWrite);
        // SAFETY: as in `enter`.
        let known = unsafe { &mut *self.known.get() };
        if known.header != now {
            if held {
                self.let_go();
            }
        } else if !held || known.commits >= MOST_COMMITS {
            known.commits = 0;
            self.take_anew(held);
        }
    }

    /// Notes that the connection has committed something, by a transaction that began on the snapshot if there is one.
    ///
    /// One that was begun to write begins at the newest state, whose count is not less than that of the known header. If there is one
    /// commit more now it is this one, and nobody's came after it. (A header that is torn equals no later one.)
    pub(crate) fn has_committed(&self) {
        faults::pause(Point::Unlocked);
        let now = self.wal_index.read();
        // SAFETY: this is called in a use of the connection, by its owner.
        let known = unsafe { &mut *self.known.get() };
        if self.is_held() && commits(&now) != commits(&known.header).wrapping_add(1) {
            self.let_go();
        }
        known.header = now;
        known.commits += 1;
    }

    /// Tells whether there is a snapshot. For the owner of the connection, in a use.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(Ordering::Relaxed) == HELD
    }

    /// Gives the snapshot up if an interrupt would otherwise outlast what it was meant for.
    #[inline]
    pub(crate) fn give_up_if_interrupted(&self) {
        if self.is_held() && self.is_interrupted() {
            self.let_go();
        }
    }

    /// Notes that a transaction is being rolled back, which is no moment to end a statement.
    pub(crate) fn is_rolled_back(&self) {
        self.rolled_back.store(self.is_held(), Ordering::Relaxed);
    }

    /// Gives the snapshot up if a transaction has been rolled back. If that was because something could not be written, the connection
    /// fails with the same error, also for those who only read, until nothing reads from it any more (`pager_error` in pager.c).
    #[inline]
    pub(crate) fn give_up_if_rolled_back(&self) {
        if self.rolled_back.load(Ordering::Relaxed) {
            self.rolled_back.store(false, Ordering::Relaxed);
            self.give_up();
        }
    }

    fn take_anew(&self, held: bool) {
        if held {
            self.let_go();
        }
        // SAFETY: the statement is the owner's, and its connection is open.
        let code = unsafe { ffi::sqlite3_step(self.statement) };
        if code == ffi::SQLITE_ROW {
            self.word.store(HELD, Ordering::Relaxed);
            sweeper::wake();
        } else {
            // SAFETY: as above. What failed fails again, with a better name, for the statement that is run next.
            unsafe { ffi::sqlite3_reset(self.statement) };
        }
    }

    /// Ends a use. Whoever comes next gets the snapshot, if it is to be kept.
    #[inline]
    pub(crate) fn leave(&self, keep: bool) {
        if self.word.load(Ordering::Relaxed) != HELD {
            return;
        }
        if keep && !self.is_interrupted() && !self.rolled_back.load(Ordering::Relaxed) {
            // Release: what was done with the connection comes before what the sweeper does with it.
            self.word.store(FRESH, Ordering::Release);
        } else {
            self.rolled_back.store(false, Ordering::Relaxed);
            self.let_go();
        }
    }

    /// Gives the snapshot up; tells whether there was one.
    #[inline]
    pub(crate) fn give_up(&self) -> bool {
        let held = self.take();
        if held {
            self.let_go();
        }
        held
    }

    /// Finalizes the statement. The connection is about to be closed and nothing of this is used again.
    pub(crate) fn retire(&self) {
        self.give_up();
        // SAFETY: the word says `NONE` and stays so: no sweeper touches the statement, and no owner is left.
        unsafe { ffi::sqlite3_finalize(self.statement) };
    }

    /// Makes the snapshot the owner's; tells whether there is one.
    #[inline]
    fn take(&self) -> bool {
        loop {
            // Acquire: pairs with the release of a sweeper that is done.
            match self.word.load(Ordering::Acquire) {
                NONE => return false,
                HELD => return true,
                // It takes a microsecond, if the sweeper has a processor.
                SWEEPING => std::thread::yield_now(),
                idle => {
                    if self.word.compare_exchange(idle, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                        return true;
                    }
                }
            }
        }
    }

    fn let_go(&self) {
        // SAFETY: the statement is the owner's, and its connection is open.
        unsafe { ffi::sqlite3_reset(self.statement) };
        self.word.store(NONE, Ordering::Relaxed);
    }

    /// SQLite forgets an interrupt only when nothing runs on the connection, and a kept snapshot counts as something that runs.
    #[inline]
    fn is_interrupted(&self) -> bool {
        // SAFETY: the statement belongs to an open connection.
        unsafe { ffi::sqlite3_is_interrupted(ffi::sqlite3_db_handle(self.statement)) != 0 }
    }

    // For everybody else.

    /// Gives the snapshot up if the connection is idle and, unless `at_once`, was so when the sweeper came by before. Tells whether there
    /// is still one.
    pub(crate) fn sweep(&self, at_once: bool) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        match word {
            NONE => return false,
            HELD | SWEEPING => return true,
            FRESH if !at_once => {
                // Whoever took it meanwhile has used it.
                let _ = self.word.compare_exchange(FRESH, STALE, Ordering::Relaxed, Ordering::Relaxed);
                return true;
            }
            _ => {}
        }
        // Acquire: pairs with the release in `leave`.
        if self.word.compare_exchange(word, SWEEPING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return true;
        }
        // SAFETY: the word says that the statement is ours, and an owner waits before it uses or closes the connection.
        unsafe { ffi::sqlite3_reset(self.statement) };
        self.word.store(NONE, Ordering::Release);
        false
    }
}
