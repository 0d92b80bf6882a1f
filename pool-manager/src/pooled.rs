//! A connection held by hand.
//!
//! Owns the begin and end of such a use; everything else is the connection's.

use std::ops::Deref;

use pool_core::OwnedLease;

use crate::connection::Connection;
use crate::driver::Driver;
use crate::session::Use;

/// A pooled connection held by hand, from [`DatabaseManager::acquire`](crate::DatabaseManager::acquire). Derefs to
/// [`Connection`]; goes back to the pool when dropped, with open transactions rolled back.
#[derive(Debug)]
pub struct PooledConnection {
    lease: OwnedLease<Driver>,
}

impl PooledConnection {
    pub(crate) fn new(lease: OwnedLease<Driver>) -> Self {
        lease.begin(Use::Any);
        Self { lease }
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.lease
    }
}
