//! "Cache Management": cached queries with a key and a time to live. A write makes a cached result invisible at once.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use pool_manager::{Column, DatabaseManager, PoolConfig, Result, Schema};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    // Configure caching based on your use case
    let cache_config = PoolConfig::builder().enable_query_cache(true).max_cache_size(1000);
    let db = DatabaseManager::new().with_pooling(folder.path().join("cached.sqlite"), cache_config)?;
    db.create(Schema::new("frequently_accessed_data").column(Column::number("id").primary())).await?;

    // Use cache-aware queries
    let count = || {
        db.execute_cached(
            "frequent-data-key",            // Cache key
            Some(Duration::from_secs(600)), // Cache TTL: 10 minutes
            |database| {
                Ok(database
                    .query_row("SELECT count(*) FROM frequently_accessed_data", [], |row| row.get::<_, i64>(0))?)
            },
        )
    };
    assert_eq!(*count().await?, 0);
    assert_eq!(*count().await?, 0); // from the cache
    db.execute_with_pool(|conn| Ok(conn.execute("INSERT INTO frequently_accessed_data VALUES (1)", [])?)).await?;
    assert_eq!(*count().await?, 1); // never stale
    if let Some(stats) = db.pool_stats() {
        println!("{} hits, {} misses", stats.cache_hits, stats.cache_misses);
    }
    db.close_pool().await
}
