//! Owns a claimed connection while somebody looks at it, runs a hook on it or waits for its validation.
//!
//! Must not know what is looked at. Invariant: whoever stops half-way, by a panic or a dropped future, has closed the
//! connection and given back its place.

use crate::manager::{CloseReason, Manager};
use crate::shared::Shared;
use crate::slot::Claim;

/// A claimed connection that is being looked at; closed if the look is broken off.
pub(crate) struct Custody<'p, M: Manager> {
    shared: &'p Shared<M>,
    claim: Option<Claim<M::Connection>>,
}

impl<'p, M: Manager> Custody<'p, M> {
    #[inline(always)]
    pub(crate) fn new(shared: &'p Shared<M>, claim: Claim<M::Connection>) -> Self {
        Self { shared, claim: Some(claim) }
    }

    #[inline(always)]
    pub(crate) fn claim(&mut self) -> &mut Claim<M::Connection> {
        self.claim.as_mut().expect("BUG: custody ended twice")
    }

    #[inline(always)]
    pub(crate) fn keep(mut self) -> Claim<M::Connection> {
        self.claim.take().expect("BUG: custody ended twice")
    }
}

impl<M: Manager> Drop for Custody<'_, M> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.close_connection(claim, CloseReason::Interrupted);
        }
    }
}
