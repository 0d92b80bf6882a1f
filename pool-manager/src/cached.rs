//! The way of a cached call: from what the caller says to the query cache, and to a connection when that has no answer.
//!
//! Owns how calls name their results, and what is watched while their closures run. It must not know when a result is true.

use std::sync::Arc;

use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::query_cache::{Manner, QueryCache};
use crate::query_key::{Kind, Name};
use crate::reads::Seen;
use crate::session::Use;
use crate::volatile::Volatile;

impl Engine {
    /// Answers from the query cache, or runs the closure.
    pub(crate) async fn cached<T, F>(self: &Arc<Self>, key: &str, manner: Manner, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        // A hit waits for nothing: without this, a task that only hits would keep its worker from all others.
        tokio::task::consume_budget().await;
        match self.cached_under(key, Kind::of_query::<T, F>(&query)) {
            None => self.call(Use::Read, query).await.map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                cache.get_or_run(name, manner, self.call(Use::Read, observed(query, manner))).await
            }
        }
    }

    pub(crate) fn cached_blocking<T, F>(&self, key: &str, manner: Manner, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        self.open_or_closed()?;
        match self.cached_under(key, Kind::of_query::<T, F>(&query)) {
            None => self.call_blocking(Use::Read, query).map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                cache.get_or_run_blocking(name, manner, || self.call_blocking(Use::Read, observed(query, manner)))
            }
        }
    }

    /// Which cache keeps the results of a query, and under what; `None` where none can.
    fn cached_under(&self, key: &str, kind: Option<Kind>) -> Option<(&QueryCache, Kind)> {
        let cache = self.query_cache();
        if !cache.is_enabled() {
            return None;
        }
        if kind.is_none() {
            cache.not_kept(key, &Volatile::Closure);
        }
        Some((cache, kind?))
    }
}

/// Makes a query tell what it reads.
fn observed<T>(
    query: impl FnOnce(&Connection) -> Result<T>,
    manner: Manner,
) -> impl FnOnce(&Connection) -> Result<(T, Seen)> {
    move |connection| {
        connection.begin_observing();
        let value = query(connection)?;
        Ok((value, connection.observed(manner.volatile_ok)))
    }
}
