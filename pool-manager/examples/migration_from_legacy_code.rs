//! "Migration from Legacy Code": the same calls on one direct connection and on a pool.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{Column, DatabaseManager, PoolConfig, Result, Schema};

async fn existing_code(db: &DatabaseManager) -> Result<i64> {
    db.create(Schema::new("notes").column(Column::number("id").primary()).column(Column::string("text"))).await?;
    db.execute_with_pool(|conn| {
        conn.execute("INSERT INTO notes (text) VALUES ('works the same way')", [])?;
        Ok(conn.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))?)
    })
    .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let path = folder.path().join("existing-db.sqlite");

    // Before (without pooling)
    let direct = DatabaseManager::builder().path(&path).use_pool(false).build()?;
    println!(
        "direct: {} note(s), figures of a pool: {:?}",
        existing_code(&direct).await?,
        direct.pool_stats().is_some()
    );
    direct.close_pool().await?;

    // After, option 1: enable pooling for existing code
    let pooled = DatabaseManager::new().with_pooling(&path, PoolConfig::default())?;
    println!("pooled: {} note(s)", existing_code(&pooled).await?);

    // After, option 2: say so where it is built. Managers of one file share one pool.
    let same_pool = DatabaseManager::builder().path(&path).use_pool(true).build()?;
    println!("pooled: {} note(s)", existing_code(&same_pool).await?);
    pooled.close_pool().await
}
