//! `tracing` events for what a pool does, under the target `pool_manager`.
//!
//! Owns the wording and levels. Leaks are told whenever they are looked for, everything else while `enable_logging` is on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{CloseReason, Holder, Observer};

use crate::in_force::InForce;

/// Writes what happens to the connections of one database as events.
#[derive(Debug)]
pub(crate) struct Logging {
    pub(crate) database: Arc<str>,
    pub(crate) in_force: Arc<InForce>,
}

impl Observer for Logging {
    fn opened(&self, took: Duration) {
        if self.in_force.logs() {
            tracing::info!(target: "pool_manager", database = &*self.database, ?took, "connection opened");
        }
    }

    fn closed(&self, reason: CloseReason, age: Duration) {
        if self.in_force.logs() {
            tracing::info!(target: "pool_manager", database = &*self.database, ?reason, ?age, "connection closed");
        }
    }

    fn open_failed(&self, error: &(dyn Error + 'static)) {
        if self.in_force.logs() {
            tracing::error!(target: "pool_manager", database = &*self.database, %error, "connection could not be opened");
        }
    }

    fn waited(&self, waited: Duration) {
        if self.in_force.logs() {
            tracing::debug!(target: "pool_manager", database = &*self.database, ?waited, "waited for a connection");
        }
    }

    fn timed_out(&self, waited: Duration) {
        if self.in_force.logs() {
            tracing::warn!(target: "pool_manager", database = &*self.database, ?waited, "timed out waiting for a connection");
        }
    }

    fn validation_failed(&self, error: &(dyn Error + 'static)) {
        if self.in_force.logs() {
            tracing::warn!(target: "pool_manager", database = &*self.database, %error, "health check failed");
        }
    }

    fn reset_failed(&self, error: &(dyn Error + 'static)) {
        if self.in_force.logs() {
            tracing::warn!(target: "pool_manager", database = &*self.database, %error, "connection could not be cleaned");
        }
    }

    fn leak(&self, holder: &Holder) {
        tracing::warn!(target: "pool_manager", database = &*self.database, %holder, "connection held for very long");
    }
}
