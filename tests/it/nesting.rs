//! Closures that call their own database again: what would wait for ever is told at once, whoever asks and on whatever thread.

use std::time::Duration;

use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, Result};

use crate::support::{TestDb, count};

#[test]
fn a_closure_that_waits_for_itself_is_told_at_once() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).acquire_timeout(Duration::from_secs(600)));
    test.fill(1);
    let blocking = test.db.blocking();
    let nested = blocking.read(|_| blocking.read(|_| Ok(())));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let test = TestDb::new(PoolConfig::builder().max_connections(3).acquire_timeout(Duration::from_secs(600)));
    test.fill(1);
    let blocking = test.db.blocking();
    let db = test.db.clone();
    let nested = blocking.write(move |_| db.blocking().write(|_| Ok(())));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let nested = blocking.execute_pooled_transaction(|_| blocking.execute_pooled_transaction(|_| Ok(())));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let nested = blocking.execute_pooled_transaction(|_| test.db.blocking().write(|_| Ok(())));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let nested = blocking.execute_pooled_transaction(|_| {
        blocking.execute_with_pool(|conn| Ok(conn.execute("INSERT INTO t (value) VALUES (1)", [])?))
    });
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let db = test.db.clone();
    assert_eq!(blocking.write(move |_| count(&db, "t")).unwrap(), 1, "reading beside is no problem");
}

#[test]
fn a_connection_held_by_hand_that_would_wait_for_the_closure_around_it_is_told_at_once() {
    let config = PoolConfig::builder().max_connections(3).acquire_timeout(Duration::from_secs(600));
    for memory in [false, true] {
        let test = TestDb::new(config.clone());
        let memory = memory.then(|| DatabaseManager::new().with_pooling(":memory:", config.clone()).unwrap());
        let db = memory.unwrap_or_else(|| test.db.clone());
        db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (value)")?)).unwrap();
        let update = "INSERT INTO t VALUES (1)";
        for statement in [update, "BEGIN IMMEDIATE", "CREATE TABLE u (a)"] {
            let held = db.blocking().acquire().unwrap();
            let nested = db.blocking().write(move |_| Ok(held.execute(statement, [])?));
            assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{statement}: {nested:?}");
        }
        let held = db.blocking().acquire().unwrap();
        let nested = db.blocking().execute_pooled_transaction(|tx| {
            tx.execute(update, [])?;
            Ok(held.prepare_cached(update)?.execute([])?)
        });
        assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
        drop(held);
        // One that was put up with names no other error.
        let held = db.blocking().acquire().unwrap();
        let other = db.blocking().execute_pooled_transaction(|tx| {
            held.execute(update, []).expect_err("it would wait for ever");
            Ok(tx.execute("INSERT INTO t VALUES (1, 2)", [])?)
        });
        assert!(matches!(other, Err(Error::Sqlite(_))), "{other:?}");
        drop(held);
        db.blocking().write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).unwrap();
        assert_eq!(count(&db, "t").unwrap(), 1);
    }
}

#[test]
fn an_async_call_in_a_closure_that_has_what_it_would_wait_for_is_told_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let within = || runtime.handle().clone();
    let config = PoolConfig::builder().acquire_timeout(Duration::from_secs(600));
    let test = TestDb::new(config.clone().max_connections(3));
    test.fill(1);
    let write = |tx: &pool_manager::Transaction<'_>| Ok(tx.execute("UPDATE t SET value = value + 1", [])?);
    let (db, handle) = (test.db.clone(), within());
    let nested = test.db.blocking().write(move |_| handle.block_on(db.write(write)));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let (db, handle) = (test.db.clone(), within());
    let nested = runtime.block_on(test.db.execute_pooled_transaction(move |_| handle.block_on(db.write(write))));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let nested = test
        .db
        .blocking()
        .execute_pooled_transaction(|_| runtime.block_on(test.db.write_with(pool_manager::CallOptions::new(), write)));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let nested = test.db.blocking().execute_pooled_transaction(|_| runtime.block_on(test.db.read(|_| Ok(7))));
    assert_eq!(nested.unwrap(), 7, "reading beside is no problem");

    let (db, handle) = (test.db.clone(), within());
    let pooled = |conn: &Connection| Ok(conn.execute("UPDATE t SET value = value + 1", [])?);
    let nested = runtime.block_on(test.db.write(move |_| handle.block_on(db.execute_with_pool(pooled))));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");

    let test = TestDb::new(config.clone().max_connections(1));
    let nested = test.db.blocking().read(|_| runtime.block_on(test.db.read(|_| Ok(()))));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
    let db = test.db.clone();
    let nested = test.db.blocking().write(move |_| db.blocking().read(|_| Ok(())));
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");

    // In memory a reader keeps a writer out, and the other way round.
    let db = DatabaseManager::new().with_pooling(":memory:", config).unwrap();
    let rows = |_: &pool_manager::Transaction<'_>| {
        db.blocking().read_stream("SELECT 1", [], |row| row.get::<_, i64>(0)).collect()
    };
    let nested: Result<Vec<i64>> = db.blocking().execute_pooled_transaction(rows);
    assert!(matches!(nested, Err(Error::WouldDeadlock { .. })), "{nested:?}");
}
