//! The ledger of one database in WAL mode: which tables changed when, as far as this process knows, and up to which commit it knows.
//!
//! Owns the numbers that tell whether what was read is still true. It must not know what is cached, nor how statements are followed
//! (`reads`, `session`).
//!
//! # How it works
//!
//! Publications are numbered. One names the tables that a commit has written, or says "any table", and carries the bytes of the
//! wal-index' header that this commit left; they differ after every commit of any process (`wal_index`). For each table the ledger keeps
//! the number of the last publication that named it, and one number for the last that meant any table. Of a table of which somebody reads
//! single rows it keeps numbers of rows besides, and of a column by which somebody reads, numbers of values (`row_cells`). A publication that names such a table *names a row* of it if it was told that
//! the row was written, or if nobody could tell which were (`row_watch`); it *names a value* of a column if a row that was written has it, or
//! if nobody can tell: who asks for a value looks at the rows that were written meanwhile (`key_look`).
//!
//! * A *reader* takes the number of the last publication before its read transaction begins ([`Ledger::moment`]). What it read
//!   holds for as long as ([`Ledger::holds`]) the header's bytes are those last published and no publication after its
//!   number named one of its tables, one of its rows, one of its values or any table. (A result may depend on whole tables, and of others on
//!   rows with certain numbers alone, or with certain values in a column, whether there are such rows or not: `reads`.)
//! * A *writer* notes the bytes when it is about to commit and has the lock to write ([`Ledger::commit_begins`]), and publishes when it has
//!   committed ([`Ledger::committed`]): the tables it wrote, if the bytes it noted were those last published (nobody committed
//!   before it unseen) and the header counts exactly one commit since (nobody committed after it either); else any table.
//! * Whoever finds other bytes than those published while no commit of this ledger is under way has found a commit that
//!   it knows nothing of: it publishes "any table" with the bytes found ([`Ledger::look`]). Readers look before they take a number.
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
//! * Covered in terms of rows, too: a publication names each row that its commits have inserted, changed or deleted, under its old number and
//!   its new one. For it says which rows only if each change was reported, under the schema of that commit: `row_watch` says of when
//!   its knowledge is, and `committed`, having found that nobody committed unseen before, finds all changes of the schema published,
//!   and none that is younger. Of what was published before somebody first read single rows of a table nobody noted rows, and so its rows begin
//!   with the number of the last publication that named the table.
//! * So if no publication after the reader's number names one of its rows, no commit that it lacks has changed them.
//! * Covered in terms of values, too: a publication names each value that a row had or has that its commits have inserted, changed or deleted.
//!   It names all, unless it says which rows and their entries in the column's index all stay (`row_watch`), under the schema of which the
//!   cells know their column; they begin, as those of rows, with the number of the last publication that named the table. Then each of these
//!   rows has the same value before and after, or is new, and the publication names all values *until somebody has looked* which these
//!   are: [`Ledger::looked`] takes that back, and enters what was found. That is the value at that commit: it was read from a
//!   state that has the commit (the reader's number, taken before, is not lower), and the entry was there until then. For had a commit
//!   removed it that is in that state, its header would be there by the time of `looked`; which finds the bytes published and the row still
//!   listed, under the lock, while a publication that names all values empties the list. Whoever finds what was taken back finds what was
//!   entered before it, and all that was published by then.
//! * So if no publication after the reader's number names one of its values, no commit that it lacks has changed rows that had one or have.
//!
//! From the claim follows: *(a)* after a write has returned nobody gets an older result: the write was visible when the call
//! began. *(b)* Nobody who has seen a new row, through any path, then gets an old result: the same, and it does not matter whether the commit
//! was published yet: if not, the bytes differ from those published. *(c)* A roll-back leaves the header as it is, and nothing
//! is published. (Its beginning may have restarted the log, which changes the header without a commit: then somebody publishes "any
//! table", which costs misses.) *(d)* Commits of other processes, of other managers of the file and of connections of this process that
//! nobody follows change the bytes, and are found by them. A checkpoint that restarts the log looks like one.
//!
//! Nothing of this depends on *when* a commit is published: later costs misses, until then.
//!
//! # Without looking at the bytes
//!
//! `external_writers` = `none` lets a hit do without the bytes ([`Ledger::holds_here`]), `poll` until its interval is over. Then only those
//! commits count that this ledger's connections make, and all connections of this process that the library has opened on a file
//! share one ledger, whichever manager they belong to ([`Ledger::of_file`]).
//!
//! *Claim.* When `holds_here` returns true, nothing that was read has been changed by any commit *of this ledger's connections* that was
//! visible to anybody when the call began.
//!
//! Each such commit is counted in `under_way` before it can be visible to anybody (in SQLite's commit hook) and until it is published;
//! the count is changed by read-modify-write operations only. Let C be such a commit, visible when the call began: its addition comes before
//! the call's load of the count. If that finds zero, C's subtraction came before it as well, and what it released, the numbers of C's
//! tables, is seen. If it finds another number, the call falls back on the first claim, with the bytes. So, with C published, or covered by a
//! publication as above: a reader whose number is not lower took it after C was committed, and one with a lower number is refused. From
//! this follow (a), (b) and (c) for the commits of this ledger's connections; here they do depend on a publication being made before
//! the count goes down.
//!
//! What others commit unseen is bundled with the next commit of our own: that finds other bytes than those published before it, and means "any
//! table". So what was read of the schema before a stranger changed it is not relied on after a commit of ours, either. In `poll`, a hit finds the
//! bytes published at a moment no further back than the interval: what was committed before that moment is covered, by whomever.
//!
//! Where there is no wal-index, `holds_here` is all there is; `anchor` says when that is enough.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::bulletin::{Bulletin, Wakers};
use crate::faults::{self, Mutation, Point};
use crate::fork::PerProcess;
use crate::key_column::{Column, Mark};
use crate::location::FileIdentity;
use crate::numbers::{Cell, Numbers, Unlooked};
use crate::published::Published;
use crate::row_cells::{Row, RowCells};
use crate::row_watch::Written;
use crate::wal_index::{Header, WalIndex, commits};

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
    /// These tables of `main` at most, and of others nothing but these rows, or rows with these values.
    Rows(Box<[Cell]>, Box<[Row]>),
    /// Nobody knows which.
    Any,
}

/// The ledger of one database.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// `None` outside WAL mode.
    ///
    /// Read only by who has a connection open on the file: the mapping is the same for all of the process, until the last is closed.
    wal_index: Option<WalIndex>,
    published: Published,
    /// The number of the last publication.
    last: AtomicU64,
    /// The number of the last publication that meant any table.
    last_of_any: AtomicU64,
    /// How many connections of this ledger are between noting the bytes and publishing; those whose statement has ended before it
    /// commits, and which publish when they are used next, count [`UNREPORTED`].
    under_way: AtomicU64,
    /// Who wants to hear of publications.
    bulletins: Mutex<Vec<Weak<Bulletin>>>,
    tables: Mutex<Numbers>,
    /// Whether anybody has read single rows.
    wants_rows: AtomicBool,
    /// Whether anybody has read rows by their values.
    wants_values: AtomicBool,
}

/// What one commit counts in `under_way` whose end nobody tells; the others count one.
const UNREPORTED: u64 = 1 << 32;

/// A commit that was noted, to be given back once.
#[derive(Debug)]
pub(crate) struct Noted {
    before: Header,
    counts: u64,
}

type Ledgers = Mutex<Vec<(FileIdentity, Weak<Ledger>)>>;

/// The ledgers of files, for as long as somebody uses them.
static LEDGERS: PerProcess<Ledgers> = PerProcess::new();

impl Ledger {
    /// Where it sees commits; `None` outside WAL mode.
    pub(crate) fn wal_index(&self) -> Option<&WalIndex> {
        self.wal_index.as_ref()
    }

    /// The ledger of a file in WAL mode: the one that other managers of the file have, if there is one.
    pub(crate) fn of_file(identity: FileIdentity, wal_index: WalIndex) -> Arc<Self> {
        let mut ledgers = LEDGERS.get().lock();
        ledgers.retain(|(_, ledger)| ledger.strong_count() > 0);
        let same = |ledger: &Arc<Self>| ledger.wal_index.as_ref().is_some_and(|known| known.is_at(&wal_index));
        let mut known = ledgers.iter().filter(|(of, _)| *of == identity);
        // One that maps another place is of a file that was closed by all, and is about to go.
        if let Some(ledger) = known.find_map(|(_, ledger)| ledger.upgrade().filter(same)) {
            return ledger;
        }
        let ledger = Arc::new(Self::new(Some(wal_index)));
        ledgers.push((identity, Arc::downgrade(&ledger)));
        ledger
    }

    /// Finds the ledger of a file that a connection has open, if it has one; `wal_index` is only called if the file is in WAL mode.
    pub(crate) fn find(identity: FileIdentity, wal_index: impl FnOnce() -> Option<WalIndex>) -> Option<Arc<Self>> {
        let ledgers = LEDGERS.get().lock();
        let known = ledgers.iter().filter(|(of, _)| *of == identity).filter_map(|(_, ledger)| ledger.upgrade());
        let known: Vec<_> = known.collect();
        drop(ledgers);
        let here = if known.is_empty() { return None } else { wal_index()? };
        known.into_iter().find(|ledger| ledger.wal_index.as_ref().is_some_and(|known| known.is_at(&here)))
    }

    pub(crate) fn new(wal_index: Option<WalIndex>) -> Self {
        let published = Published::new(wal_index.as_ref().map_or([0; 6], WalIndex::read));
        Self {
            wal_index,
            published,
            last: AtomicU64::new(1),
            last_of_any: AtomicU64::new(1),
            under_way: AtomicU64::new(0),
            bulletins: Mutex::default(),
            tables: Mutex::default(),
            wants_rows: AtomicBool::new(false),
            wants_values: AtomicBool::new(false),
        }
    }

    /// The bytes; always the same where there are none.
    #[inline]
    fn header(&self) -> Header {
        self.wal_index.as_ref().map_or([0; 6], WalIndex::read)
    }

    /// Tells whether there are bytes that change with every commit.
    pub(crate) fn has_bytes(&self) -> bool {
        self.wal_index.is_some()
    }

    /// Tells a bulletin of what is published from now on.
    pub(crate) fn tell(&self, bulletin: &Arc<Bulletin>) {
        let mut bulletins = self.bulletins.lock();
        bulletins.retain(|known| known.strong_count() > 0);
        bulletins.push(Arc::downgrade(bulletin));
    }

    // Readers.

    /// The number that a reader takes before its read transaction begins.
    #[inline]
    pub(crate) fn moment(&self) -> u64 {
        // Pairs with the store in `publish`: what was committed up to this number was committed before this moment.
        self.last.load(Ordering::Acquire)
    }

    /// Finds out about commits that nobody of this ledger made. Tells whether all were published that were visible when this was called.
    #[inline]
    pub(crate) fn look(&self) -> bool {
        self.published.equals(&self.header()) || self.look_closer()
    }

    #[cold]
    fn look_closer(&self) -> bool {
        let mut tables = self.tables.lock();
        // In this order: who made the bytes that are read here counted itself before, and can't publish while this has the lock.
        let found = self.header();
        if self.published.equals(&found) {
            return true;
        }
        if !self.under_way.load(Ordering::Acquire).is_multiple_of(UNREPORTED) {
            return false;
        }
        let writes = if faults::mutated(Mutation::IgnoresStrangers) { Writes::Tables(Vec::new()) } else { Writes::Any };
        let wakers = self.publish(&mut tables, &writes, None, &found);
        drop(tables);
        wakers.wake();
        true
    }

    /// Tells whether what was read since `moment` is still true; see above.
    // With every hit, and short.
    #[inline(always)]
    pub(crate) fn holds(&self, moment: u64, reads: &Reads) -> bool {
        let found = self.header();
        faults::pause(Point::HeaderRead);
        if !self.published.equals(&found) && !faults::mutated(Mutation::SkipsHeader) {
            return false;
        }
        faults::pause(Point::HeaderCompared);
        self.is_unchanged(moment, reads)
    }

    /// Tells the same as far as this ledger's connections are concerned; see above.
    #[inline]
    pub(crate) fn holds_here(&self, moment: u64, reads: &Reads) -> bool {
        // Pairs with the subtraction in `leave`.
        if self.under_way.load(Ordering::Acquire) != 0 && !faults::mutated(Mutation::ForgetsUnderWay) {
            return self.holds_amid_commits(moment, reads);
        }
        faults::pause(Point::HeaderCompared);
        self.is_unchanged(moment, reads)
    }

    #[cold]
    #[inline(never)]
    fn holds_amid_commits(&self, moment: u64, reads: &Reads) -> bool {
        self.wal_index.is_some() && self.holds(moment, reads)
    }

    #[inline(always)]
    fn is_unchanged(&self, moment: u64, reads: &Reads) -> bool {
        // These come after the published bytes (see `Published::equals`) or the count, and before them for the writer.
        let (tables, rows): (&[Cell], &[Row]) = match reads {
            Reads::Tables(tables) => (tables, &[]),
            Reads::Rows(tables, rows) => (tables, rows),
            Reads::Any if self.last.load(Ordering::Relaxed) > moment => return false,
            Reads::Any => (&[], &[]),
        };
        let mut unchanged = self.last_of_any.load(Ordering::Relaxed) <= moment;
        for last in tables {
            unchanged &= last.load(Ordering::Relaxed) <= moment;
        }
        for row in rows {
            unchanged &= row.last() <= moment;
        }
        unchanged
    }

    /// Tells whether a commit of this ledger's connections is not published yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire) != 0
    }

    /// Takes tables, named in lower case, to have changed.
    pub(crate) fn outdate(&self, names: Vec<String>) {
        let mut tables = self.tables.lock();
        let number = self.last.load(Ordering::Relaxed) + 1;
        tables.enter(&names, None, number, |since| self.is_schema_of(since));
        self.last.store(number, Ordering::Release);
    }

    /// Tells whether any table may have changed since `moment`, or the schema.
    pub(crate) fn is_schema_of(&self, moment: u64) -> bool {
        self.last_of_any.load(Ordering::Acquire) <= moment
    }

    /// Finds the numbers of tables, named in lower case.
    pub(crate) fn cells<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Box<[Cell]> {
        self.tables.lock().cells(names)
    }

    /// Finds the numbers of rows of a table, named in lower case; `None` where only those of the table are kept.
    pub(crate) fn rows(&self, name: &str, rows: impl IntoIterator<Item = i64>) -> Option<Vec<Row>> {
        let found = self.tables.lock().rows(name, rows);
        // Relaxed, and pairs with nothing: who does not know of it yet publishes rows unknown.
        self.wants_rows.store(true, Ordering::Relaxed);
        found
    }

    /// Finds the numbers of rows that have certain values in a column of a table, named in lower case; `since`: from before it was found out
    /// which column that is. `None` where only those of the table are kept.
    pub(crate) fn keys(
        &self,
        name: &str,
        since: u64,
        column: Column,
        marks: impl IntoIterator<Item = Mark>,
    ) -> Option<Vec<Row>> {
        let mut tables = self.tables.lock();
        if !self.is_schema_of(since) {
            return None;
        }
        let found = tables.keys(name, since, column, marks, |since| self.is_schema_of(since));
        // Relaxed, as in `rows`; who does not know of it yet runs a query again.
        self.wants_rows.store(true, Ordering::Relaxed);
        self.wants_values.store(true, Ordering::Relaxed);
        found
    }

    /// Finds the columns at which somebody has to look before it can be told whether what was read since `moment` is still true: if there are
    /// such, and it is not known already that it is not.
    pub(crate) fn undecided(&self, moment: u64, reads: &Reads) -> Option<Vec<Arc<RowCells>>> {
        let Reads::Rows(tables, rows) = reads else { return None };
        // Before the numbers, as in `holds`; with other bytes no look would count.
        if !self.published.equals(&self.header()) {
            return None;
        }
        let mut columns: Vec<Arc<RowCells>> = Vec::new();
        for row in rows {
            let (looked_at, not) = row.last_but_for_looks();
            if looked_at > moment {
                return None;
            }
            if not > moment && !columns.iter().any(|known| Arc::ptr_eq(known, row.table())) {
                columns.push(Arc::clone(row.table()));
            }
        }
        let holds = self.last_of_any.load(Ordering::Relaxed) <= moment
            && tables.iter().all(|last| last.load(Ordering::Relaxed) <= moment);
        (holds && !columns.is_empty()).then_some(columns)
    }

    /// The rows at whose values in a column nobody has looked, of publications up to `moment`.
    pub(crate) fn unlooked(&self, column: &Arc<RowCells>, moment: u64) -> Vec<Unlooked> {
        let moment = if faults::mutated(Mutation::LooksBefore) { u64::MAX } else { moment };
        self.tables.lock().unlooked(column, moment)
    }

    /// Enters what was found at rows that nobody had looked at, in a state that is not older than the moment for which they were asked for.
    /// To be called after that state was read.
    pub(crate) fn looked(&self, column: &Arc<RowCells>, found: &[(Unlooked, Option<Mark>)]) {
        let mut tables = self.tables.lock();
        if self.published.equals(&self.header()) || faults::mutated(Mutation::LooksAhead) {
            tables.looked(column, found);
        }
    }

    /// Tells whether anybody has read rows by their values.
    #[inline]
    pub(crate) fn wants_values(&self) -> bool {
        self.wants_values.load(Ordering::Relaxed)
    }

    /// Tells whether it is of use to know which rows were written.
    #[inline]
    pub(crate) fn wants_rows(&self) -> bool {
        self.wants_rows.load(Ordering::Relaxed)
    }

    // Writers.

    /// Notes that a connection is about to commit, and returns what [`committed`](Self::committed) wants. To be called with SQLite's lock to
    /// write in hand, or nothing is published but "any table". `unreported`: whether its end will be told late.
    pub(crate) fn commit_begins(&self, unreported: bool) -> Noted {
        let counts = if unreported { UNREPORTED } else { 1 };
        self.under_way.fetch_add(counts, Ordering::AcqRel);
        Noted { before: self.header(), counts }
    }

    /// Takes back that a connection is about to commit. To be called with the lock of the tables in hand.
    fn leave(&self, noted: &Noted) {
        // Pairs with the loads in `holds_here` and, by the lock, in `look_closer`.
        self.under_way.fetch_sub(noted.counts, Ordering::AcqRel);
    }

    /// Says that a commit did not happen.
    pub(crate) fn rolled_back(&self, noted: &Noted) {
        let _tables = self.tables.lock();
        self.leave(noted);
    }

    /// Says that a commit has happened or not, and that its file may be closed, so that nothing can be told from the bytes.
    pub(crate) fn abandoned(&self, noted: &Noted) {
        let _tables = self.tables.lock();
        let number = self.last.load(Ordering::Relaxed) + 1;
        self.last_of_any.store(number, Ordering::Relaxed);
        self.last.store(number, Ordering::Release);
        self.leave(noted);
    }

    /// The mistake of publishing before the commit.
    #[cold]
    pub(crate) fn publish_early(&self, writes: &Writes) {
        let _wakers = self.publish(&mut self.tables.lock(), writes, None, &self.header());
    }

    /// Publishes what a connection has committed, if it has; once for each call of [`commit_begins`](Self::commit_begins). `rows`: which
    /// rows it wrote, as far as that is known by what was true of the schema at a number of this ledger.
    pub(crate) fn committed(&self, noted: &Noted, writes: Writes, rows: Option<(&Written, u64)>) {
        faults::pause(Point::Committed);
        let mut tables = self.tables.lock();
        let after = self.header();
        let writes = if faults::mutated(Mutation::PublishesEarly) { Writes::Tables(Vec::new()) } else { writes };
        // Where nobody committed unseen, a change of the schema before this commit is published by now.
        let rows = rows.filter(|(_, since)| self.is_schema_of(*since)).map(|(rows, _)| rows);
        let wakers = if self.wal_index.is_none() {
            self.publish(&mut tables, &writes, rows, &after)
        } else if after == noted.before || self.published.equals(&after) {
            // Nothing happened, or whoever looked has published it.
            Wakers::default()
        } else {
            let count = commits(&after).wrapping_sub(commits(&noted.before));
            let alone = count == 1 && self.published.equals(&noted.before);
            self.publish(&mut tables, if alone { &writes } else { &Writes::Any }, rows, &after)
        };
        self.leave(noted);
        drop(tables);
        wakers.wake();
    }

    /// In this order: the numbers of tables and rows, the number of the publication, the bytes.
    fn publish(&self, tables: &mut Numbers, writes: &Writes, rows: Option<&Written>, left: &Header) -> Wakers {
        let number = self.last.load(Ordering::Relaxed) + 1;
        match writes {
            Writes::Tables(names) => tables.enter(names, rows, number, |since| self.is_schema_of(since)),
            Writes::Any => self.last_of_any.store(number, Ordering::Relaxed),
        }
        if tables.forget_too_many() {
            self.last_of_any.store(number, Ordering::Relaxed);
        }
        faults::pause(Point::TablesPublished);
        // After the tables, for `moment`, and before the bytes, for `Reads::Any`.
        self.last.store(number, Ordering::Release);
        self.published.store(left);
        faults::pause(Point::Published);
        // Under the lock, so that all hear of it in this order.
        let mut wakers = Wakers::default();
        for bulletin in self.bulletins.lock().iter().filter_map(Weak::upgrade) {
            bulletin.post(writes, &mut wakers);
        }
        wakers
    }
}
