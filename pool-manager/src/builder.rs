//! Describing a manager before it is opened.
//!
//! Owns the choices that are not settings of a pool: where the database is, pooled or direct, read-only. Everything else is
//! `pool-config`'s.

use std::path::{Path, PathBuf};

use pool_config::{PoolConfig, PoolConfigBuilder};

use crate::clock::Clock;
use crate::engine::Plan;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::manager::DatabaseManager;
use crate::registry;

/// Describes a [`DatabaseManager`]; from [`DatabaseManager::builder`] or [`DatabaseManager::new`].
#[derive(Debug, Clone)]
#[must_use = "call build or build_async"]
pub struct DatabaseManagerBuilder {
    path: Option<PathBuf>,
    config: PoolConfigBuilder,
    pooled: bool,
    read_only: bool,
    clock: Clock,
}

impl DatabaseManagerBuilder {
    pub(crate) fn new() -> Self {
        Self { path: None, config: PoolConfig::builder(), pooled: true, read_only: false, clock: Clock::default() }
    }

    /// Names the database: a file, which is made when it is missing, or `":memory:"` for a fresh one in memory.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Adds settings: a [`PoolConfig`], a [`PoolConfigBuilder`] or a [`Preset`](crate::Preset). Those added later win, key by key.
    pub fn config(mut self, config: impl Into<PoolConfigBuilder>) -> Self {
        self.config = self.config.layer(config.into());
        self
    }

    /// Chooses between a pool (the default) and one direct connection behind the same calls.
    ///
    /// A direct connection suits scripts and single-threaded batches. Its manager shares it with nobody, and
    /// [`pool_stats`](DatabaseManager::pool_stats) returns `None`.
    pub fn use_pool(mut self, pooled: bool) -> Self {
        self.pooled = pooled;
        self
    }

    /// Opens the database for reading only (default: off): the file must exist and nothing in it changes, its journal mode included.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets the clock that idle times, ages and times to live go by. For tests; see [`ManualClock`](crate::ManualClock).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Pools the database at `path` with these settings: the call of the description, short for `path`, `config` and `build`.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    ///
    /// ```
    /// use pool_manager::{DatabaseManager, PoolConfig};
    ///
    /// let db = DatabaseManager::new().with_pooling(":memory:", PoolConfig::builder().max_connections(4))?;
    /// assert_eq!(db.pool_stats().expect("pooling is on").max_connections, 4);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn with_pooling(self, path: impl AsRef<Path>, config: impl Into<PoolConfigBuilder>) -> Result<DatabaseManager> {
        self.path(path).config(config).use_pool(true).build()
    }

    /// Opens the database, or joins the pool that this process has open on the same file.
    ///
    /// Checks the file and puts it into WAL mode on the calling thread: about a millisecond, unless another process has the file
    /// locked (then up to `busy_timeout`).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPath`], [`Error::Open`] and [`Error::Busy`] when the file can't be used, [`Error::Config`] when settings are
    /// refused, [`Error::PoolExists`] when the file is open with other settings than these.
    pub fn build(self) -> Result<DatabaseManager> {
        let Some(path) = self.path else {
            let reason = "no path was given; name a file or \":memory:\"".to_owned();
            return Err(Error::InvalidPath { path: PathBuf::new(), reason });
        };
        let location = Location::parse(&path)?;
        let plan =
            Plan { config: self.config.build()?, pooled: self.pooled, read_only: self.read_only, clock: self.clock };
        Ok(DatabaseManager::over(registry::open(location, plan)?))
    }

    /// The same on a blocking thread, for servers that must not wait for a locked file.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub async fn build_async(self) -> Result<DatabaseManager> {
        crate::place::on_blocking_thread(|_| self.build()).await
    }
}
