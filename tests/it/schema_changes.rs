//! A statement that meets a changed schema is run again by SQLite, which does not say so: the rules hold for that run as well.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pool_manager::rusqlite::functions::FunctionFlags;
use pool_manager::{CallOptions, DatabaseManager, Error, PoolConfig};

use crate::support::{TestDb, count};

/// Tells whether somebody has the write lane, whatever locks SQLite has.
fn lane_is_held(db: &DatabaseManager) -> bool {
    let db = db.clone();
    let begins = move || {
        let options = CallOptions::new().timeout(Duration::from_millis(50));
        db.blocking().execute_with_pool_with(options, |conn| Ok(conn.execute_batch("BEGIN; ROLLBACK")?))
    };
    match std::thread::spawn(begins).join().unwrap() {
        Ok(()) => false,
        Err(Error::DeadlinePassed { .. } | Error::WriteLaneTimeout { .. }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_statement_that_is_run_again_for_a_new_schema_has_the_lane() {
    let folder = tempfile::tempdir().unwrap();
    let (path, manager) = (folder.path().join("test.sqlite"), Arc::new(OnceLock::<DatabaseManager>::new()));
    let asked = Arc::clone(&manager);
    let db = DatabaseManager::builder()
        .path(&path)
        .on_connect(move |conn| {
            let asked = Arc::clone(&asked);
            conn.create_scalar_function("held", 0, FunctionFlags::SQLITE_UTF8, move |_| {
                Ok(asked.get().is_some_and(lane_is_held))
            })?;
            Ok(())
        })
        .build()
        .unwrap();
    let held = db.blocking().acquire().unwrap();
    held.execute_batch("CREATE TABLE t (held)").unwrap();
    let insert = || held.prepare_cached("INSERT INTO t VALUES (held())").unwrap().execute([]).unwrap();
    let foreign = pool_manager::rusqlite::Connection::open(&path).unwrap();
    insert();
    manager.set(db.clone()).unwrap();
    insert();
    foreign.execute_batch("CREATE TABLE other (x)").unwrap();
    insert();
    let all: Vec<bool> = {
        let mut held = foreign.prepare("SELECT held FROM t ORDER BY rowid").unwrap();
        let all = held.query_map([], |row| row.get(0)).unwrap();
        all.map(Result::unwrap).collect()
    };
    assert_eq!(all, [false, true, true]);
    assert!(!lane_is_held(&db), "it is over");
    held.execute_batch("CREATE TABLE third (x); DROP TABLE third").unwrap();
    assert!(!lane_is_held(&db), "whoever changes the schema is done with the lane as well");
}

#[test]
fn a_write_that_a_read_closure_tries_stays_out_when_it_is_run_again_for_a_new_schema() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).min_connections(1));
    test.fill(1);
    let insert = |conn: &pool_manager::Connection| {
        Ok(conn.prepare_cached("INSERT INTO t (value) VALUES (7)")?.execute([]).map(drop)?)
    };
    test.db.blocking().execute_with_pool(insert).unwrap();
    let foreign = test.foreign();
    for (round, transaction) in [false, true].into_iter().enumerate() {
        foreign.execute_batch(&format!("CREATE TABLE other{round} (x)")).unwrap();
        let refused = test.db.blocking().read(|conn| {
            if transaction {
                conn.execute_batch("BEGIN")?;
                let tried = insert(conn);
                let _ = conn.execute_batch("COMMIT");
                return tried;
            }
            insert(conn)
        });
        // In a transaction the last statement of the closure is a later one.
        assert!(
            refused.as_ref().is_err_and(|error| transaction || matches!(error, Error::ReadOnly { .. })),
            "{refused:?}"
        );
        assert_eq!(count(&test.db, "t").unwrap(), 2);
    }
}
