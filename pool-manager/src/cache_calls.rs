//! The calls of the query cache besides `execute_cached`: queries by their text, choices of one call, and invalidation.
//!
//! Owns names and documentation, for async callers and for threads; the work is `cached`'s.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Row;

use crate::blocking::Blocking;
use crate::cached_query::CachedQuery;
use crate::connection::Connection;
use crate::error::Result;
use crate::manager::DatabaseManager;
use crate::parameters::{ParameterList, Parameters};
use crate::query_cache::Manner;

/// Choices of one cached call. The default is that of [`execute_cached`](DatabaseManager::execute_cached) without a time to live of its own.
///
/// ```
/// use pool_manager::CacheOptions;
/// use std::time::Duration;
///
/// let options = CacheOptions::new().ttl(Duration::from_secs(1)).volatile_ok(true);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "options do nothing until they are given to a call"]
pub struct CacheOptions {
    manner: Manner,
    bypass: bool,
}

impl CacheOptions {
    /// Begins with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the age of the result; without this the setting `cache_ttl` does.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.manner.ttl = Some(ttl);
        self
    }

    /// Keeps a result although it depends on more than the content of the database: on the time, chance, a function of the program, a
    /// pragma, a temporary table (default: off).
    ///
    /// That it changes when the tables change which it reads stays true; of what it depends on besides, it may be as old as its time to
    /// live. Where the tables can't be told, any commit outdates it.
    pub fn volatile_ok(mut self, volatile_ok: bool) -> Self {
        self.manner.volatile_ok = volatile_ok;
        self
    }

    /// Runs the query in any case and keeps its result for others (default: off).
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.manner.refresh = refresh;
        self
    }

    /// Runs the query in any case and leaves the cache as it is (default: off).
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    pub(crate) fn manner(self) -> Option<Manner> {
        (!self.bypass).then_some(self.manner)
    }
}

impl DatabaseManager {
    /// As [`execute_cached`](Self::execute_cached), with choices for this call.
    ///
    /// # Errors
    ///
    /// As [`execute_cached`](Self::execute_cached).
    ///
    /// ```
    /// use pool_manager::{CacheOptions, DatabaseManager};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = DatabaseManager::open(":memory:")?;
    /// let options = CacheOptions::new().volatile_ok(true);
    /// let query = |conn: &pool_manager::Connection| Ok(conn.query_row("SELECT random()", [], |row| row.get::<_, i64>(0))?);
    /// let dice = db.execute_cached_with("dice", options, query).await?;
    /// assert_eq!(db.execute_cached_with("dice", options, query).await?, dice);
    /// assert_ne!(db.execute_cached_with("dice", options.refresh(true), query).await?, dice);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute_cached_with<T, F>(
        &self,
        key: impl AsRef<str>,
        options: CacheOptions,
        query: F,
    ) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match options.manner() {
            Some(manner) => self.engine().cached(key.as_ref(), manner, query).await,
            None => self.read(query).await.map(Arc::new),
        }
    }

    /// Returns the rows of a query, each made into a value by `map`, from the cache as long as nothing it read has changed. The key is
    /// the text with its parameters: there is none to invent. [`Parameters`] are passed as to rusqlite's own calls.
    ///
    /// What `map` *captures* is not looked at, as for [`execute_cached`](Self::execute_cached).
    ///
    /// # Errors
    ///
    /// As [`execute_cached`](Self::execute_cached); a parameter that can't be turned into a value.
    ///
    /// # Panics
    ///
    /// When the future is polled after it has ended, or when `map` panics.
    ///
    /// ```
    /// use pool_manager::rusqlite::named_params;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// db.execute_with_pool(|conn| Ok(conn.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')")?)).await?;
    /// let names = db.query_cached("SELECT b FROM t WHERE a > ?1", [1], |row| row.get::<_, String>(0)).await?;
    /// assert_eq!(*names, ["y"]);
    /// let all = "SELECT b FROM t WHERE a >= :least";
    /// let names = db.query_cached(all, named_params! { ":least": 1 }, |row| row.get::<_, String>(0)).await?;
    /// assert_eq!(*names, ["x", "y"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_cached<'a, T, F>(&'a self, sql: &'a str, parameters: impl Parameters, map: F) -> CachedQuery<'a, T, F>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        // Parameters may be borrowed and need not be `Send`, so they are looked at before anything waits.
        CachedQuery::new(self.engine(), sql, ParameterList::of(&parameters), map)
    }

    /// Drops the cached results of a key, whatever their types; for those of [`query_cached`](Self::query_cached) the key is the text, and all
    /// parameters go. Results on their way are not kept, either. Returns how many were dropped.
    ///
    /// Nothing that was committed to the database needs this.
    pub fn invalidate(&self, key: impl AsRef<str>) -> usize {
        if self.engine().is_inherited() {
            return 0;
        }
        self.engine().query_cache().invalidate(key.as_ref())
    }

    /// Drops the cached results that have read one of these tables, now or before this returns. Outside WAL mode, all results.
    ///
    /// Nothing that was committed to the database needs this, but for what is written through handles for incremental BLOBs.
    pub fn invalidate_tables(&self, tables: &[&str]) {
        if !self.engine().is_inherited() {
            self.engine().query_cache().invalidate_tables(tables);
        }
    }
}

impl Blocking<'_> {
    /// As [`DatabaseManager::execute_cached_with`].
    ///
    /// # Errors
    ///
    /// As [`DatabaseManager::execute_cached`].
    pub fn execute_cached_with<T, F>(&self, key: impl AsRef<str>, options: CacheOptions, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        match options.manner() {
            Some(manner) => self.engine().cached_blocking(key.as_ref(), manner, query),
            None => self.read(query).map(Arc::new),
        }
    }

    /// As [`DatabaseManager::query_cached`].
    ///
    /// # Errors
    ///
    /// As [`DatabaseManager::query_cached`].
    pub fn query_cached<T, F>(&self, sql: &str, parameters: impl Parameters, map: F) -> Result<Arc<Vec<T>>>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + 'static,
    {
        self.engine().query_cached_blocking(sql, &ParameterList::of(&parameters)?, map)
    }
}
