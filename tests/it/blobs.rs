//! Handles for incremental BLOBs: what they write is in no cached result any more, and they write only where others may.

use std::io::{Read, Write};

use pool_manager::rusqlite::params;
use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, Result};

use crate::support::TestDb;

const SCHEMA: &str = "
    CREATE TABLE file (id INTEGER PRIMARY KEY, \"the `content`\" BLOB NOT NULL);
    INSERT INTO file VALUES (1, x'0000'), (2, x'0000');
    CREATE TABLE other (id INTEGER PRIMARY KEY, value);
    INSERT INTO other VALUES (1, 0);
";
const COLUMN: &str = "the `content`";

fn database(config: pool_manager::PoolConfigBuilder) -> TestDb {
    let test = TestDb::new(config);
    test.db.blocking().transaction(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    test
}

fn put(conn: &Connection, row: i64, bytes: &[u8]) -> Result<()> {
    conn.blob_open("main", "File", COLUMN, row, false)?.write_all(bytes).map_err(Error::application)
}

fn contents(db: &DatabaseManager) -> Vec<Vec<u8>> {
    let all = "SELECT \"the `content`\" FROM file ORDER BY id";
    (*db.blocking().query_cached(all, [], |row| row.get::<_, Vec<u8>>(0)).unwrap()).clone()
}

fn content(db: &DatabaseManager, row: i64) -> Vec<u8> {
    let one = "SELECT \"the `content`\" FROM file WHERE id = ?1";
    let found = db.blocking().query_cached(one, params![row], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    found[0].clone()
}

fn through_handle(db: &DatabaseManager) -> Vec<u8> {
    let read = |conn: &Connection| {
        let mut bytes = Vec::new();
        let mut handle = conn.blob_open("main", "file", COLUMN, 1, true)?;
        handle.read_to_end(&mut bytes).map_err(Error::application)?;
        Ok(bytes)
    };
    (*db.blocking().execute_cached("through a handle", None, read).unwrap()).clone()
}

#[test]
fn what_is_written_through_a_handle_makes_cached_results_of_its_table_stale() {
    let test = database(PoolConfig::builder().min_connections(1).max_connections(1));
    for round in 0..8_u8 {
        let before = [contents(&test.db), vec![content(&test.db, 1), content(&test.db, 2)]];
        assert_eq!(before[0], before[1]);
        assert_eq!(through_handle(&test.db), before[0][0]);
        // The handle and a write that is told with its row: by itself that would say that only `other` was written.
        let work = move |conn: &Connection| {
            conn.prepare_cached("UPDATE other SET value = ?1 WHERE id = 1")?.execute([round])?;
            put(conn, 1, &[round + 1; 2])
        };
        if round % 2 == 0 {
            test.db.blocking().write(move |tx| work(tx)).unwrap();
        } else {
            let held = test.db.blocking().acquire().unwrap();
            held.execute_batch("BEGIN").unwrap();
            work(&held).unwrap();
            held.execute_batch("COMMIT").unwrap();
        }
        let now = vec![vec![round + 1; 2], vec![0; 2]];
        assert_eq!([contents(&test.db), vec![content(&test.db, 1), content(&test.db, 2)]], [now.clone(), now.clone()]);
        assert_eq!(through_handle(&test.db), now[0], "round {round}");
    }
}

#[test]
fn a_handle_writes_in_transactions_only_and_not_where_only_reading_is_allowed() {
    let test = database(PoolConfig::builder().max_connections(3));
    let db = test.db.blocking();
    let outside = db.execute_with_pool(|conn| put(conn, 1, b"ab")).unwrap_err();
    assert!(matches!(outside, Error::NoTransaction { .. }), "{outside:?}");
    for begins in [false, true] {
        let refused = db.read(move |conn| {
            if begins {
                conn.execute_batch("BEGIN")?;
            }
            put(conn, 1, b"ab")
        });
        assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    }
    let missing = db.write(|tx| tx.blob_open("main", "file", "nothing", 1, false).map(drop)).unwrap_err();
    assert!(missing.to_string().contains("nothing"), "{missing}");
    assert_eq!(contents(&test.db), [[0; 2]; 2]);
}

#[test]
fn a_handle_that_writes_waits_for_the_write_lane() {
    let test = database(PoolConfig::builder().max_connections(3).acquire_timeout(std::time::Duration::from_millis(20)));
    let [first, second] = [(); 2].map(|()| test.db.blocking().acquire().unwrap());
    first.execute_batch("BEGIN").unwrap();
    put(&first, 1, b"ab").unwrap();
    let waited = second.execute_batch("BEGIN").map_err(|error| second.explain(error)).unwrap_err();
    assert!(matches!(waited, Error::WriteLaneTimeout { .. } | Error::WouldDeadlock { .. }), "{waited:?}");
    first.execute_batch("COMMIT").unwrap();
    second.execute_batch("BEGIN").unwrap();
    put(&second, 2, b"cd").unwrap();
    second.execute_batch("COMMIT").unwrap();
    assert_eq!(contents(&test.db), [b"ab", b"cd"]);
}
