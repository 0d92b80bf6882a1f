//! A connection held by hand.
//!
//! Owns the begin and end of such a use; everything else is the connection's.

use std::ops::Deref;

use crate::connection::Connection;
use crate::engine::Lease;
use crate::session::Use;

/// A pooled connection held by hand, from [`DatabaseManager::acquire`](crate::DatabaseManager::acquire). Derefs to
/// [`Connection`]; goes back to the pool when dropped, with open transactions rolled back.
#[derive(Debug)]
pub struct PooledConnection {
    lease: Lease,
}

impl PooledConnection {
    pub(crate) fn new(lease: Lease) -> Self {
        lease.begin(Use::Any, "a connection held by hand");
        Self { lease }
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.lease
    }
}
