//! "Debug Configuration": logging, health checks and more frequent maintenance, seen as `tracing` events.

use pool_manager::{DatabaseManager, Preset, Result};

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let db = DatabaseManager::new().with_pooling(folder.path().join("debug.sqlite"), Preset::Debug)?;
    db.execute_with_pool(|conn| Ok(conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?)).await?;
    db.close_pool().await
}
