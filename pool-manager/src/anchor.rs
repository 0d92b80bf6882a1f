//! The one connection of a database that is not in its pool: it anchors what must outlive any pooled one.
//!
//! Owns the first opening of a database (is it one? which journal mode?), the mapping of its wal-index, a database in memory
//! (which lives as long as a connection to it) and the last checkpoint. It runs no query of users and keeps no page cache.
//! It answers one question for the query cache: is what was read since a moment still true? It must not know who asks.
//!
//! Invariant: a stamp holds only while no commit of any connection of any process has changed what was read, as far as that is known; see
//! `ledger`, and outside WAL mode, only while nothing was committed at all. With [`Lookout::Never`] and between two looks of
//! [`Lookout::Every`] that is promised for the commits of this process alone. A database in memory has no others: its ledger is told of all
//! commits, and the counter is only asked while one is under way. A file outside WAL mode is looked at each time, whatever the settings say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_cache::Clock;
use pool_config::PoolConfig;
use rusqlite::ffi;

use crate::error::{Error, Result, primary_code};
use crate::inherited::Listed;
use crate::key_look::Undecided;
use crate::ledger::{Ledger, Reads};
use crate::location::{Access, FileIdentity, Found, Location};
use crate::memory_ledgers;
use crate::pragmas;
use crate::reads::Atlas;
use crate::wal_index::WalIndex;

/// A moment in the life of a database's content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Which anchor took it: stamps of a file that was replaced never equal those of its successor.
    generation: u64,
    version: Version,
}

impl Stamp {
    /// The number of the ledger of this very anchor.
    pub(crate) fn number_of(&self, anchor: &Anchor) -> Option<u64> {
        match self.version {
            Version::Wal(number) | Version::Counter(_, number) => {
                (self.generation == anchor.generation).then_some(number)
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Version {
    /// A number of the ledger.
    Wal(u64),
    /// `PRAGMA data_version` of the anchor, which never commits itself, and a number of the ledger:
    /// <https://www.sqlite.org/pragma.html#pragma_data_version>
    Counter(i64, u64),
}

/// When to look whether somebody outside this process has committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lookout<'a> {
    /// Each time.
    Always,
    /// When this time has passed since the last look.
    Every(Duration, &'a Clock),
    /// Not at all.
    Never,
}

/// The anchor of one database file or database in memory.
#[derive(Debug)]
pub(crate) struct Anchor {
    generation: u64,
    identity: Option<FileIdentity>,
    /// Whether nobody had the right to write the file from the start: then it does not matter to this process.
    was_read_only: bool,
    only_reads: bool,
    journal: String,
    page_size: u64,
    // Before the connection, which has to close last.
    #[expect(dead_code, reason = "held")]
    listed: Listed,
    ledger: Arc<Ledger>,
    in_wal: bool,
    /// When it was last looked whether a stranger has committed, by the clock of `Lookout::Every`, in nanoseconds.
    looked: AtomicU64,
    atlas: Atlas,
    connection: Mutex<rusqlite::Connection>,
}

impl Anchor {
    /// Opens the database, makes the file when that is allowed and it is missing, and puts it into WAL mode.
    ///
    /// `busy_timeout` bounds the waiting for another process that has it locked; a file that is made gets `page_size`.
    pub(crate) fn open(location: &Location, access: Access, generation: u64, config: &PoolConfig) -> Result<Self> {
        let wait = config.busy_timeout();
        let since = Instant::now();
        let connection = location.open(access)?;
        let listed = Listed::file_of(&connection);
        let named = |error: rusqlite::Error| match primary_code(&error) {
            Some(ffi::SQLITE_BUSY) => Error::Busy { waited: since.elapsed(), busy_timeout: wait, source: error },
            _ => location.open_error(error),
        };
        connection.busy_timeout(wait).map_err(named)?;
        connection.execute_batch(&pragmas::of_anchor(config.page_size())).map_err(named)?;
        // The first read: fails here, and not at a user's first query, when the file is no database.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(named)?;
        let journal =
            if access == Access::Read { journal_mode(&connection) } else { into_wal(&connection, since, wait) };
        let journal = journal.map_err(named)?;
        let wal_index = if journal == "wal" {
            // Opens the wal-index.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(named)?;
            WalIndex::of(&connection)
        } else {
            if access != Access::Read && matches!(location, Location::File(_)) {
                tracing::warn!(target: "pool_manager", database = %location, journal, "the database could not be put into WAL mode");
            }
            None
        };
        // From here on it only answers `stamp`, which must not wait.
        connection.busy_timeout(Duration::ZERO).map_err(named)?;
        let found = location.look()?;
        let only_reads = connection.is_readonly("main").map_err(named)?;
        let page_size = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(named)?;
        let connection = Mutex::new(connection);
        let identity = found.map(|found| found.identity);
        let was_read_only = found.is_some_and(|found| found.read_only);
        let in_wal = wal_index.is_some();
        let ledger = match (wal_index, identity) {
            (Some(wal_index), Some(identity)) => Ledger::of_file(identity, wal_index),
            (wal_index, _) => Arc::new(Ledger::new(wal_index)),
        };
        if matches!(location, Location::Memory(_)) {
            memory_ledgers::add(&ledger);
        }
        Ok(Self {
            generation,
            identity,
            was_read_only,
            only_reads,
            journal,
            page_size,
            listed,
            ledger,
            in_wal,
            looked: AtomicU64::new(0),
            atlas: Atlas::default(),
            connection,
        })
    }

    /// Tells whether this process had no right to write the file when it was opened, so that SQLite opened it for reading.
    pub(crate) fn only_reads(&self) -> bool {
        self.only_reads
    }

    /// Which file this is the anchor of; `None` in memory.
    pub(crate) fn identity(&self) -> Option<FileIdentity> {
        self.identity
    }

    /// Tells whether the file that `look` finds is too short for what was written to it, as far as that can be told.
    pub(crate) fn is_cut_off(&self, look: impl FnOnce() -> Result<Option<Found>>) -> Result<bool> {
        let Some(wal_index) = self.ledger.wal_index() else { return Ok(false) };
        let (pages, found) = wal_index.settled_pages(look);
        // In WAL mode the first page is always there.
        let least = u64::from(pages.unwrap_or(0)).max(1) * self.page_size;
        Ok(found?.is_some_and(|found| Some(found.identity) == self.identity && found.size < least))
    }

    /// Tells whether the file, as found now, was made read-only since it was opened.
    pub(crate) fn is_frozen(&self, found: Option<Found>) -> bool {
        !self.was_read_only && found.is_some_and(|found| found.read_only)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The journal mode in force, in SQLite's words.
    pub(crate) fn journal(&self) -> &str {
        &self.journal
    }

    /// Tells whether the file is in WAL mode, with a wal-index in shared memory.
    pub(crate) fn has_wal_index(&self) -> bool {
        self.in_wal
    }

    /// The size of the file's pages, in bytes.
    pub(crate) fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Takes a stamp; `None` when it can't be told now (outside WAL mode, while somebody commits).
    #[inline]
    pub(crate) fn stamp(&self, lookout: Lookout<'_>) -> Option<Stamp> {
        let version = if self.in_wal {
            match lookout {
                Lookout::Always => _ = self.ledger.look(),
                Lookout::Every(interval, clock) => {
                    if let Some(now) = self.is_due(interval, clock)
                        && self.ledger.look()
                    {
                        self.looked.fetch_max(now, Ordering::Release);
                    }
                }
                Lookout::Never => {}
            }
            Version::Wal(self.ledger.moment())
        } else {
            let number = self.ledger.moment();
            Version::Counter(self.data_version()?, number)
        };
        Some(Stamp { generation: self.generation, version })
    }

    /// Tells whether it is time for a look, and then what time it is.
    #[inline]
    fn is_due(&self, interval: Duration, clock: &Clock) -> Option<u64> {
        let now = nanos(clock.elapsed());
        // Pairs with the `fetch_max` of who has looked: what was published by then is seen.
        let looked = self.looked.load(Ordering::Acquire);
        (now.saturating_sub(looked) >= nanos(interval)).then_some(now)
    }

    /// Tells whether what was read after the stamp was taken is still true.
    pub(crate) fn holds(&self, stamp: &Stamp, reads: &Reads, lookout: Lookout<'_>) -> bool {
        let asked = || matches!(stamp.version, Version::Counter(counter, _) if self.data_version() == Some(counter));
        self.plainly_holds(stamp, reads, lookout).unwrap_or_else(asked)
    }

    /// Tells the same; `None` where SQLite has to be asked.
    #[inline]
    pub(crate) fn plainly_holds(&self, stamp: &Stamp, reads: &Reads, lookout: Lookout<'_>) -> Option<bool> {
        if stamp.generation != self.generation {
            return Some(false);
        }
        match (stamp.version, lookout) {
            (Version::Wal(moment), Lookout::Always) => Some(self.ledger.holds(moment, reads)),
            (Version::Wal(moment), Lookout::Never) => Some(self.ledger.holds_here(moment, reads)),
            (Version::Wal(moment), Lookout::Every(interval, clock)) => {
                Some(self.holds_lately(moment, reads, interval, clock))
            }
            (Version::Counter(_, moment), _) if self.identity.is_none() && !self.ledger.is_under_way() => {
                Some(self.ledger.holds_here(moment, reads))
            }
            (Version::Counter(..), _) => None,
        }
    }

    /// Finds out what has to be looked at before it can be told whether what was read after the stamp was taken is still true, if that would
    /// tell.
    pub(crate) fn undecided(&self, stamp: &Stamp, reads: &Reads) -> Option<Undecided> {
        match stamp.version {
            Version::Wal(moment) if stamp.generation == self.generation => {
                let columns = self.ledger.undecided(moment, reads)?;
                Some(Undecided::new(&self.ledger, columns))
            }
            _ => None,
        }
    }

    fn holds_lately(&self, moment: u64, reads: &Reads, interval: Duration, clock: &Clock) -> bool {
        let Some(now) = self.is_due(interval, clock) else { return self.ledger.holds_here(moment, reads) };
        let holds = self.ledger.holds(moment, reads);
        if holds {
            self.looked.fetch_max(now, Ordering::Release);
        }
        holds
    }

    /// The ledger, in WAL mode.
    #[inline]
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.in_wal.then_some(&*self.ledger)
    }

    /// The ledger in which connections enter their commits, in any mode.
    pub(crate) fn commits(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What is known of the schema, true as long as the ledger says.
    pub(crate) fn atlas(&self) -> &Atlas {
        &self.atlas
    }

    fn data_version(&self) -> Option<i64> {
        self.connection.lock().query_row("PRAGMA data_version", [], |row| row.get(0)).ok()
    }

    /// Moves the log into the database file and empties it, trying for as long as `wait`; `before_each` is called before each try. The
    /// caller has the writer's turn, so that the log does not grow meanwhile.
    ///
    /// Returns whether the log could be emptied; somebody who reads from it for longer can prevent it, which loses nothing.
    ///
    /// SQLite's own waiting, with a busy timeout, may never end where readers overlap: it waits until nobody is at the mark in the wal-index
    /// that it found in use, and those who come may take that very mark for the newest state, one after another, for ever. So it waits for
    /// a short time only. A new try looks again who reads what: once those are gone who read from before it, all is moved, who comes then
    /// reads from the database file alone (<https://www.sqlite.org/walformat.html>, section 2.3.1), and the log is empty when those who came in
    /// between are gone, too.
    pub(crate) fn checkpoint(&self, wait: Duration, before_each: impl Fn()) -> Result<bool> {
        /// How long the first try waits, doubled each time up to the longest: one that moves nothing still sorts what is in the log.
        const TRIES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
        if self.journal != "wal" {
            return Ok(true);
        }
        let since = Instant::now();
        let [mut patience, longest] = TRIES;
        loop {
            before_each();
            let try_since = Instant::now();
            let left = wait.saturating_sub(since.elapsed());
            let connection = self.connection.lock();
            connection.busy_timeout(patience.min(left))?;
            let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            connection.busy_timeout(Duration::ZERO)?;
            drop(connection);
            if busy == 0 || left <= patience {
                return Ok(busy == 0);
            }
            // For somebody else who writes the log back SQLite does not wait.
            std::thread::sleep(patience.saturating_sub(try_since.elapsed()));
            patience = (patience * 2).min(longest);
        }
    }

    /// Runs `PRAGMA optimize`, as SQLite recommends before closing: <https://www.sqlite.org/pragma.html#pragma_optimize>
    pub(crate) fn optimize(&self) -> Result<()> {
        Ok(self.connection.lock().execute_batch("PRAGMA analysis_limit = 400; PRAGMA optimize;")?)
    }

    /// Waits until no connection holds the write lock: gets it for a moment.
    pub(crate) fn wait_for_writer(&self, wait: Duration) -> Result<()> {
        let connection = self.connection.lock();
        connection.busy_timeout(wait)?;
        let waited = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        connection.busy_timeout(Duration::ZERO)?;
        Ok(waited?)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn journal_mode(connection: &rusqlite::Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))
}

/// Puts the database into WAL mode, if it is not. SQLite does not wait for others who do the same at the same time: they have all
/// read, and all want to write.
fn into_wal(connection: &rusqlite::Connection, since: Instant, wait: Duration) -> rusqlite::Result<String> {
    loop {
        let mode = journal_mode(connection)?;
        if mode == "wal" || mode == "memory" {
            return Ok(mode);
        }
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if primary_code(&error) == Some(ffi::SQLITE_BUSY) && since.elapsed() < wait => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}
