//! "Transaction Processing with Pooling": a list of operations in one transaction, and the same as one closure.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{Column, DatabaseManager, PoolConfig, Result, Schema, operation};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let db = DatabaseManager::new().with_pooling(folder.path().join("transactions.sqlite"), PoolConfig::default())?;
    db.create(
        Schema::new("users")
            .column(Column::number("id").primary().auto_increment())
            .column(Column::string("name").not_null()),
    )
    .await?;

    // Execute multiple operations in a transaction
    let results = db
        .execute_pooled_operations(vec![
            operation(|tx| Ok(tx.prepare_cached("INSERT INTO users (name) VALUES (?1)")?.insert(["Alice"])?)),
            operation(|tx| Ok(tx.prepare_cached("INSERT INTO users (name) VALUES (?1)")?.insert(["Bob"])?)),
            operation(|tx| Ok(tx.query_row("SELECT count(*) AS count FROM users", [], |row| row.get(0))?)),
        ])
        .await?;
    println!("Users created: {}", results[2]);

    // The same with results of different types
    let (last, count) = db
        .execute_pooled_transaction(|tx| {
            let mut insert = tx.prepare_cached("INSERT INTO users (name) VALUES (?1)")?;
            insert.execute(["Carol"])?;
            let last = insert.insert(["Dave"])?;
            let count: i64 = tx.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
            Ok((last, count))
        })
        .await?;
    println!("Users now: {count}, the last one has id {last}");
    db.close_pool().await
}
