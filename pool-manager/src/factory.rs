//! Managers with the same defaults for several databases.
//!
//! Owns nothing but the defaults: which pool a path gets is the registry's to say.

use std::path::Path;

use pool_config::{PoolConfig, PoolConfigBuilder};

use crate::builder::DatabaseManagerBuilder;
use crate::error::Result;
use crate::manager::DatabaseManager;

/// Makes managers with consistent settings; from
/// [`DatabaseManager::create_pool_factory`](crate::DatabaseManager::create_pool_factory).
///
/// ```
/// use pool_manager::{DatabaseManager, PoolConfig};
///
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # std::env::set_current_dir(&folder).expect("it exists");
/// let create_db = DatabaseManager::create_pool_factory(PoolConfig::builder().max_connections(10));
/// let users = create_db.open("./users.sqlite")?;
/// let products = create_db.open("./products.sqlite")?;
/// let analytics = create_db.open_with("./analytics.sqlite", PoolConfig::builder().max_connections(20))?;
/// assert_eq!(users.config().max_connections(), 10);
/// assert_eq!(analytics.config().max_connections(), 20);
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PoolFactory {
    defaults: PoolConfigBuilder,
    pooled: bool,
}

impl PoolFactory {
    pub(crate) fn new(defaults: impl Into<PoolConfigBuilder>) -> Self {
        Self { defaults: defaults.into(), pooled: true }
    }

    /// Chooses between pools (the default) and direct connections for all managers of this factory.
    #[must_use]
    pub fn use_pool(mut self, pooled: bool) -> Self {
        self.pooled = pooled;
        self
    }

    /// Opens a database with the defaults, or joins the pool that is open on it.
    ///
    /// # Errors
    ///
    /// As [`DatabaseManagerBuilder::build`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<DatabaseManager> {
        self.open_with(path, PoolConfig::builder())
    }

    /// Opens a database with settings that win over the defaults, key by key.
    ///
    /// # Errors
    ///
    /// As [`DatabaseManagerBuilder::build`].
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        overrides: impl Into<PoolConfigBuilder>,
    ) -> Result<DatabaseManager> {
        self.builder(path).config(overrides).build()
    }

    /// Starts describing a manager with the defaults, for what the other calls don't offer.
    pub fn builder(&self, path: impl AsRef<Path>) -> DatabaseManagerBuilder {
        DatabaseManager::builder().path(path).config(self.defaults.clone()).use_pool(self.pooled)
    }
}
