//! `tracing` events for what a pool does, under the target `pool_manager`.
//!
//! Owns the wording and levels. Installed only when `enable_logging` is set, so that it costs nothing otherwise.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{CloseReason, Holder, Observer};

/// Writes what happens to the connections of one database as events.
#[derive(Debug)]
pub(crate) struct Logging {
    pub(crate) database: Arc<str>,
}

impl Observer for Logging {
    fn opened(&self, took: Duration) {
        tracing::info!(target: "pool_manager", database = &*self.database, ?took, "connection opened");
    }

    fn closed(&self, reason: CloseReason, age: Duration) {
        tracing::info!(target: "pool_manager", database = &*self.database, ?reason, ?age, "connection closed");
    }

    fn open_failed(&self, error: &(dyn Error + 'static)) {
        tracing::error!(target: "pool_manager", database = &*self.database, %error, "connection could not be opened");
    }

    fn waited(&self, waited: Duration) {
        tracing::debug!(target: "pool_manager", database = &*self.database, ?waited, "waited for a connection");
    }

    fn timed_out(&self, waited: Duration) {
        tracing::warn!(target: "pool_manager", database = &*self.database, ?waited, "timed out waiting for a connection");
    }

    fn validation_failed(&self, error: &(dyn Error + 'static)) {
        tracing::warn!(target: "pool_manager", database = &*self.database, %error, "health check failed");
    }

    fn reset_failed(&self, error: &(dyn Error + 'static)) {
        tracing::warn!(target: "pool_manager", database = &*self.database, %error, "connection could not be cleaned");
    }

    fn leak(&self, holder: &Holder) {
        tracing::warn!(target: "pool_manager", database = &*self.database, %holder, "connection held for very long");
    }
}
