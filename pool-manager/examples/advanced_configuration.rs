//! "Advanced Configuration": settings of one's own; each key knows where it came from.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use pool_manager::{DatabaseManager, Key, PoolConfig, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let pool_config = PoolConfig::builder()
        .max_connections(20)
        .min_connections(5)
        .acquire_timeout(Duration::from_secs(15))
        .idle_timeout(Duration::from_secs(60))
        .enable_query_cache(true)
        .max_cache_size(2000)
        .enable_logging(true);

    let db = DatabaseManager::new().with_pooling(folder.path().join("high-performance.sqlite"), pool_config)?;
    println!("up to {} connections, {} cached results", db.config().max_connections(), db.config().max_cache_size());
    println!("max_connections comes from {}", db.config().origin(Key::MaxConnections));
    db.close_pool().await
}
