//! The ledger of one database in WAL mode: which tables changed when, as far as this process knows, and up to which commit it knows.
//!
//! Owns the numbers that tell whether what was read is still true. It must not know what is cached, nor how statements are followed
//! (`reads`, `session`).
//!
//! # How it works
//!
//! Publications are numbered. One names the tables that a commit has written, or says "any table", and carries the bytes of the
//! wal-index' header that this commit left; they differ after every commit of any process (`wal_index`). For each table the ledger keeps
//! the number of the last publication that named it, and one number for the last that meant any table.
//!
//! * A *reader* takes the number of the last publication before its read transaction begins ([`Ledger::moment`]). What it read
//!   holds for as long as ([`Ledger::holds`]) the header's bytes are those last published and no publication after its
//!   number named one of its tables or any.
//! * A *writer* notes the bytes when it is about to commit and has the lock to write ([`Ledger::commit_begins`]), and publishes when it has
//!   committed ([`Ledger::committed`]): the tables it wrote, if the bytes it noted were those last published (nobody committed
//!   before it unseen) and the header counts exactly one commit since (nobody committed after it either); else any table.
//! * Whoever finds other bytes than those published while no commit of this ledger is under way has found a commit that
//!   it knows nothing of: it publishes "any table" with the bytes found ([`Ledger::moment`], [`Ledger::look`]).
//!
//! # Why no result is stale
//!
//! *Claim.* When `holds` returns true, nothing that was read has been changed by any commit that was visible to anybody when the call
//! began.
//!
//! Let B be the bytes that the call reads first, at a time t. The state at t is the one that the commit with the bytes B left: who sees
//! a commit has seen its header, whose first copy is written last, so a call that begins afterwards reads that header or a later one. (A
//! header may be torn, in a call or when it is published, by a commit under way. That commit is visible to nobody before its header is
//! complete, and then the bytes are others.) Then the call finds B published. Publications first move the numbers of tables and then store the
//! bytes, so it reads numbers that contain every publication up to the one that carried B.
//!
//! * Each commit up to B is covered by such a publication. By induction: bytes are published in `committed` only after comparing those
//!   before the commit with those last published, under SQLite's lock to write, and counting one commit since; in every other case the
//!   publication says "any table". (A recovery of the wal-index sets the count back to zero: a count that is one higher than before is not
//!   found then, either, but for more commits in the microseconds since ours than since the log was made.)
//! * Each commit that the reader's snapshot lacks is covered by a publication with a higher number than the reader's: those up to the
//!   reader's number were published before its transaction began, after they were committed, so that it sees them. (A snapshot that the
//!   connection kept counts as begun when it is entered: it is the newest there is then, see `snapshot`.)
//! * So if no publication after the reader's number names one of its tables, no commit that it lacks has changed them.
//!
//! From the claim follows: *(a)* after a write has returned nobody gets an older result: the write was visible when the call
//! began. *(b)* Nobody who has seen a new row, through any path, then gets an old result: the same, and it does not matter whether the commit
//! was published yet: if not, the bytes differ from those published. *(c)* A roll-back leaves the header as it is, and nothing
//! is published. (Its beginning may have restarted the log, which changes the header without a commit: then somebody publishes "any
//! table", which costs misses.) *(d)* Commits of other processes, of other managers of the file and of connections of this process that
//! nobody follows change the bytes, and are found by them. A checkpoint that restarts the log looks like one.
//!
//! Nothing of this depends on *when* a commit is published: later costs misses, until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use crate::faults::{self, Mutation, Point};
use crate::wal_index::{Header, WalIndex, commits};

/// The number of the last publication that named a table.
pub(crate) type Cell = Arc<AtomicU64>;

/// What a transaction wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Writes {
    /// These tables of `main` at most, in lower case.
    Tables(Vec<String>),
    /// Nobody knows.
    Any,
}

/// What a query read.
#[derive(Debug, Clone)]
pub(crate) enum Reads {
    /// These tables of `main` at most.
    Tables(Box<[Cell]>),
    /// Nobody knows which.
    Any,
}

/// How many tables are told apart; with more, all are forgotten and everything read before is taken to have changed.
const MOST_TABLES: usize = 10_000;

/// The ledger of one database.
#[derive(Debug)]
pub(crate) struct Ledger {
    wal_index: WalIndex,
    published: Published,
    /// The number of the last publication.
    last: AtomicU64,
    /// The number of the last publication that meant any table.
    last_of_any: AtomicU64,
    /// How many connections of this ledger are between noting the bytes and publishing.
    committing: AtomicUsize,
    tables: Mutex<HashMap<Box<str>, Cell>>,
}

impl Ledger {
    /// Where it sees commits.
    pub(crate) fn wal_index(&self) -> &WalIndex {
        &self.wal_index
    }

    pub(crate) fn new(wal_index: WalIndex) -> Self {
        let published = Published::new(wal_index.read());
        Self {
            wal_index,
            published,
            last: AtomicU64::new(1),
            last_of_any: AtomicU64::new(1),
            committing: AtomicUsize::new(0),
            tables: Mutex::default(),
        }
    }

    // Readers.

    /// The number that a reader takes before its read transaction begins.
    pub(crate) fn moment(&self) -> u64 {
        self.look();
        // Pairs with the store in `publish`: what was committed up to this number was committed before this moment.
        self.last.load(Ordering::Acquire)
    }

    /// Finds out about commits that nobody of this ledger made.
    pub(crate) fn look(&self) {
        if !self.published.equals(&self.wal_index.read()) {
            self.look_closer();
        }
    }

    #[cold]
    fn look_closer(&self) {
        let mut tables = self.tables.lock();
        // In this order: who made the bytes that are read here counted itself before, and can't publish while this has the lock.
        let found = self.wal_index.read();
        if self.committing.load(Ordering::Acquire) == 0 && !self.published.equals(&found) {
            let writes =
                if faults::mutated(Mutation::IgnoresStrangers) { Writes::Tables(Vec::new()) } else { Writes::Any };
            self.publish(&mut tables, &writes, &found);
        }
    }

    /// Tells whether what was read since `moment` is still true; see above.
    #[inline]
    pub(crate) fn holds(&self, moment: u64, reads: &Reads) -> bool {
        let found = self.wal_index.read();
        faults::pause(Point::HeaderRead);
        if !self.published.equals(&found) && !faults::mutated(Mutation::SkipsHeader) {
            return false;
        }
        faults::pause(Point::HeaderCompared);
        // These come after the published bytes (see `Published::equals`), and before them for the writer.
        self.last_of_any.load(Ordering::Relaxed) <= moment
            && match reads {
                Reads::Tables(tables) => tables.iter().all(|last| last.load(Ordering::Relaxed) <= moment),
                Reads::Any => self.last.load(Ordering::Relaxed) <= moment,
            }
    }

    /// Takes tables, named in lower case, to have changed.
    pub(crate) fn outdate(&self, names: Vec<String>) {
        let mut tables = self.tables.lock();
        let number = self.last.load(Ordering::Relaxed) + 1;
        Self::enter(&mut tables, &names, number);
        self.last.store(number, Ordering::Release);
    }

    /// Tells whether any table may have changed since `moment`, or the schema.
    pub(crate) fn is_schema_of(&self, moment: u64) -> bool {
        self.last_of_any.load(Ordering::Acquire) <= moment
    }

    /// Finds the numbers of tables, named in lower case.
    pub(crate) fn cells<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Box<[Cell]> {
        let mut tables = self.tables.lock();
        let cell = |name: &str| match tables.get(name) {
            Some(cell) => Arc::clone(cell),
            // Nobody has written it yet: writers enter what they write.
            None => Arc::clone(tables.entry(name.into()).or_default()),
        };
        names.into_iter().map(cell).collect()
    }

    // Writers.

    /// Notes that a connection is about to commit, and returns what [`committed`](Self::committed) wants. To be called with SQLite's lock to
    /// write in hand.
    pub(crate) fn commit_begins(&self) -> Header {
        self.committing.fetch_add(1, Ordering::AcqRel);
        self.wal_index.read()
    }

    /// The mistake of publishing before the commit.
    #[cold]
    pub(crate) fn publish_early(&self, writes: &Writes) {
        self.publish(&mut self.tables.lock(), writes, &self.wal_index.read());
    }

    /// Publishes what a connection has committed, if it has; once for each call of [`commit_begins`](Self::commit_begins).
    pub(crate) fn committed(&self, before: &Header, writes: Writes) {
        faults::pause(Point::Committed);
        let mut tables = self.tables.lock();
        let after = self.wal_index.read();
        let count = commits(&after).wrapping_sub(commits(before));
        let writes = if faults::mutated(Mutation::PublishesEarly) { Writes::Tables(Vec::new()) } else { writes };
        if count != 0 {
            let alone = count == 1 && self.published.equals(before);
            self.publish(&mut tables, if alone { &writes } else { &Writes::Any }, &after);
        }
        // Under the lock: see `look_closer`.
        self.committing.fetch_sub(1, Ordering::AcqRel);
    }

    fn enter(tables: &mut HashMap<Box<str>, Cell>, names: &[String], number: u64) {
        for name in names {
            match tables.get(&**name) {
                Some(cell) => cell.store(number, Ordering::Relaxed),
                None => _ = tables.insert(name.as_str().into(), Arc::new(AtomicU64::new(number))),
            }
        }
    }

    /// In this order: the numbers of tables, the number of the publication, the bytes.
    fn publish(&self, tables: &mut HashMap<Box<str>, Cell>, writes: &Writes, left: &Header) {
        let number = self.last.load(Ordering::Relaxed) + 1;
        match writes {
            Writes::Tables(names) => {
                Self::enter(tables, names, number);
            }
            Writes::Any => self.last_of_any.store(number, Ordering::Relaxed),
        }
        if tables.len() > MOST_TABLES {
            tables.clear();
            self.last_of_any.store(number, Ordering::Relaxed);
        }
        faults::pause(Point::TablesPublished);
        // After the tables, for `moment`, and before the bytes, for `Reads::Any`.
        self.last.store(number, Ordering::Release);
        self.published.store(left);
        faults::pause(Point::Published);
    }
}

/// The bytes last published, readable without a lock.
///
/// Invariant: stored by one at a time, under the lock of the ledger's tables.
#[derive(Debug)]
struct Published {
    /// Odd while they are stored.
    version: AtomicU32,
    words: [AtomicU32; 12],
}

impl Published {
    fn new(header: Header) -> Self {
        Self { version: AtomicU32::new(0), words: header.map(AtomicU32::new) }
    }

    /// Tells whether these are the bytes published. Whatever was stored before they were published is seen by loads after this.
    #[inline]
    fn equals(&self, header: &Header) -> bool {
        // Pairs with the last store of `store`.
        let version = self.version.load(Ordering::Acquire);
        let mut differs = 0;
        for (published, found) in self.words.iter().zip(header) {
            differs |= published.load(Ordering::Relaxed) ^ found;
        }
        // Pairs with the fence of `store`: who has read one of its words reads its odd version or a later one next.
        fence(Ordering::Acquire);
        differs == 0 && version & 1 == 0 && self.version.load(Ordering::Relaxed) == version
    }

    fn store(&self, header: &Header) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (published, found) in self.words.iter().zip(header) {
            published.store(*found, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}
