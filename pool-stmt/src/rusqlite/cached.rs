//! A statement in the hands of its user.
//!
//! Owns what happens when it is given back. Must not know how statements are found or kept.
//! Invariant: what goes back is reset and has no bindings.

use super::card::Card;
use super::loan::Loan;
use super::watch::is_doubtful;
use super::{Fate, StatementConnection};
use crate::facts::Facts;
use crate::known::StatementFailure;
use crate::membership::StatementEvent;
use rusqlite::types::Null;
use rusqlite::{AndThenRows, BindIndex, MappedRows, Params, Row, Rows, Statement, ToSql, ffi};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A prepared statement, lent by its connection until it is dropped.
///
/// Works like [`rusqlite::Statement`]: what needs it shared comes through `Deref`, what changes it is repeated here.
/// It does not give out `&mut Statement`, by which two statements could be exchanged and one reach the connection
/// of the other.
///
/// When it is dropped, the statement is reset, its bindings are cleared and it is kept for its next user.
pub struct CachedStatement<'c> {
    connection: &'c StatementConnection,
    /// `None` only while it is dropped.
    loan: Option<Loan<'c, Card>>,
    fate: Fate,
    /// Whether rows were given out: how they ended is not known, nor, if they were leaked, whether they did.
    gave_rows: bool,
}

impl<'c> CachedStatement<'c> {
    #[inline]
    pub(super) fn new(connection: &'c StatementConnection, loan: Loan<'c, Card>, fate: Fate) -> Self {
        Self { connection, loan: Some(loan), fate, gave_rows: false }
    }

    /// Returns what is known about this statement, as it was prepared.
    ///
    /// If the schema changes while it runs, SQLite prepares it again by itself, and what it does may differ:
    /// [`StatementConnection::take_accesses`] covers that too.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        self.loan().card().facts()
    }

    /// Finalizes the statement instead of keeping it.
    pub fn discard(mut self) {
        self.fate = Fate::Discarded;
    }

    /// Runs a statement that returns no rows; returns the number of rows it changed.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::execute`].
    #[inline]
    pub fn execute<P: Params>(&mut self, params: P) -> rusqlite::Result<usize> {
        let result = self.statement_mut().execute(params);
        self.seen(result)
    }

    /// Runs an `INSERT` of one row and returns its rowid.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::insert`].
    #[inline]
    pub fn insert<P: Params>(&mut self, params: P) -> rusqlite::Result<i64> {
        let result = self.statement_mut().insert(params);
        self.seen(result)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query`].
    #[inline]
    pub fn query<P: Params>(&mut self, params: P) -> rusqlite::Result<Rows<'_>> {
        self.gave_rows = true;
        self.statement_mut().query(params)
    }

    /// Runs a query and returns its rows, each mapped by `map`.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query_map`].
    #[inline]
    pub fn query_map<T, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<MappedRows<'_, F>>
    where
        P: Params,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        self.gave_rows = true;
        self.statement_mut().query_map(params, map)
    }

    /// Runs a query and returns its rows, each mapped by `map`, whose error may be of any type.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query_and_then`].
    #[inline]
    pub fn query_and_then<T, E, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<AndThenRows<'_, F>>
    where
        P: Params,
        E: From<rusqlite::Error>,
        F: FnMut(&Row<'_>) -> Result<T, E>,
    {
        self.gave_rows = true;
        self.statement_mut().query_and_then(params, map)
    }

    /// Tells whether a query returns any row.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::exists`].
    #[inline]
    pub fn exists<P: Params>(&mut self, params: P) -> rusqlite::Result<bool> {
        let result = self.statement_mut().exists(params);
        self.seen(result)
    }

    /// Runs a query and maps its first row.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query_row`].
    #[inline]
    pub fn query_row<T, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    {
        let result = self.statement_mut().query_row(params, map);
        self.seen(result)
    }

    /// Runs a query and maps its only row.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query_one`].
    #[inline]
    pub fn query_one<T, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    {
        let result = self.statement_mut().query_one(params, map);
        self.seen(result)
    }

    /// Binds one parameter.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::raw_bind_parameter`].
    #[inline]
    pub fn raw_bind_parameter<I: BindIndex, T: ToSql>(&mut self, index: I, value: T) -> rusqlite::Result<()> {
        self.statement_mut().raw_bind_parameter(index, value)
    }

    /// Runs a statement that returns no rows with the parameters bound before; returns the number of rows it changed.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::raw_execute`].
    #[inline]
    pub fn raw_execute(&mut self) -> rusqlite::Result<usize> {
        let result = self.statement_mut().raw_execute();
        self.seen(result)
    }

    /// Runs a query with the parameters bound before and returns its rows.
    #[inline]
    pub fn raw_query(&mut self) -> Rows<'_> {
        self.gave_rows = true;
        self.statement_mut().raw_query()
    }

    /// Sets all parameters to `NULL`.
    #[inline]
    pub fn clear_bindings(&mut self) {
        self.statement_mut().clear_bindings();
    }

    #[inline]
    fn unbind(&mut self) {
        if !self.loan().card().expires_when_cleared || self.unbind_singly().is_err() {
            self.statement_mut().clear_bindings();
        }
    }

    #[cold]
    fn unbind_singly(&mut self) -> rusqlite::Result<()> {
        let statement = self.statement_mut();
        (1..=statement.parameter_count()).try_for_each(|index| statement.raw_bind_parameter(index, Null))
    }

    /// Looks at the result of a run that is over.
    #[inline]
    fn seen<T>(&mut self, result: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if let Err(error) = &result {
            self.note_error(Some(error));
        }
        result
    }

    /// Draws the conclusions from an error; the last one of the connection if it is not known.
    #[cold]
    fn note_error(&mut self, error: Option<&rusqlite::Error>) {
        let code = self.connection.lodging().last_code();
        if is_doubtful(code) {
            self.connection.watch().doubt();
        }
        if is_serious(code) && self.fate == Fate::Kept {
            self.fate = Fate::Discarded;
        }
        let failure = match error {
            Some(rusqlite::Error::SqliteFailure(failure, message)) => {
                let message = message.clone().unwrap_or_else(|| failure.to_string());
                Some(StatementFailure::new(failure.extended_code, message))
            }
            // Not of the statement, but of what its user made of it.
            Some(_) => None,
            None => Some(StatementFailure::new(code, ffi::code_to_str(code))),
        };
        if let Some(failure) = failure {
            self.loan().card().known().failed(failure);
        }
    }

    /// Ends what rows may have been left running.
    fn end_rows(&mut self) {
        let code = self.connection.lodging().last_code();
        if !matches!(code & 0xff, ffi::SQLITE_OK | ffi::SQLITE_ROW | ffi::SQLITE_DONE) {
            self.note_error(None);
        }
        // Rows that were leaked have left it running; dropping others resets it.
        drop(self.statement_mut().raw_query());
    }

    #[inline]
    fn loan(&self) -> &Loan<'c, Card> {
        self.loan.as_ref().expect("BUG: a statement used after its return")
    }

    /// Private for a reason: see (2) of `lodging.rs`.
    #[inline]
    fn statement_mut(&mut self) -> &mut Statement<'c> {
        let loan = self.loan.as_mut().expect("BUG: a statement used after its return");
        // SAFETY: the methods above call methods of rusqlite with it, which take no statement to exchange it for, and
        // hand out rows at most, which only lend it shared.
        unsafe { loan.statement_mut() }
    }
}

impl<'c> Deref for CachedStatement<'c> {
    type Target = Statement<'c>;

    #[inline]
    fn deref(&self) -> &Statement<'c> {
        self.loan().statement()
    }
}

impl fmt::Debug for CachedStatement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStatement").field("statement", self.loan().statement()).finish_non_exhaustive()
    }
}

impl Drop for CachedStatement<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.gave_rows {
            self.end_rows();
        }
        if self.loan().card().has_parameters {
            self.unbind();
        }
        let Some(loan) = self.loan.take() else { return };
        match self.fate {
            Fate::Kept => loan.end(true),
            Fate::Discarded => {
                self.connection.count(StatementEvent::Discard, 1);
                loan.card().known().count(StatementEvent::Discard, 1);
                loan.end(false);
            }
            Fate::Passing => loan.end(false),
        }
    }
}

/// Tells whether after an error the statement is better prepared anew.
///
/// `code` is the last of the connection: it may be of another statement, and then costs one preparation too many. A statement can
/// be run again after any error, so nothing depends on seeing each.
fn is_serious(code: i32) -> bool {
    !matches!(
        code & 0xff,
        ffi::SQLITE_OK
            | ffi::SQLITE_ROW
            | ffi::SQLITE_DONE
            | ffi::SQLITE_ABORT
            | ffi::SQLITE_BUSY
            | ffi::SQLITE_LOCKED
            | ffi::SQLITE_READONLY
            | ffi::SQLITE_INTERRUPT
            | ffi::SQLITE_FULL
            | ffi::SQLITE_TOOBIG
            | ffi::SQLITE_CONSTRAINT
            | ffi::SQLITE_MISMATCH
            | ffi::SQLITE_RANGE
    )
}
