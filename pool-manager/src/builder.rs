//! Describing a manager before it is opened.
//!
//! Owns the choices that are not settings of a pool: where the database is, pooled or direct, read-only. Everything else is
//! `pool-config`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pool_config::{LiveConfig, PoolConfig, PoolConfigBuilder};

use crate::clock::Clock;
use crate::connection::OnConnect;
use crate::engine::Plan;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::manager::DatabaseManager;
use crate::reconfigure::Recipe;
use crate::registry;
use crate::weight::Weights;

/// Describes a [`DatabaseManager`]; from [`DatabaseManager::builder`] or [`DatabaseManager::new`].
#[derive(Debug, Clone)]
#[must_use = "call build or build_async"]
pub struct DatabaseManagerBuilder {
    path: Option<PathBuf>,
    /// Where settings come from; `config` adds to what wins.
    recipe: Recipe,
    weights: Weights,
    pooled: bool,
    read_only: bool,
    clock: Clock,
    on_connect: Option<OnConnect>,
}

impl DatabaseManagerBuilder {
    pub(crate) fn new() -> Self {
        Self {
            path: None,
            recipe: Recipe { below: PoolConfig::builder(), live: None, above: PoolConfig::builder() },
            weights: Weights::default(),
            pooled: true,
            read_only: false,
            clock: Clock::default(),
            on_connect: None,
        }
    }

    /// Names the database: a file, which is made when it is missing, or `":memory:"` for a fresh one in memory.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Adds settings: a [`PoolConfig`], a [`PoolConfigBuilder`] or a [`Preset`](crate::Preset). Those added later win, key by key.
    pub fn config(mut self, config: impl Into<PoolConfigBuilder>) -> Self {
        self.recipe.above = self.recipe.above.layer(config.into());
        self
    }

    /// Adds settings that change while the pool is open, and follows them: what a pool can take over of a new configuration holds at once.
    ///
    /// It is a layer like those of [`config`](Self::config): what was added before gives way to it, what is added after wins over it. Of
    /// several the last counts. The pool follows until it is closed; when the configuration is read again is the caller's to say, by
    /// [`LiveConfig::watch`] for instance. What the pool makes of it, and what it can't take over, is told as an event of `tracing`; see
    /// [`DatabaseManager::reconfigure`]. A manager that joins an open pool has it follow its own live configuration if it follows none.
    ///
    /// ```
    /// use pool_manager::{DatabaseManager, PoolConfig};
    ///
    /// # let folder = tempfile::tempdir().expect("a temporary folder");
    /// # let file = folder.path().join("pool.toml");
    /// # std::fs::write(&file, "max_connections = 10").expect("it can be written");
    /// let live = PoolConfig::builder().file(&file).live()?;
    /// let db = DatabaseManager::builder().path(":memory:").live(live.clone()).build()?;
    /// let _watch = live.watch().expect("a thread that watches"); // as long as this lives
    /// assert_eq!(db.config().max_connections(), 10);
    ///
    /// std::fs::write(&file, "max_connections = 20").expect("it can be written");
    /// # live.reload().expect("it is allowed");
    /// // A second later at most:
    /// assert_eq!(db.pool_stats().expect("pooling is on").max_connections, 20);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn live(mut self, live: LiveConfig) -> Self {
        self.recipe.below = self.recipe.below.layer(std::mem::take(&mut self.recipe.above));
        self.recipe.live = Some(live);
        self
    }

    /// Tells how many bytes values of a type own on the heap, for `max_cache_weight`.
    ///
    /// A cached result weighs its own size and what it is known to own: text, bytes, JSON, and rows of numbers, text or pairs of these
    /// are known (`String`, `Vec<i64>`, `Vec<(String, i64)>`, ...). Other types weigh their own size alone unless this tells more. The
    /// weight of a result is taken once, when it is stored.
    ///
    /// ```
    /// use pool_manager::DatabaseManager;
    ///
    /// struct City { name: String, population: i64 }
    ///
    /// let db = DatabaseManager::builder()
    ///     .path(":memory:")
    ///     .weigh_results(|cities: &Vec<City>| {
    ///         cities.capacity() * size_of::<City>() + cities.iter().map(|city| city.name.capacity()).sum::<usize>()
    ///     })
    ///     .build()?;
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn weigh_results<T: 'static>(mut self, owned: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        self.weights.tell(owned);
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

    /// Prepares each new connection, before anybody gets it: functions, collations, pragmas of the program's own.
    ///
    /// What a *user* of a connection leaves behind on it is undone; what is done here stays, because each connection has it. (But for
    /// `PRAGMA wal_autocheckpoint`, which is a setting of the pool.) An
    /// error makes the connection fail to open, and its callers get that error.
    ///
    /// ```
    /// use pool_manager::DatabaseManager;
    /// use pool_manager::rusqlite::functions::FunctionFlags;
    ///
    /// let db = DatabaseManager::builder()
    ///     .path(":memory:")
    ///     .on_connect(|conn| {
    ///         let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    ///         Ok(conn.create_scalar_function("double", 1, flags, |call| Ok(call.get::<i64>(0)? * 2))?)
    ///     })
    ///     .build()?;
    /// let four = db.blocking().read(|conn| Ok(conn.query_row("SELECT double(2)", [], |row| row.get::<_, i64>(0))?))?;
    /// assert_eq!(four, 4);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn on_connect(mut self, prepare: impl Fn(&rusqlite::Connection) -> Result<()> + Send + Sync + 'static) -> Self {
        self.on_connect = Some(OnConnect(Arc::new(prepare)));
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
    /// refused, [`Error::PoolExists`] when the file is open with other settings than these (keys that are left at their defaults ask for
    /// nothing, so who opens first decides them).
    pub fn build(self) -> Result<DatabaseManager> {
        let Some(path) = self.path else {
            let reason = "no path was given; name a file or \":memory:\"".to_owned();
            return Err(Error::InvalidPath { path: PathBuf::new(), reason });
        };
        let location = Location::parse(&path)?;
        let plan = Plan {
            config: self.recipe.build()?,
            pooled: self.pooled,
            read_only: self.read_only,
            clock: self.clock,
            on_connect: self.on_connect,
            weights: self.weights,
        };
        let engine = registry::open(location, plan)?;
        engine.follow(self.recipe)?;
        Ok(DatabaseManager::over(engine))
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
