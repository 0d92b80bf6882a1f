//! "Factory Pattern for Multiple Databases": the same defaults for several databases, and an override for one.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{DatabaseManager, PoolConfig, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;

    // Create a factory with consistent pooling configuration
    let create_db =
        DatabaseManager::create_pool_factory(PoolConfig::builder().max_connections(10).enable_query_cache(true));

    // Create specialized database instances
    let user_db = create_db.open(folder.path().join("users.sqlite"))?;
    let product_db = create_db.open(folder.path().join("products.sqlite"))?;
    // Override for analytics
    let analytics_db =
        create_db.open_with(folder.path().join("analytics.sqlite"), PoolConfig::builder().max_connections(20))?;

    for db in [&user_db, &product_db, &analytics_db] {
        println!("{}: up to {} connections", db.path().display(), db.config().max_connections());
    }
    println!("closed {} pools", DatabaseManager::close_all_pools().await?);
    Ok(())
}
