//! "Graceful Shutdown": SIGTERM and SIGINT close all pools before the process ends. This example sends itself a SIGTERM.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pool_manager::{DatabaseManager, PoolConfig, Result, shutdown};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(pool_manager::Error::application)?;
    let db = DatabaseManager::new().with_pooling(folder.path().join("app.sqlite"), PoolConfig::default())?;
    db.execute_with_pool(|conn| Ok(conn.execute_batch("CREATE TABLE t (a)")?)).await?;

    // Set up proper shutdown handlers
    let closing = shutdown::close_on_signal(None)?;
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).map_err(pool_manager::Error::application)?;
    let signal = closing.await?;
    println!("Received {signal}, database pools closed successfully");

    assert!(matches!(db.read(|_| Ok(())).await, Err(pool_manager::Error::Closed { .. })));
    Ok(()) // a server would end with std::process::exit(signal.exit_code())
}
