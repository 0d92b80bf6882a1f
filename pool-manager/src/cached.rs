//! The way of a cached call: from what the caller says to the query cache, and to a connection when that has no answer.
//!
//! Owns how calls name their results, and what is watched while their closures run. It must not know when a result is true.

use std::cell::Cell;
use std::sync::Arc;

use pool_cache::Lately;
use rusqlite::Row;

use crate::anchor::Stamp;
use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::key_look::Undecided;
use crate::parameters::{ParameterList, Values};
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
        let lately = self.open_lately()?;
        give_way().await;
        let kind = Kind::of_query::<T, F>(&query);
        match self.cached_under(key, kind.as_ref()) {
            None => self.call(Use::Read, query).await.map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                if let Some(value) = cache.hit(name, manner, lately) {
                    return Ok(value);
                }
                self.missed(cache, name, manner, query).await
            }
        }
    }

    pub(crate) fn cached_blocking<T, F>(&self, key: &str, manner: Manner, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        let lately = self.open_lately()?;
        let kind = Kind::of_query::<T, F>(&query);
        match self.cached_under(key, kind.as_ref()) {
            None => self.call_blocking(Use::Read, query).map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: key, parameters: &[], kind };
                if let Some(value) = cache.hit(name, manner, lately) {
                    return Ok(value);
                }
                self.missed_blocking(cache, name, manner, query)
            }
        }
    }

    /// The rows of a query of a text, if the query cache has them. `lately`: the time, by [`open_lately`](Self::open_lately).
    #[inline]
    pub(crate) fn query_hit<T, F>(
        &self,
        sql: &str,
        parameters: &ParameterList,
        map: &F,
        lately: Lately,
    ) -> Option<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + 'static,
    {
        let kind = Kind::of_map::<T, F>(map);
        let (cache, kind) = self.cached_under(sql, kind.as_ref())?;
        cache.hit(Name { text: sql, parameters: parameters.bytes(), kind }, Manner::default(), lately)
    }

    /// Runs the query of a text, or waits for who does.
    pub(crate) async fn query_missed<T, F>(
        self: &Arc<Self>,
        sql: &str,
        parameters: ParameterList,
        map: F,
    ) -> Result<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let kind = Kind::of_map::<T, F>(&map);
        let (text, values) = (Box::<str>::from(sql), parameters.values());
        let query = move |connection: &Connection| rows(connection, &text, values, map);
        match self.kept_under(kind.as_ref()) {
            None => self.call(Use::Read, query).await.map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: sql, parameters: parameters.bytes(), kind };
                self.missed(cache, name, Manner::default(), query).await
            }
        }
    }

    pub(crate) fn query_cached_blocking<T, F>(
        &self,
        sql: &str,
        parameters: &ParameterList,
        map: F,
    ) -> Result<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + 'static,
    {
        let lately = self.open_lately()?;
        if let Some(rows) = self.query_hit(sql, parameters, &map, lately) {
            return Ok(rows);
        }
        let kind = Kind::of_map::<T, F>(&map);
        let values = parameters.values();
        let query = move |connection: &Connection| rows(connection, sql, values, map);
        match self.kept_under(kind.as_ref()) {
            None => self.call_blocking(Use::Read, query).map(Arc::new),
            Some((cache, kind)) => {
                let name = Name { text: sql, parameters: parameters.bytes(), kind };
                self.missed_blocking(cache, name, Manner::default(), query)
            }
        }
    }

    /// Answers where a glance found nothing: runs the query, waits for who does, or looks at what was written if that may tell that the stored
    /// result is still true, which costs less.
    async fn missed<T, F>(
        self: &Arc<Self>,
        cache: &QueryCache,
        name: Name<'_>,
        manner: Manner,
        query: F,
    ) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        if let Some(place) = cache.is_hopeless(name, manner) {
            return cache.passed_by(name, place, self.call(Use::Read, heard(query)).await);
        }
        if let Some(undecided) = cache.undecided(name, manner) {
            self.call(Use::Read, look(undecided)).await?;
        }
        cache.get_or_run(name, manner, |stamp| self.call(Use::Read, observed(query, manner, stamp))).await
    }

    fn missed_blocking<T, F>(&self, cache: &QueryCache, name: Name<'_>, manner: Manner, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T>,
    {
        if let Some(place) = cache.is_hopeless(name, manner) {
            return cache.passed_by(name, place, self.call_blocking(Use::Read, heard(query)));
        }
        if let Some(undecided) = cache.undecided(name, manner) {
            self.call_blocking(Use::Read, look(undecided))?;
        }
        cache.get_or_run_blocking(name, manner, |stamp| self.call_blocking(Use::Read, observed(query, manner, stamp)))
    }

    /// Which cache keeps the results of a query, and under what; `None` where none can. Called once a call: it tells of what is not kept.
    #[inline]
    fn cached_under<'k>(&self, key: &str, kind: Option<&'k Kind>) -> Option<(&QueryCache, &'k Kind)> {
        if kind.is_none() && self.query_cache().is_enabled() {
            self.query_cache().not_kept(key, &Volatile::Closure);
        }
        self.kept_under(kind)
    }

    /// The same, and tells nobody.
    #[inline]
    fn kept_under<'k>(&self, kind: Option<&'k Kind>) -> Option<(&QueryCache, &'k Kind)> {
        let cache = self.query_cache();
        if cache.is_enabled() { Some((cache, kind?)) } else { None }
    }
}

/// How many cached calls use up as much of a task's budget as anything else it does: a hit takes less than a tenth of a microsecond, and
/// when the budget (128) is used up, that wakes another worker, which takes some.
const CALLS_IN_A_UNIT: u32 = 8;

/// Uses up some of the budget of the task that runs, and so lets others run when it is used up. A hit waits for nothing: without this, a task
/// that only hits would keep its worker from all others.
#[inline]
pub(crate) async fn give_way() {
    thread_local! {
        /// Calls on this thread, of whichever task: one that gives way to nobody makes all of them.
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    let calls = CALLS.get().wrapping_add(1);
    CALLS.set(calls);
    if calls.is_multiple_of(CALLS_IN_A_UNIT) {
        tokio::task::consume_budget().await;
    }
}

fn look(undecided: Undecided) -> impl FnOnce(&Connection) -> Result<()> {
    move |connection| {
        connection.look(&undecided);
        Ok(())
    }
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: Values,
    map: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = values.query(&mut statement)?;
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

/// Makes a query tell why its result can't be kept, as far as that is heard without looking at what it reads.
fn heard<T>(query: impl FnOnce(&Connection) -> Result<T>) -> impl FnOnce(&Connection) -> Result<(T, Option<Volatile>)> {
    |connection| {
        connection.begin_hearing();
        let value = query(connection)?;
        Ok((value, connection.heard_volatile()))
    }
}
