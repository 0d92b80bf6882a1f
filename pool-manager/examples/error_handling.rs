//! "Error Handling": every error is a variant that says what was waited for or what is wrong.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use pool_manager::{DatabaseManager, Error, PoolConfig, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::application)?;
    let config = PoolConfig::builder()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(Duration::from_millis(20))
        .enable_logging(true);
    let db = DatabaseManager::new().with_pooling(folder.path().join("app.sqlite"), config)?;

    let report = |outcome: Result<i64>| match outcome {
        Ok(count) => println!("{count} users"),
        Err(error @ Error::AcquireTimeout { .. }) => println!("Database pool exhausted: {error}"),
        Err(error) => println!("Database operation failed: {error} ({:?})", error.sqlite().map(ToString::to_string)),
    };
    let count_users =
        || db.execute_with_pool(|database| Ok(database.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?));

    report(count_users().await); // no such table
    let held = db.acquire().await?;
    report(count_users().await); // nothing left to acquire
    drop(held);
    db.close_pool().await
}
