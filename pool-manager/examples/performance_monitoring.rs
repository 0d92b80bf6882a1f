//! "Performance Monitoring": figures while the pool works.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use pool_manager::{DatabaseManager, PoolConfig, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let db = DatabaseManager::new()
        .with_pooling(folder.path().join("monitored.sqlite"), PoolConfig::builder().enable_logging(true))?;

    // Monitor performance over time (every 10 seconds in a server; here as fast as an example should be)
    let monitor = tokio::spawn({
        let db = db.clone();
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..3 {
                every.tick().await;
                if let Some(stats) = db.pool_stats() {
                    println!(
                        "Pool Performance: efficiency {:.2}%, average acquire time {:.4}ms, utilization {:.2}%",
                        stats.cache_hit_rate * 100.0,
                        stats.average_acquire_time,
                        stats.active_connections as f64 / stats.total_connections.max(1) as f64 * 100.0
                    );
                }
            }
        }
    });
    for _ in 0..100 {
        db.execute_cached("answer", None, |conn| Ok(conn.query_row("SELECT 42", [], |row| row.get::<_, i64>(0))?))
            .await?;
    }
    monitor.await.map_err(pool_manager::Error::application)?;

    // The same as JSON under the description's names, for a dashboard
    if let Some(stats) = db.pool_stats() {
        let json = serde_json::to_string(&stats.camel_case()).map_err(pool_manager::Error::application)?;
        println!("{json}");
    }
    db.close_pool().await
}
