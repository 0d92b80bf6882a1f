//! A statement in the hands of its user.
//!
//! Owns what happens when it is given back. Must not know how statements are found or kept.
//! Invariant: what goes back is reset and has no bindings.

use super::StatementConnection;
use super::card::Card;
use super::loan::Loan;
use super::watch::is_doubtful;
use crate::facts::Facts;
use crate::membership::StatementEvent;
use rusqlite::{AndThenRows, BindIndex, MappedRows, Params, Row, Rows, Statement, StatementStatus, ToSql, ffi};
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
    keep: bool,
}

impl<'c> CachedStatement<'c> {
    pub(super) fn new(connection: &'c StatementConnection, loan: Loan<'c, Card>) -> Self {
        Self { connection, loan: Some(loan), keep: true }
    }

    /// Returns what is known about this statement, as it was prepared.
    ///
    /// If the schema changes while it runs, SQLite prepares it again by itself, and what it does may differ:
    /// [`StatementConnection::take_accesses`] covers that too.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        &self.loan().card().facts
    }

    /// Finalizes the statement instead of keeping it.
    pub fn discard(mut self) {
        self.keep = false;
    }

    /// Runs a statement that returns no rows; returns the number of rows it changed.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::execute`].
    #[inline]
    pub fn execute<P: Params>(&mut self, params: P) -> rusqlite::Result<usize> {
        self.statement_mut().execute(params)
    }

    /// Runs an `INSERT` of one row and returns its rowid.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::insert`].
    #[inline]
    pub fn insert<P: Params>(&mut self, params: P) -> rusqlite::Result<i64> {
        self.statement_mut().insert(params)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::query`].
    #[inline]
    pub fn query<P: Params>(&mut self, params: P) -> rusqlite::Result<Rows<'_>> {
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
        self.statement_mut().query_and_then(params, map)
    }

    /// Tells whether a query returns any row.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Statement::exists`].
    #[inline]
    pub fn exists<P: Params>(&mut self, params: P) -> rusqlite::Result<bool> {
        self.statement_mut().exists(params)
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
        self.statement_mut().query_row(params, map)
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
        self.statement_mut().query_one(params, map)
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
        self.statement_mut().raw_execute()
    }

    /// Runs a query with the parameters bound before and returns its rows.
    #[inline]
    pub fn raw_query(&mut self) -> Rows<'_> {
        self.statement_mut().raw_query()
    }

    /// Sets all parameters to `NULL`.
    #[inline]
    pub fn clear_bindings(&mut self) {
        self.statement_mut().clear_bindings();
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
    fn drop(&mut self) {
        let code = self.connection.lodging().last_code();
        if is_doubtful(code) {
            self.connection.watch().doubt();
        }
        let empty = self.loan().card().is_empty();
        if !empty {
            let statement = self.statement_mut();
            // Rows that were leaked have left it running; dropping others resets it.
            drop(statement.raw_query());
            if statement.parameter_count() > 0 {
                statement.clear_bindings();
            }
        }
        let Some(mut loan) = self.loan.take() else { return };
        if !empty {
            let reprepares = loan.statement().reset_status(StatementStatus::RePrepare);
            self.connection.count(StatementEvent::Reprepare, u64::try_from(reprepares).unwrap_or_default());
        }
        let keep = self.keep && self.connection.capacity() > 0 && loan.card().is_worth_keeping() && !is_serious(code);
        if !keep {
            loan.card_mut().flush_uses();
        }
        if loan.end(keep) {
            self.connection.count(StatementEvent::Evict, 1);
        } else if !keep && self.connection.capacity() > 0 {
            self.connection.count(StatementEvent::Discard, 1);
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
