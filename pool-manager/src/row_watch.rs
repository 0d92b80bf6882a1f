//! Which rows the open transaction of one connection has written.
//!
//! Owns what SQLite's update hook reported, and the knowledge of which statements it reports completely. It must not know what becomes of
//! the answer (`ledger`), nor who calls (`hooks`, `publisher`).
//!
//! # Why the answer is complete
//!
//! The hook does not report every change (`pool_stmt::rusqlite::Changes`), so it is believed only where the program of each
//! statement was looked at. A statement that nobody has looked at counts as one that writes rows unknown, and is looked at when the
//! connection goes back ([`learn`](RowWatch::learn)): what is known of a text was found out on this very connection, and is true for as long as
//!
//! * the schema is that of the time: the ledger tells, under its lock ([`Known::since`]);
//! * no setting that changes programs was changed since the connection was set up: [`Witness`] tells, and so long a connection stays in use;
//!
//! for which changes are reported does not depend on how SQLite finds the rows. A transaction counts only if it was followed from its first
//! statement on. What is reported and then rolled back stays in the answer, which costs misses.
//!
//! In the same way it is known from which indexes a transaction has removed entries: what a row has in the first column of another is
//! what it had before, if it was there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pool_stmt::rusqlite::{Change, StatementConnection};

use crate::faults::{self, Mutation};
use crate::ledger::Ledger;
use crate::reads::Schema;
use crate::remains::Witness;
use crate::wording::{self, Word};

/// With more rows in a transaction, it counts as one that wrote rows unknown.
const MOST_ROWS: usize = 256;

/// Of how many tables the room for rows is kept from one transaction to the next.
const MOST_KEPT: usize = 16;

/// Of how many texts it is remembered what is reported of them, on one connection.
const MOST_TEXTS: usize = 256;

/// What one connection writes.
#[derive(Debug, Default)]
pub(crate) struct RowWatch {
    /// Whether the transaction is followed. Changed and read by the thread that uses the connection.
    following: AtomicBool,
    /// Whether there are texts to look at.
    curious: AtomicBool,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    written: Written,
    known: Known,
    /// Texts that were met once: most that are met once are not met again.
    met: BTreeSet<Box<[u8]>>,
    unheard_of: BTreeSet<Box<[u8]>>,
}

/// Rows written, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Of each table. Stays for the next transaction, emptied: most write the same tables.
    rows: Vec<TableRows>,
    count: usize,
    /// Tables, by names in lower case, of which other rows may have been written as well.
    others: BTreeSet<Box<str>>,
    /// Whether this may be so of any table.
    any: bool,
    /// Indexes, by root page, from which entries may have been removed.
    shrunk: Vec<u32>,
}

/// Rows written of one table.
#[derive(Debug)]
struct TableRows {
    /// Its name in lower case.
    table: Box<str>,
    rows: Vec<i64>,
}

impl Written {
    /// The rows written of a table named in lower case; `None` when nobody knows.
    pub(crate) fn of(&self, table: &str) -> Option<&[i64]> {
        if faults::mutated(Mutation::ForgetsRows) {
            return Some(&[]);
        }
        let known = !self.any && !self.others.contains(table);
        let written = || self.rows.iter().find(|written| *written.table == *table);
        known.then(|| written().map_or(&[][..], |written| &written.rows))
    }

    /// The rows written of a table, named in lower case, if all that were there before have kept their entries in one of its indexes; `None`
    /// when nobody knows.
    pub(crate) fn of_index(&self, table: &str, index: u32) -> Option<&[i64]> {
        if faults::mutated(Mutation::ForgetsKeys) {
            return Some(&[]);
        }
        let rows = self.of(table)?;
        (rows.is_empty() || !self.shrunk.contains(&index)).then_some(rows)
    }

    fn clear(&mut self) {
        if self.rows.len() > MOST_KEPT {
            self.rows.clear();
        }
        self.rows.iter_mut().for_each(|written| written.rows.clear());
        self.count = 0;
        if !self.others.is_empty() {
            self.others.clear();
        }
        self.any = false;
        self.shrunk.clear();
    }
}

/// What was found out about statements.
#[derive(Debug, Default)]
struct Known {
    /// A number of the ledger from before.
    since: u64,
    /// What was found out of each text; `None` where that can't be told.
    texts: BTreeMap<Box<[u8]>, Option<Effect>>,
}

/// What running a statement may do.
#[derive(Debug)]
struct Effect {
    /// Tables, by names in lower case, of which rows may change without a report.
    others: Box<[Box<str>]>,
    /// Indexes from which entries may be removed.
    shrinks: Box<[u32]>,
}

impl RowWatch {
    /// Begins anew, outside a transaction; `follow`: whether anybody wants to know.
    pub(crate) fn begin(&self, follow: bool) {
        if follow || self.following.load(Ordering::Relaxed) {
            self.watched.lock().written.clear();
            self.following.store(follow, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_following(&self) -> bool {
        self.following.load(Ordering::Relaxed)
    }

    /// Tells whether there is something to [`learn`](Self::learn).
    #[inline]
    pub(crate) fn is_curious(&self) -> bool {
        self.curious.load(Ordering::Relaxed)
    }

    /// Notes that a statement which may write rows starts.
    pub(crate) fn starts(&self, text: &[u8]) {
        let Watched { written, known, met, unheard_of } = &mut *self.watched.lock();
        match known.texts.get(text) {
            Some(Some(Effect { others, shrinks })) => {
                for table in others {
                    if !written.others.contains(table) {
                        written.others.insert(table.clone());
                    }
                }
                for index in shrinks {
                    if !written.shrunk.contains(index) {
                        written.shrunk.push(*index);
                    }
                }
            }
            Some(None) => written.any = true,
            None => {
                written.any = true;
                if met.remove(text) {
                    unheard_of.insert(text.into());
                    self.curious.store(true, Ordering::Relaxed);
                } else if !unheard_of.contains(text) {
                    if met.len() == MOST_TEXTS {
                        met.clear();
                    }
                    met.insert(text.into());
                }
            }
        }
    }

    /// Notes a change of a row of `main`, as the update hook reports it.
    pub(crate) fn changes(&self, table: &str, row: i64) {
        let written = &mut self.watched.lock().written;
        if written.any {
            return;
        }
        if written.count == MOST_ROWS {
            written.any = true;
            return;
        }
        let known = written.rows.iter().position(|written| written.table.eq_ignore_ascii_case(table));
        let at = known.unwrap_or_else(|| {
            let table = table.to_ascii_lowercase().into();
            written.rows.push(TableRows { table, rows: Vec::new() });
            written.rows.len() - 1
        });
        let rows = &mut written.rows[at].rows;
        if rows.last() != Some(&row) {
            rows.push(row);
            written.count += 1;
        }
    }

    /// Notes that the transaction may change any row of a table, without a report.
    pub(crate) fn changes_unknown(&self, table: &str) {
        if self.is_following() {
            self.watched.lock().written.others.insert(table.to_ascii_lowercase().into());
        }
    }

    /// Shows what was written, and the number of the ledger from when the knowledge is; `None` while the transaction is not followed.
    pub(crate) fn look<T>(&self, witness: &Witness, look: impl FnOnce(Option<(&Written, u64)>) -> T) -> T {
        if !self.is_following() || witness.is_outdated() {
            return look(None);
        }
        let watched = self.watched.lock();
        look(Some((&watched.written, watched.known.since)))
    }

    /// Looks at the programs of statements that were met for the first time. To be called outside transactions, with no snapshot kept.
    pub(crate) fn learn(&self, connection: &StatementConnection, ledger: &Ledger) {
        self.curious.store(false, Ordering::Relaxed);
        // Taken out, so that what is asked here finds no lock.
        let (texts, mut known) = {
            let mut watched = self.watched.lock();
            (std::mem::take(&mut watched.unheard_of), std::mem::take(&mut watched.known))
        };
        let since = ledger.moment();
        // Reading makes the connection know the schema of now; `EXPLAIN` does not look whether it is.
        let Ok(schema) = Schema::of(connection) else { return };
        if !ledger.is_schema_of(known.since) || known.texts.len() + texts.len() > MOST_TEXTS {
            known = Known { since, texts: BTreeMap::new() };
        }
        for text in texts {
            let effect = effect_of(connection, &schema, &text);
            known.texts.insert(text, effect);
        }
        // A change of the schema since the number that is kept, as far as any of this saw it, has a higher number, or will have.
        self.watched.lock().known = known;
    }
}

/// What running a statement may do; `None` where that can't be told.
fn effect_of(connection: &StatementConnection, schema: &Schema, text: &[u8]) -> Option<Effect> {
    // Preparing others may do something already, even for an explanation.
    if wording::first_word(text) != Word::Changes {
        return None;
    }
    let mut changes = connection.changed_by(str::from_utf8(text).ok()?).ok().filter(|changes| !changes.unclear)?;
    let forgotten = [
        (Mutation::TakesReplaceForKnown, Change::Replaced),
        (Mutation::ForgetsOldKey, Change::Moved),
        (Mutation::ForgetsClearing, Change::Cleared),
    ];
    for (mutation, change) in forgotten {
        if faults::mutated(mutation) {
            changes.unreported.values_mut().for_each(|how| _ = how.remove(&change));
        }
    }
    if faults::mutated(Mutation::ForgetsOldValue) {
        changes.shrinking.clear();
    }
    let mut others: BTreeSet<Box<str>> = BTreeSet::new();
    for (root, _) in changes.unreported.iter().filter(|(_, how)| !how.is_empty()) {
        others.insert(schema.table_at(*root)?.into());
    }
    for (root, names) in &changes.reported {
        // By another name nobody would look for it.
        let name = schema.table_at(*root)?;
        if names.iter().any(|reported| !reported.eq_ignore_ascii_case(name)) {
            others.insert(name.into());
        }
    }
    Some(Effect { others: others.into_iter().collect(), shrinks: changes.shrinking.into_iter().collect() })
}
