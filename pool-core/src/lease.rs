//! Owns the guards: a connection in somebody's hands, returned when dropped.
//!
//! Must not know how connections are shared out. Invariant: a lease gives its claim back exactly once.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::manager::Manager;
use crate::shared::Shared;
use crate::slot::Claim;

/// Writes what the borrowed and the owned guard have in common.
macro_rules! guard {
    ([$($generics:tt)*] $name:ident [$($arguments:tt)*]) => {
        impl<$($generics)*> $name<$($arguments)*> {
            /// Takes the connection out of the pool for good; the pool may open another one in its place.
            #[must_use = "dropping the connection closes it; `discard` does that and counts it"]
            pub fn detach(self) -> M::Connection {
                let (shared, claim) = self.dissolve();
                shared.detach(claim)
            }

            /// Returns the connection to be closed instead of being used again.
            pub fn discard(self) {
                let (shared, claim) = self.dissolve();
                shared.discard(claim);
            }
        }

        impl<$($generics)*> Deref for $name<$($arguments)*> {
            type Target = M::Connection;

            #[inline]
            fn deref(&self) -> &M::Connection {
                self.claim.as_ref().expect("BUG: a lease without its claim").connection()
            }
        }

        impl<$($generics)*> DerefMut for $name<$($arguments)*> {
            #[inline]
            fn deref_mut(&mut self) -> &mut M::Connection {
                self.claim.as_mut().expect("BUG: a lease without its claim").connection_mut()
            }
        }

        impl<$($generics)*> fmt::Debug for $name<$($arguments)*>
        where
            M::Connection: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&**self).finish()
            }
        }
    };
}

/// A connection in use, borrowed from its pool; goes back when dropped.
///
/// If the thread is panicking at that moment, the connection is closed: nobody knows what the holder left undone.
#[must_use = "a lease that is dropped at once gives its connection back at once"]
pub struct Lease<'p, M: Manager> {
    shared: &'p Shared<M>,
    claim: Option<Claim<M::Connection>>,
}

guard!(['p, M: Manager] Lease ['p, M]);

impl<'p, M: Manager> Lease<'p, M> {
    #[inline(always)]
    pub(crate) fn new(shared: &'p Shared<M>, claim: Claim<M::Connection>) -> Self {
        Self { shared, claim: Some(claim) }
    }

    fn dissolve(mut self) -> (&'p Shared<M>, Claim<M::Connection>) {
        (self.shared, self.claim.take().expect("BUG: a lease without its claim"))
    }

    /// Turns the lease into one that keeps the pool's memory alive itself.
    pub(crate) fn into_owned(self, shared: &Arc<Shared<M>>) -> OwnedLease<M> {
        debug_assert!(std::ptr::eq(self.shared, Arc::as_ptr(shared)), "BUG: the lease is of another pool");
        let (_, claim) = self.dissolve();
        OwnedLease { claim: Some(claim), shared: Arc::clone(shared) }
    }
}

impl<M: Manager> Drop for Lease<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.release(claim);
        }
    }
}

/// A connection in use that borrows nothing, for spawned tasks and structures; goes back when dropped.
///
/// It does not keep the pool open: when the last [`Pool`](crate::Pool) is gone, the connection is closed on return.
#[must_use = "a lease that is dropped at once gives its connection back at once"]
pub struct OwnedLease<M: Manager> {
    shared: Arc<Shared<M>>,
    claim: Option<Claim<M::Connection>>,
}

guard!([M: Manager] OwnedLease [M]);

impl<M: Manager> OwnedLease<M> {
    fn dissolve(mut self) -> (Arc<Shared<M>>, Claim<M::Connection>) {
        (Arc::clone(&self.shared), self.claim.take().expect("BUG: a lease without its claim"))
    }
}

impl<M: Manager> Drop for OwnedLease<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.release(claim);
        }
    }
}
