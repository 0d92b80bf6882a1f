//! How a statement gets prepared, and its facts found out or recognised.
//!
//! Owns the order of these steps. Must not know how statements are kept.
//! Invariant: facts are recognised only where finding them out would give the same: SQLite told the same of the same text, the
//! columns are the same, and no virtual table is involved.

use super::card::Card;
use super::loan::Loan;
use super::recorder::Recording;
use super::{CachedStatement, StatementConnection, classify};
use crate::facts::{Accesses, Column, Facts, StatementKind, Table};
use crate::key::StatementKey;
use crate::membership::StatementEvent;
use rusqlite::{PrepFlags, Statement};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl StatementConnection {
    #[cold]
    pub(super) fn prepare_anew(&self, key: &StatementKey<'_>) -> rusqlite::Result<CachedStatement<'_>> {
        self.count(StatementEvent::Miss, 1);
        let mut loan = self.prepare_loan(key, PrepFlags::default())?;
        self.observe(&mut loan);
        let card = loan.card();
        card.known().count(StatementEvent::Miss, 1);
        let fate = self.fate(card);
        Ok(CachedStatement::new(self, loan, fate))
    }

    fn prepare_loan(&self, key: &StatementKey<'_>, mut flags: PrepFlags) -> rusqlite::Result<Loan<'_, Card>> {
        flags.set(PrepFlags::SQLITE_PREPARE_PERSISTENT, self.capacity() > 0);
        // Before the preparation: what happens to the schema during it outdates the statement.
        let epoch = self.watch.epoch();
        let loan = match self.prepare_known(key, flags, epoch) {
            Some(loan) => loan,
            None => self.prepare_unknown(key, flags, epoch)?,
        };
        self.count(StatementEvent::Prepare, 1);
        loan.card().known().count(StatementEvent::Prepare, 1);
        // Not earlier: the schema is loaded by now in any case, so the probe does not load it before its time.
        if loan.card().has_tables
            && !self.lodging.has_probe()
            && let Err(error) = self.recorder.mute(|| self.lodging.prepare_probe())
        {
            tracing::debug!(%error, "the schema of a connection cannot be watched: statements are prepared more often");
        }
        Ok(loan)
    }

    /// Prepares a statement whose facts are known and recognised; `None` when they are not, or the preparation fails.
    fn prepare_known(&self, key: &StatementKey<'_>, flags: PrepFlags, epoch: u64) -> Option<Loan<'_, Card>> {
        if !self.recording {
            return None;
        }
        let known = self.registry().known(key.text())?;
        let (facts, trail) = known.learned();
        let trail = trail?;
        // A preparation that finds no table or column looks whether the schema is still the one in the file, loads that and starts
        // again. A query begins by telling the authorizer so, which spoils the trail. Others do not, and are looked at each time.
        let is_query = facts.kind == StatementKind::Query;
        let confirmed = is_query && self.confirmed.borrow().contains(key.hash(), &facts, epoch);
        let unsure =
            !confirmed && (!facts.virtual_tables.is_empty() || self.recorder.calls_added(&facts.accesses.functions));
        if unsure || (self.recorder.forbids_transactions() && classify::bounds_transaction(facts.kind)) {
            return None;
        }
        // What fails here is prepared again, and may tell the log then.
        let quietly = flags | PrepFlags::SQLITE_PREPARE_DONT_LOG;
        self.recorder.follow();
        let prepared = self.lodging.prepare(key, quietly, |statement| {
            if self.recorder.followed() != trail {
                return None;
            }
            if !confirmed {
                // Not before the preparation: a table that is missing then makes SQLite look into the file, which the preparation may
                // be able to do without.
                if !has_columns(statement, &facts.columns) || self.touches_virtual_tables(&facts.accesses, facts.kind) {
                    return None;
                }
                self.confirmed.borrow_mut().insert(key.hash(), &facts, epoch);
            }
            Some(Card::new(facts, known, self.membership.counters(), epoch))
        });
        if let Ok(Some(loan)) = prepared {
            return Some(loan);
        }
        self.recorder.followed();
        self.recorder.astray();
        None
    }

    /// Prepares a statement and finds its facts out.
    fn prepare_unknown(
        &self,
        key: &StatementKey<'_>,
        flags: PrepFlags,
        epoch: u64,
    ) -> rusqlite::Result<Loan<'_, Card>> {
        self.watch.doubt();
        self.recorder.record();
        let prepared = self.lodging.prepare(key, flags, |statement| {
            let (facts, trail) = self.conclude(key.text(), statement, self.recorder.recorded());
            let (known, facts) = self.registry().prepared(self.text_as_traced(key.text()), facts, trail);
            Some(Card::new(facts, known, self.membership.counters(), epoch))
        });
        if prepared.is_err() {
            self.recorder.recorded();
        }
        Ok(prepared?.expect("BUG: a statement was refused that nobody refuses"))
    }

    /// Puts together what is known about a statement, and the trail by which that is recognised.
    fn conclude(&self, text: &str, statement: &Statement<'_>, recording: Recording) -> (Facts, Option<u64>) {
        let Recording { mut accesses, first_write, trail } = recording;
        let mut kind = classify::kind(text);
        let explains = statement.is_explain() != 0;
        let virtual_tables = if explains {
            kind = StatementKind::Explain;
            // It shows what would be done and does none of it.
            accesses = Accesses { unknown: true, ..Accesses::default() };
            Box::default()
        } else {
            if kind == StatementKind::Query {
                kind = first_write.unwrap_or(kind);
            }
            self.virtual_tables(&accesses, kind)
        };
        let reads_beyond = virtual_tables
            .iter()
            .any(|table| accesses.tables_read.contains_key(table) && !classify::is_pure_table_function(&table.name));
        accesses.unknown |= !self.recording;
        // It may renumber the rows of tables and says nothing of what it does.
        accesses.changes_schema |= kind == StatementKind::Vacuum;
        let read_only = explains
            || (matches!(kind, StatementKind::Query | StatementKind::Pragma)
                && statement.readonly()
                && accesses.tables_written.is_empty()
                && !accesses.changes_schema
                && !accesses.controls_transaction);
        let nondeterministic_functions =
            accesses.functions.iter().filter(|name| !self.is_deterministic(name)).cloned().collect();
        let parameters =
            (1..=statement.parameter_count()).map(|at| statement.parameter_name(at).map(Into::into)).collect();
        let columns = statement
            .columns()
            .map(|column| Column { name: column.name().into(), declared_type: column.decl_type().map(Into::into) })
            .collect();
        // That a function was added is an effect that must be heard each time.
        let recognisable = trail != 0 && !explains && !self.recorder.calls_added(&accesses.functions);
        let facts = Facts {
            kind,
            read_only,
            accesses,
            virtual_tables: virtual_tables.iter().cloned().collect(),
            reads_beyond,
            nondeterministic_functions,
            parameters,
            columns,
        };
        (facts, recognisable.then_some(trail))
    }

    /// Prepares the statements the database uses most, at most `n` of them; returns how many are prepared.
    ///
    /// To be called on a new connection, so that its first user does not wait. No preparation starts after `budget`
    /// has passed; zero prepares nothing. A text that cannot be prepared is skipped.
    pub fn warm(&self, n: usize, budget: Duration) -> usize {
        let start = Instant::now();
        self.settle();
        let mut prepared = 0;
        let texts = self.registry().hottest(n.min(self.capacity()));
        // The hottest last, so that it is the most recent.
        for text in texts.iter().rev() {
            if start.elapsed() >= budget {
                break;
            }
            if let Some(loan) = self.lodging.take(&StatementKey::new(text)) {
                loan.end(true);
            } else if let Ok(loan) = self.prepare_loan(&StatementKey::new(text), PrepFlags::SQLITE_PREPARE_DONT_LOG) {
                let keep = loan.card().is_worth_keeping();
                loan.end(keep);
                prepared += usize::from(keep);
            }
        }
        prepared
    }

    /// Returns the text by which SQLite knows the statement of a text: it ends with the statement.
    fn text_as_traced<'a>(&self, text: &'a str) -> &'a str {
        if text.find(';').is_none_or(|at| at + 1 == text.len()) {
            return text;
        }
        let mut length = text.len();
        self.lodging.any_statement(|known| {
            let is_it =
                !known.is_empty() && known.len() < text.len() && text.starts_with(known) && known.ends_with(';');
            if is_it {
                length = known.len();
            }
            is_it
        });
        &text[..length]
    }

    /// The virtual ones among the tables of a statement that was just prepared.
    fn virtual_tables(&self, accesses: &Accesses, kind: StatementKind) -> Box<[Table]> {
        self.forget_outdated_answers();
        candidates(accesses, kind).filter(|table| self.is_virtual(table)).cloned().collect()
    }

    /// Tells whether a statement that was just prepared has a virtual table.
    fn touches_virtual_tables(&self, accesses: &Accesses, kind: StatementKind) -> bool {
        self.forget_outdated_answers();
        candidates(accesses, kind).any(|table| self.is_virtual(table))
    }

    /// Makes sure that what is remembered of tables is true of the schema under which a statement was just prepared: the
    /// connection may have reloaded it for that very statement.
    fn forget_outdated_answers(&self) {
        if self.lodging.has_probe() {
            self.watch.settle_doubt(&self.recorder, &self.lodging);
        } else {
            self.virtual_tables.borrow_mut().forget();
            self.watch.doubt();
        }
    }

    /// Tells whether a table is virtual in the schema known now.
    fn is_virtual(&self, table: &Table) -> bool {
        let epoch = self.watch.epoch();
        if let Some(is_virtual) = self.virtual_tables.borrow().remembered(table, epoch) {
            return is_virtual;
        }
        let is_virtual = self.ask_whether_virtual(table);
        self.virtual_tables.borrow_mut().remember(table, is_virtual, epoch);
        is_virtual
    }

    /// Asks SQLite's compiler to refuse virtual tables. It touches no file if the table is in the schema, plain or virtual; it may
    /// if there is a module of that name alone.
    #[cold]
    fn ask_whether_virtual(&self, table: &Table) -> bool {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!("SELECT 1 FROM {}.{}", quoted(&table.database), quoted(&table.name));
        let flags = PrepFlags::SQLITE_PREPARE_NO_VTAB | PrepFlags::SQLITE_PREPARE_DONT_LOG;
        let refused = self.recorder.mute(|| self.lodging.connection().prepare_with_flags(&sql, flags).is_err());
        if refused {
            self.watch.doubt();
        }
        refused
    }
}

/// Which tables are virtual, as found out in one epoch of the connection's schema.
#[derive(Debug, Default)]
pub(super) struct VirtualTables {
    epoch: u64,
    answers: HashMap<Table, bool, foldhash::fast::RandomState>,
}

impl VirtualTables {
    fn remembered(&self, table: &Table, epoch: u64) -> Option<bool> {
        if self.epoch == epoch { self.answers.get(table).copied() } else { None }
    }

    fn remember(&mut self, table: &Table, is_virtual: bool, epoch: u64) {
        if self.epoch != epoch {
            self.forget();
            self.epoch = epoch;
        }
        self.answers.insert(table.clone(), is_virtual);
    }

    fn forget(&mut self) {
        self.answers.clear();
    }
}

/// Facts which were found true in an epoch of the connection's schema, so that the same need not be compared again. Forgetful.
#[derive(Debug, Default)]
pub(super) struct Confirmed(Vec<Option<(Arc<Facts>, u64)>>);

impl Confirmed {
    /// How many are remembered at most: one of each remainder of the hash of the text.
    const PLACES: usize = 64;

    fn place(hash: u64) -> usize {
        (hash % Self::PLACES as u64) as usize
    }

    fn contains(&self, hash: u64, facts: &Arc<Facts>, epoch: u64) -> bool {
        let place = self.0.get(Self::place(hash)).and_then(Option::as_ref);
        place.is_some_and(|(known, then)| Arc::ptr_eq(known, facts) && *then == epoch)
    }

    fn insert(&mut self, hash: u64, facts: &Arc<Facts>, epoch: u64) {
        self.0.resize(Self::PLACES, None);
        self.0[Self::place(hash)] = Some((Arc::clone(facts), epoch));
    }
}

/// The tables of which it is asked whether they are virtual: not those which a statement makes or destroys.
fn candidates(accesses: &Accesses, kind: StatementKind) -> impl Iterator<Item = &Table> {
    let changes_rows = matches!(kind, StatementKind::Insert | StatementKind::Update | StatementKind::Delete);
    let written = accesses.tables_written.iter().filter(move |_| changes_rows);
    accesses.tables_read.keys().chain(written)
}

/// Tells whether the columns of a statement are these.
fn has_columns(statement: &Statement<'_>, columns: &[Column]) -> bool {
    statement.column_count() == columns.len()
        && statement.columns().zip(columns).all(|(column, known)| {
            column.name() == &*known.name && column.decl_type() == known.declared_type.as_deref()
        })
}
