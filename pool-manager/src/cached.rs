//! The way of a cached call: from what the caller says to the query cache, and to a connection when that has no answer.
//!
//! Owns how calls name their results, and what is watched while their closures run. It must not know when a result is true.

use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::Value;

use crate::anchor::Stamp;
use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::key_look::Undecided;
use crate::query_cache::{Manner, QueryCache};
use crate::query_key::{Kind, Name, values_of};
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
        let kind = Kind::of_query::<T, F>(&query);
        match self.cached_under(key, kind.as_ref()) {
            None => self.call(Use::Read, query).await.map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                if let Some(value) = cache.hit(name, manner) {
                    return Ok(value);
                }
                self.look_first(cache, name, manner).await?;
                cache.get_or_run(name, manner, |stamp| self.call(Use::Read, observed(query, manner, stamp))).await
            }
        }
    }

    pub(crate) fn cached_blocking<T, F>(&self, key: &str, manner: Manner, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        self.open_or_closed()?;
        let kind = Kind::of_query::<T, F>(&query);
        match self.cached_under(key, kind.as_ref()) {
            None => self.call_blocking(Use::Read, query).map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                if let Some(value) = cache.hit(name, manner) {
                    return Ok(value);
                }
                self.look_first_blocking(cache, name, manner)?;
                cache.get_or_run_blocking(name, manner, |stamp| {
                    self.call_blocking(Use::Read, observed(query, manner, stamp))
                })
            }
        }
    }

    /// Answers from the query cache, or runs the query of a text.
    pub(crate) async fn query_cached<T, F>(
        self: &Arc<Self>,
        sql: &str,
        parameters: Vec<u8>,
        map: F,
    ) -> Result<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        tokio::task::consume_budget().await;
        let kind = Kind::of_map::<T, F>(&map);
        match self.cached_under(sql, kind.as_ref()) {
            None => {
                let (text, values) = (Box::<str>::from(sql), given(&parameters));
                let query = move |connection: &Connection| rows(connection, &text, values, map);
                self.call(Use::Read, query).await.map(Arc::new)
            }
            Some((cache, kind)) => {
                let name = Name { text: sql, parameters: &parameters, kind };
                let manner = Manner::default();
                if let Some(value) = cache.hit(name, manner) {
                    return Ok(value);
                }
                let (text, values) = (Box::<str>::from(sql), given(&parameters));
                let query = move |connection: &Connection| rows(connection, &text, values, map);
                self.look_first(cache, name, manner).await?;
                cache.get_or_run(name, manner, |stamp| self.call(Use::Read, observed(query, manner, stamp))).await
            }
        }
    }

    pub(crate) fn query_cached_blocking<T, F>(&self, sql: &str, parameters: Vec<u8>, map: F) -> Result<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + 'static,
    {
        self.open_or_closed()?;
        let kind = Kind::of_map::<T, F>(&map);
        match self.cached_under(sql, kind.as_ref()) {
            None => {
                let values = given(&parameters);
                self.call_blocking(Use::Read, |connection| rows(connection, sql, values, map)).map(Arc::new)
            }
            Some((cache, kind)) => {
                let name = Name { text: sql, parameters: &parameters, kind };
                let manner = Manner::default();
                if let Some(value) = cache.hit(name, manner) {
                    return Ok(value);
                }
                let values = given(&parameters);
                let query = move |connection: &Connection| rows(connection, sql, values, map);
                self.look_first_blocking(cache, name, manner)?;
                cache.get_or_run_blocking(name, manner, |stamp| {
                    self.call_blocking(Use::Read, observed(query, manner, stamp))
                })
            }
        }
    }

    /// Looks at what was written, where that tells whether the stored result is still true: it costs less than running its query.
    async fn look_first(self: &Arc<Self>, cache: &QueryCache, name: Name<'_>, manner: Manner) -> Result<()> {
        match cache.undecided(name, manner) {
            Some(undecided) => self.call(Use::Read, look(undecided)).await,
            None => Ok(()),
        }
    }

    fn look_first_blocking(&self, cache: &QueryCache, name: Name<'_>, manner: Manner) -> Result<()> {
        match cache.undecided(name, manner) {
            Some(undecided) => self.call_blocking(Use::Read, look(undecided)),
            None => Ok(()),
        }
    }

    /// Which cache keeps the results of a query, and under what; `None` where none can.
    #[inline]
    fn cached_under<'k>(&self, key: &str, kind: Option<&'k Kind>) -> Option<(&QueryCache, &'k Kind)> {
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

fn look(undecided: Undecided) -> impl FnOnce(&Connection) -> Result<()> {
    move |connection| {
        connection.look(&undecided);
        Ok(())
    }
}

/// The values of parameters that were written down for a key.
fn given(parameters: &[u8]) -> Vec<Value> {
    values_of(parameters).unwrap_or_else(|| panic!("BUG: what was written down can't be read back"))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: Vec<Value>,
    map: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(map(row)?);
    }
    Ok(rows)
}

/// Makes a query tell what it reads. `stamp`: from before it.
fn observed<T>(
    query: impl FnOnce(&Connection) -> Result<T>,
    manner: Manner,
    stamp: Option<Stamp>,
) -> impl FnOnce(&Connection) -> Result<(T, Seen)> {
    move |connection| {
        connection.begin_observing();
        let value = query(connection)?;
        Ok((value, connection.observed(manner.volatile_ok, stamp.as_ref())))
    }
}
