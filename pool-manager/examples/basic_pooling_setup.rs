//! "Basic Pooling Setup": a pool with the default settings, a table, its figures, and closing.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{DatabaseManager, PoolConfig, Result, Schema};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;

    // Enable pooling with default configuration
    let db = DatabaseManager::new().with_pooling(folder.path().join("my-database.sqlite"), PoolConfig::default())?;

    // Create tables and use normally
    db.create(Schema::from_json(
        r#"{
            "name": "users",
            "columns": [
                { "name": "id", "type": "number", "primary": true, "autoIncrement": true },
                { "name": "name", "type": "string" },
                { "name": "email", "type": "string", "unique": true }
            ]
        }"#,
    )?)
    .await?;

    // Get pool statistics
    if let Some(stats) = db.pool_stats() {
        println!(
            "Pool status: total {}, active {}, idle {}",
            stats.total_connections, stats.active_connections, stats.idle_connections
        );
    }

    // Always close the pool when done
    db.close_pool().await
}
