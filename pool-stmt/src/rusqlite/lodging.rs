//! A connection and the statements that borrow from it, in one value that can be moved.
//!
//! Owns the self-reference, and with `loan.rs` all `unsafe` of this crate. Must not know which statements are worth keeping.
//!
//! Invariant, on which every `unsafe` here relies:
//!
//! 1. The connection lives on the heap behind a raw pointer, so its address does not change when a [`Lodging`] moves and no
//!    move claims unique access to it.
//! 2. A statement with the lifetime `'static` is made from this connection alone, lives on the heap behind a raw pointer
//!    too, and never leaves the [`Lodging`]: a [`Loan`] refers to it for at most the borrow of the lodging, and no
//!    caller ever sees `&mut Statement` by which it could be exchanged for one of another connection.
//! 3. All statements are dropped before the connection is dropped, moved out or lent mutably. When that happens the
//!    lodging is borrowed mutably or owned, so no loan can be alive: a loan that was leaked with `mem::forget` is out
//!    of anybody's reach by then, and its statement, which the lodging owns, is finalized like the others.
//! 4. A statement is lent to one [`Loan`] at a time ([`StatementCache`]), and whoever holds the loan alone touches it.
//!
//! No function of SQLite runs while the cache is borrowed: SQLite may call back into code of the user.

use super::loan::Loan;
use crate::cache::{StatementCache, Ticket};
use crate::key::StatementKey;
use rusqlite::{Connection, PrepFlags, Statement, StatementStatus};
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A statement together with what its user wants to know about it.
#[derive(Debug)]
pub(super) struct Lodger<C: Resident> {
    pub(super) statement: Statement<'static>,
    pub(super) card: C,
}

/// What its user wants to know about a statement.
pub(super) trait Resident {
    /// Hears that the statement has to go for want of room.
    fn evicted(&mut self);

    /// Takes a last look at the statement, which is finalized next.
    fn leave(&mut self, statement: &Statement<'_>);
}

impl<C: Resident> Drop for Lodger<C> {
    fn drop(&mut self) {
        self.card.leave(&self.statement);
    }
}

/// A connection with its statements.
pub(super) struct Lodging<C: Resident> {
    // The order of these fields is part of the invariant: fields are dropped in the order of their declaration.
    statements: RefCell<StatementCache<Pinned<Lodger<C>>>>,
    probe: Cell<Option<Pinned<Statement<'static>>>>,
    has_probe: Cell<bool>,
    connection: Pinned<Connection>,
}

// SAFETY: statements are not `Send` because they refer to a connection that is not `Sync`. Here they move together with their
// connection, and none is lent while they do (3), so all of them stay with one thread at a time.
unsafe impl<C: Resident + Send> Send for Lodging<C> {}

/// The statement by which a [`StatementConnection`](super::StatementConnection) sees that its connection has reloaded the schema.
///
/// It touches no file and returns no row. Whoever traces the connection meets it and may skip it.
pub const PROBE: &str = "SELECT 1 FROM temp.sqlite_schema LIMIT 0";

impl<C: Resident> Lodging<C> {
    pub(super) fn new(connection: Connection, capacity: usize) -> Self {
        Self {
            statements: RefCell::new(StatementCache::new(capacity)),
            probe: Cell::new(None),
            has_probe: Cell::new(false),
            connection: Pinned::new(connection),
        }
    }

    #[inline]
    pub(super) fn connection(&self) -> &Connection {
        // SAFETY: (1); the only mutable access borrows the lodging mutably.
        unsafe { self.connection.0.as_ref() }
    }

    /// Drops all statements and gives mutable access to the connection.
    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        self.evacuate();
        // SAFETY: (1, 3); the lodging is borrowed mutably for as long as the reference lives.
        unsafe { self.connection.0.as_mut() }
    }

    /// Drops all statements and moves the connection out.
    pub(super) fn into_connection(mut self) -> Connection {
        self.evacuate();
        self.connection.into_value()
    }

    /// Lends an idle statement of this key.
    #[inline]
    pub(super) fn take(&self, key: &StatementKey<'_>) -> Option<Loan<'_, C>> {
        let mut statements = self.statements.borrow_mut();
        let ticket = statements.take(key)?;
        let lodger = statements.lent(&ticket).0;
        // SAFETY: the ticket was just made, so the loan is the only one (4).
        Some(unsafe { Loan::new(self, ticket, lodger) })
    }

    /// Prepares a statement and lends it, unless `card` refuses it.
    pub(super) fn prepare(
        &self,
        key: &StatementKey<'_>,
        flags: PrepFlags,
        card: impl FnOnce(&Statement<'_>) -> Option<C>,
    ) -> rusqlite::Result<Option<Loan<'_, C>>> {
        let statement = self.connection().prepare_with_flags(key.text(), flags)?;
        let Some(card) = card(&statement) else { return Ok(None) };
        // SAFETY: the statement was prepared by our connection in the line above; it goes into the cache, which is dropped first
        // (2, 3).
        let statement = unsafe { std::mem::transmute::<Statement<'_>, Statement<'static>>(statement) };
        let pinned = Pinned::new(Lodger { statement, card });
        let lodger = pinned.0;
        let ticket = self.statements.borrow_mut().admit(key, pinned);
        // SAFETY: the ticket was just made, so the loan is the only one (4).
        Ok(Some(unsafe { Loan::new(self, ticket, lodger) }))
    }

    /// Ends a loan and keeps its statement, for which another one may be evicted.
    #[inline]
    pub(super) fn give_back(&self, ticket: Ticket) {
        let evicted = self.statements.borrow_mut().give_back(ticket);
        if let Some(evicted) = evicted {
            Self::evict(evicted);
        }
    }

    #[cold]
    fn evict(mut evicted: Pinned<Lodger<C>>) {
        // SAFETY: the cache gave it out, so nobody else refers to it (4).
        unsafe { evicted.0.as_mut() }.card.evicted();
    }

    /// Ends a loan and finalizes its statement.
    pub(super) fn discard(&self, ticket: Ticket) {
        let discarded = self.statements.borrow_mut().discard(ticket);
        drop(discarded);
    }

    /// Finalizes all idle statements; returns how many.
    pub(super) fn clear(&self) -> usize {
        let idle = self.statements.borrow_mut().clear();
        idle.len()
    }

    /// Shows all idle statements and their cards to `look`.
    pub(super) fn look_at_idle(&self, mut look: impl FnMut(&Statement<'_>, &mut C)) {
        // The cache is borrowed, but `look` is ours and asks SQLite for numbers alone, which calls nobody back.
        for lodger in self.statements.borrow_mut().idle_mut() {
            // SAFETY: it is idle, so nobody else refers to it (4); the reference ends with this turn.
            let lodger = unsafe { lodger.0.as_mut() };
            look(&lodger.statement, &mut lodger.card);
        }
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        let excess = self.statements.borrow_mut().set_capacity(capacity);
        excess.into_iter().for_each(Self::evict);
    }

    pub(super) fn capacity(&self) -> usize {
        self.statements.borrow().capacity()
    }

    pub(super) fn idle(&self) -> usize {
        self.statements.borrow().len()
    }

    pub(super) fn lent(&self) -> usize {
        self.statements.borrow().lent_count()
    }

    /// Prepares the probe: [`probe`](Self::probe) compares with the schema known now.
    #[cold]
    pub(super) fn prepare_probe(&self) -> rusqlite::Result<()> {
        let statement = self.connection().prepare(PROBE)?;
        // SAFETY: as in `prepare`: ours, and kept in a field that is dropped before the connection (2, 3).
        let probe = Pinned::new(unsafe { std::mem::transmute::<Statement<'_>, Statement<'static>>(statement) });
        let before = self.probe.replace(Some(probe));
        self.has_probe.set(true);
        drop(before);
        Ok(())
    }

    /// Tells whether there is a probe.
    pub(super) fn has_probe(&self) -> bool {
        self.has_probe.get()
    }

    /// Tells whether the connection has reloaded its schema since the last call; without a probe the answer is yes.
    ///
    /// When a connection finds that the schema in the file is not the one it knows, it forgets that schema together with the one
    /// of `temp`, whose entries may refer to it (`sqlite3ResetOneSchema`). A statement on `temp` alone notices that without
    /// touching a file: SQLite prepares it again.
    pub(super) fn probe(&self) -> rusqlite::Result<bool> {
        let Some(mut probe) = self.probe.take() else { return Ok(true) };
        // SAFETY: it was taken out of the cell, so this is the only access (4).
        let statement = unsafe { probe.0.as_mut() };
        let run = statement.raw_query().next().map(|_| ());
        let reloaded = statement.reset_status(StatementStatus::RePrepare) > 0;
        self.probe.set(Some(probe));
        run.map(|()| reloaded)
    }

    /// Tells whether some statement of the connection, ours or not, has a text for which `matches` holds.
    pub(super) fn any_statement(&self, mut matches: impl FnMut(&str) -> bool) -> bool {
        // SAFETY: the handle is only used for the two calls below, while the connection is borrowed.
        let connection = unsafe { self.connection().handle() };
        let mut statement = std::ptr::null_mut();
        loop {
            // SAFETY: the connection is open, and `statement` is null or one of its statements, which nobody can finalize
            // between two turns: the connection is not `Sync`, and `matches` does not know it.
            statement = unsafe { rusqlite::ffi::sqlite3_next_stmt(connection, statement) };
            if statement.is_null() {
                return false;
            }
            // SAFETY: the statement is alive, see above; its text is a C string which lives as long as it, or null.
            let text = unsafe {
                let text = rusqlite::ffi::sqlite3_sql(statement);
                if text.is_null() { c"" } else { CStr::from_ptr(text) }
            };
            if matches(&text.to_string_lossy()) {
                return true;
            }
        }
    }

    /// Returns the code of the last error or success of the connection.
    #[inline]
    pub(super) fn last_code(&self) -> i32 {
        // SAFETY: the connection is open as long as it exists, and only asked for a number.
        unsafe { rusqlite::ffi::sqlite3_errcode(self.connection().handle()) }
    }

    fn evacuate(&mut self) {
        let capacity = self.capacity();
        self.probe.set(None);
        self.has_probe.set(false);
        // Lent ones go as well: their loans were leaked, see (3).
        drop(self.statements.replace(StatementCache::new(capacity)));
    }
}

/// A value on the heap which is moved without a claim of unique access, as moving a `Box` would make.
#[derive(Debug)]
struct Pinned<T>(NonNull<T>);

impl<T> Pinned<T> {
    fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    fn into_value(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the pointer came from a box and is not used again, as `this` is not dropped.
        *unsafe { Box::from_raw(this.0.as_ptr()) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box, and nothing refers to the value any more (3, 4).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
