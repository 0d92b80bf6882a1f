//! "High-Performance Bulk Operations": five tasks write 1,000 rows each, at the same time.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{Column, DatabaseManager, PoolConfig, Result, Schema};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let pool_config = PoolConfig::builder()
        .max_connections(15)
        .enable_query_cache(false) // Disable for bulk operations
        .enable_logging(true);
    let db = DatabaseManager::new().with_pooling(folder.path().join("bulk.sqlite"), pool_config)?;
    db.create(
        Schema::new("events")
            .column(Column::number("id").primary())
            .column(Column::string("name"))
            .column(Column::json("data")),
    )
    .await?;

    // Process multiple concurrent operations
    let tasks: Vec<_> = (0..5)
        .map(|batch| {
            let db = db.clone();
            tokio::spawn(async move {
                db.execute_with_pool(move |database| {
                    // Bulk insert with transaction
                    let transaction = database.transaction()?;
                    let mut insert = transaction.prepare_cached("INSERT INTO events (name, data) VALUES (?1, ?2)")?;
                    let mut inserted = 0;
                    for index in 0..1000 {
                        let data = format!(r#"{{"batch":{batch},"index":{index}}}"#);
                        inserted += insert.execute([format!("event_{batch}_{index}"), data])?;
                    }
                    drop(insert);
                    transaction.commit()?;
                    Ok(inserted)
                })
                .await
            })
        })
        .collect();

    let mut total = 0;
    for task in tasks {
        total += task.await.map_err(pool_manager::Error::application)??;
    }
    println!("Total records inserted: {total}");
    assert_eq!(total, 5_000);
    db.close_pool().await
}
