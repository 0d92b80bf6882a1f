//! A statement lent by a [`Lodging`].
//!
//! Owns the access to a lent statement. Must not know what is done with it.
//! Invariant: see (2) and (4) of `lodging.rs`: it is the only access to its statement, and ends with the borrow of the lodging.

use super::lodging::{Lodger, Lodging, Resident};
use crate::cache::Ticket;
use rusqlite::Statement;
use std::ptr::NonNull;

/// Access to one statement of a [`Lodging`]. Dropping it without [`end`](Self::end) keeps the statement lent.
pub(super) struct Loan<'c, C: Resident> {
    lodging: &'c Lodging<C>,
    ticket: Ticket,
    lodger: NonNull<Lodger<C>>,
}

impl<'c, C: Resident> Loan<'c, C> {
    /// Makes the loan of a lodger.
    ///
    /// # Safety
    ///
    /// The ticket must be of this lodging and name this lodger, and no other loan of it may exist.
    pub(super) unsafe fn new(lodging: &'c Lodging<C>, ticket: Ticket, lodger: NonNull<Lodger<C>>) -> Self {
        Self { lodging, ticket, lodger }
    }

    #[inline]
    pub(super) fn statement(&self) -> &Statement<'c> {
        // SAFETY: the lodging, and with it the lodger, lives for 'c; a shared borrow of the only access to it (4).
        unsafe { &self.lodger.as_ref().statement }
    }

    /// Gives mutable access to the statement.
    ///
    /// # Safety
    ///
    /// The caller must not exchange the statement for another one, nor hand the reference to code that could (2).
    #[inline]
    pub(super) unsafe fn statement_mut(&mut self) -> &mut Statement<'c> {
        // SAFETY: as in `statement`, and borrowed mutably. Shortening the lifetime behind a mutable reference would allow to store
        // a statement that lives too short: the caller promises not to store any.
        unsafe { &mut *(&raw mut (*self.lodger.as_ptr()).statement).cast::<Statement<'c>>() }
    }

    #[inline]
    pub(super) fn card(&self) -> &C {
        // SAFETY: as in `statement`.
        unsafe { &self.lodger.as_ref().card }
    }

    /// Gives the statement shared and its card mutably.
    #[inline]
    pub(super) fn both(&mut self) -> (&Statement<'c>, &mut C) {
        // SAFETY: as in `statement`, and borrowed mutably; the two are different fields.
        let lodger = unsafe { self.lodger.as_mut() };
        (&lodger.statement, &mut lodger.card)
    }

    #[inline]
    pub(super) fn card_mut(&mut self) -> &mut C {
        // SAFETY: as in `statement`, and borrowed mutably.
        unsafe { &mut self.lodger.as_mut().card }
    }

    /// Ends the loan: the statement is kept, or else finalized.
    #[inline]
    pub(super) fn end(self, keep: bool) {
        if keep {
            self.lodging.give_back(self.ticket);
        } else {
            self.lodging.discard(self.ticket);
        }
    }
}
