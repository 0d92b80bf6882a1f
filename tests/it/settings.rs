//! Each setting of the description: its default, and a test that shows its effect.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{DatabaseManager, Error, ManualClock, PoolConfig, PoolConfigBuilder};

use crate::support::{TestDb, eventually, logged};

fn timed(config: PoolConfigBuilder) -> (tempfile::TempDir, ManualClock, DatabaseManager) {
    let (folder, time) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let path = folder.path().join("a.sqlite");
    let db = DatabaseManager::builder().path(path).config(config).clock(time.clock()).build().unwrap();
    (folder, time, db)
}

#[test]
fn defaults_are_those_of_the_description() {
    let config = PoolConfig::default();
    assert_eq!(config.max_connections(), 10);
    assert_eq!(config.min_connections(), 2);
    assert_eq!(config.acquire_timeout(), Duration::from_millis(10_000));
    assert_eq!(config.idle_timeout(), Some(Duration::from_millis(30_000)));
    assert_eq!(config.reap_interval(), Duration::from_millis(10_000));
    assert_eq!(config.max_connection_age(), Some(Duration::from_millis(3_600_000)));
    assert!(config.enable_query_cache());
    assert_eq!(config.max_cache_size(), 1000);
    assert!(config.enable_statement_pooling());
    assert!(config.enable_health_checks());
    assert!(!config.enable_logging());
    assert_eq!(config.cache_ttl(), Duration::from_secs(300));
}

#[test]
fn max_connections_gives_ten_acquires_and_lets_the_eleventh_wait() {
    let test = TestDb::new(PoolConfig::builder().max_connections(10).acquire_timeout(Duration::from_millis(30)));
    test.fill(1);
    let held: Vec<_> = (0..10).map(|_| test.db.blocking().acquire().unwrap()).collect();
    for conn in &held {
        // Each of them may write while the others are held.
        conn.execute("UPDATE t SET value = value + 1", []).unwrap();
    }
    assert_eq!(held[0].query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 10);
    let error = test.db.blocking().acquire().expect_err("the eleventh");
    assert!(matches!(error, Error::AcquireTimeout { leased: 10, max_connections: 10, .. }), "{error}");
    assert!(error.to_string().starts_with("connection acquire timeout: waited"), "{error}");
}

#[test]
fn min_connections_are_there_before_anybody_asks() {
    let (_folder, _, db) = timed(PoolConfig::builder().min_connections(3));
    db.maintain();
    eventually("filled", || db.pool_stats().unwrap().idle_connections == 3);
    assert_eq!(db.pool_stats().unwrap().total_acquired, 0);
}

#[test]
fn acquire_timeout_bounds_the_waiting() {
    let (_folder, time, db) =
        timed(PoolConfig::builder().max_connections(1).min_connections(0).acquire_timeout(Duration::from_secs(7)));
    let held = db.blocking().acquire().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| db.blocking().acquire().map(drop));
        eventually("somebody waits", || db.pool_stats().unwrap().waiting_clients == 1);
        time.advance(Duration::from_millis(6_900));
        assert_eq!(db.pool_stats().unwrap().waiting_clients, 1, "not before its time");
        time.advance(Duration::from_millis(200));
        let error = waiter.join().unwrap().expect_err("its time is up");
        assert!(matches!(error, Error::AcquireTimeout { leased: 1, .. }), "{error}");
    });
    drop(held);
    let stats = db.pool_stats().unwrap();
    assert_eq!((stats.total_timeouts, stats.waiting_clients), (1, 0));
}

#[test]
fn idle_timeout_closes_what_nobody_uses() {
    let (_folder, time, db) = timed(PoolConfig::builder().min_connections(0).idle_timeout(Duration::from_secs(30)));
    drop((db.blocking().acquire().unwrap(), db.blocking().acquire().unwrap()));
    time.advance(Duration::from_secs(20));
    db.maintain();
    assert_eq!(db.pool_stats().unwrap().total_connections, 2);
    let used = db.blocking().acquire().unwrap();
    drop(used);
    time.advance(Duration::from_secs(15));
    db.maintain();
    assert_eq!(db.pool_stats().unwrap().total_connections, 1, "the one that was used stays");
    time.advance(Duration::from_secs(60));
    db.maintain();
    assert_eq!(db.pool_stats().unwrap().total_connections, 0);
}

#[test]
fn reap_interval_says_how_often_the_background_looks() {
    let (_folder, time, db) = timed(
        PoolConfig::builder()
            .min_connections(0)
            .idle_timeout(Duration::from_secs(1))
            .reap_interval(Duration::from_secs(10)),
    );
    db.maintain();
    drop(db.blocking().acquire().unwrap());
    time.advance(Duration::from_secs(9));
    assert_eq!(db.pool_stats().unwrap().total_connections, 1, "idle for too long, but nobody looked yet");
    time.advance(Duration::from_secs(2));
    eventually("the background closes it by itself", || db.pool_stats().unwrap().total_connections == 0);
}

#[test]
fn max_connection_age_replaces_old_connections() {
    let (_folder, time, db) = timed(
        PoolConfig::builder().min_connections(1).idle_timeout(None).max_connection_age(Duration::from_secs(3600)),
    );
    db.maintain();
    eventually("filled", || db.pool_stats().unwrap().idle_connections == 1);
    time.advance(Duration::from_secs(3000));
    db.maintain();
    assert_eq!(db.pool_stats().unwrap().total_created, 1);
    time.advance(Duration::from_secs(1500));
    eventually("replaced", || {
        // A connection whose health is being checked is found by the next round.
        db.maintain();
        let stats = db.pool_stats().unwrap();
        (stats.total_created, stats.idle_connections) == (2, 1)
    });
    let stats = db.pool_stats().unwrap();
    assert_eq!((stats.total_created, stats.total_destroyed, stats.total_connections), (2, 1, 1));
}

#[test]
fn enable_query_cache_off_runs_every_query() {
    for enabled in [true, false] {
        let test = TestDb::new(PoolConfig::builder().enable_query_cache(enabled));
        let runs = Arc::new(Mutex::new(0));
        for _ in 0..3 {
            let runs = Arc::clone(&runs);
            let query = move |_: &pool_manager::Connection| {
                *runs.lock() += 1;
                Ok(0_i64)
            };
            test.db.blocking().execute_cached("key", None, query).unwrap();
        }
        assert_eq!(*runs.lock(), if enabled { 1 } else { 3 });
        assert_eq!(test.db.pool_stats().unwrap().cache_hits, if enabled { 2 } else { 0 });
    }
}

#[test]
fn max_cache_size_bounds_the_results() {
    let test = TestDb::new(PoolConfig::builder().max_cache_size(5));
    for key in 0..50 {
        test.db.blocking().execute_cached(format!("key {key}"), None, move |_| Ok(key)).unwrap();
    }
    let entries = test.db.pool_stats().unwrap().cache_entries;
    assert!((1..=5).contains(&entries), "{entries}");
}

#[test]
fn cache_ttl_and_the_calls_own_time_expire_results() {
    let (_folder, time, db) = timed(PoolConfig::builder().cache_ttl_jitter(0.0));
    let ask = |ttl| {
        let query = |_: &pool_manager::Connection| Ok(0_i64);
        db.blocking().execute_cached("key", ttl, query).unwrap();
        db.pool_stats().unwrap().cache_misses
    };
    assert_eq!(ask(None), 1);
    time.advance(Duration::from_secs(299));
    assert_eq!(ask(None), 1, "five minutes are not over");
    time.advance(Duration::from_secs(2));
    assert_eq!(ask(Some(Duration::from_secs(10))), 2);
    time.advance(Duration::from_secs(11));
    assert_eq!(ask(None), 3, "ten seconds are");
}

#[test]
fn enable_statement_pooling_off_prepares_each_time() {
    for enabled in [true, false] {
        let test = TestDb::new(PoolConfig::builder().max_connections(1).enable_statement_pooling(enabled));
        let before = test.db.pool_stats().unwrap();
        for _ in 0..10 {
            test.db
                .blocking()
                .read(|conn| Ok(conn.prepare_cached("SELECT 1")?.query_row([], |row| row.get::<_, i64>(0))?))
                .unwrap();
        }
        let after = test.db.pool_stats().unwrap();
        let hits = after.statement_hits - before.statement_hits;
        assert_eq!(hits, if enabled { 9 } else { 0 });
    }
}

#[test]
fn enable_health_checks_replaces_a_connection_whose_file_was_replaced() {
    for enabled in [true, false] {
        let (folder, time, db) = timed(
            PoolConfig::builder()
                .min_connections(1)
                .idle_timeout(None)
                .max_connection_age(None)
                .enable_health_checks(enabled),
        );
        db.maintain();
        eventually("filled", || db.pool_stats().unwrap().idle_connections == 1);
        let path = folder.path().join("a.sqlite");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        pool_manager::rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE new (a)").unwrap();
        time.advance(Duration::from_secs(11));
        db.maintain();
        if !enabled {
            // Whoever acquires the connection looks, too, but nobody does.
            assert_eq!(db.pool_stats().unwrap().total_destroyed, 0);
            continue;
        }
        eventually("replaced", || db.pool_stats().unwrap().total_destroyed == 1);
        let tables = db
            .blocking()
            .read(|conn| Ok(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?))
            .unwrap();
        assert_eq!(tables, 1);
    }
}

#[test]
fn enable_logging_reports_what_the_pool_does() {
    for enabled in [true, false] {
        let text = logged(|| {
            let (folder, time, db) = timed(
                PoolConfig::builder()
                    .max_connections(1)
                    .min_connections(0)
                    .acquire_timeout(Duration::from_millis(20))
                    .slow_statement(Duration::from_millis(1))
                    .enable_logging(enabled),
            );
            let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT 'slow one', count(*) FROM n";
            db.blocking().read(|conn| Ok(conn.query_row(slow, [], |_| Ok(()))?)).unwrap();
            std::thread::scope(|scope| {
                let _held = db.blocking().acquire().unwrap();
                scope.spawn(|| {
                    eventually("somebody waits", || db.pool_stats().unwrap().waiting_clients == 1);
                    time.advance(Duration::from_millis(50));
                });
                db.blocking().acquire().expect_err("times out");
            });
            std::fs::remove_file(folder.path().join("a.sqlite")).unwrap();
            time.advance(Duration::from_secs(1));
            db.blocking().read(|_| Ok(())).expect_err("the file is gone");
        });
        let told = [
            "connection opened",
            "slow statement",
            "SELECT 'slow one'",
            "timed out waiting for a connection",
            "health check failed",
            "connection closed",
        ];
        for event in told {
            assert_eq!(text.contains(event), enabled, "{event:?} with enable_logging = {enabled}:\n{text}");
        }
    }
}

#[test]
fn max_waiters_refuses_who_comes_when_enough_wait() {
    let (_folder, time, db) = timed(PoolConfig::builder().max_connections(1).min_connections(0).max_waiters(1));
    let _held = db.blocking().acquire().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| db.blocking().acquire().map(drop));
        eventually("somebody waits", || db.pool_stats().unwrap().waiting_clients == 1);
        let refused = std::thread::scope(|scope| scope.spawn(|| db.blocking().acquire().map(drop)).join().unwrap());
        assert!(matches!(refused, Err(Error::TooManyWaiters { limit: 1 })), "{refused:?}");
        time.advance(Duration::from_secs(11));
        waiter.join().unwrap().expect_err("its time is up");
    });
}

#[test]
fn validate_after_idle_checks_before_handing_out() {
    for (setting, checked) in
        [(Some(Duration::from_secs(5)), true), (Some(Duration::from_secs(7)), false), (None, false)]
    {
        let (_folder, time, db) = timed(PoolConfig::builder().min_connections(0).validate_after_idle(setting));
        // The background's own check is over.
        db.maintain();
        drop(db.blocking().acquire().unwrap());
        let statements = || {
            let stats = db.pool_stats().unwrap();
            stats.statement_hits + stats.statement_misses
        };
        let before = statements();
        time.advance(Duration::from_secs(6));
        drop(db.blocking().acquire().unwrap());
        assert_eq!(statements() - before, u64::from(checked), "a check runs one statement: {setting:?}");
    }
}

#[test]
fn age_jitter_spreads_the_replacing() {
    for (jitter, spread) in [(0.0, false), (1.0, true)] {
        let (_folder, time, db) = timed(
            PoolConfig::builder()
                .max_connections(40)
                .min_connections(40)
                .idle_timeout(None)
                .max_connection_age(Duration::from_secs(1_000))
                .age_jitter(jitter),
        );
        db.maintain();
        eventually("filled", || db.pool_stats().unwrap().idle_connections == 40);
        time.advance(Duration::from_secs(500));
        db.maintain();
        let replaced = db.pool_stats().unwrap().total_destroyed;
        // That all of forty are on one side of the middle by chance happens once in 2^39 times.
        assert_eq!((1..40).contains(&replaced), spread, "{replaced} of 40 replaced at half the age");
    }
}

#[test]
fn track_holders_names_who_holds_longest() {
    for tracked in [true, false] {
        let (_folder, time, db) =
            timed(PoolConfig::builder().max_connections(1).min_connections(0).track_holders(tracked));
        let _held = db.blocking().acquire().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| db.blocking().acquire().map(drop));
            eventually("somebody waits", || db.pool_stats().unwrap().waiting_clients == 1);
            time.advance(Duration::from_secs(11));
            match waiter.join().unwrap() {
                Err(Error::AcquireTimeout { longest_holder, .. }) => {
                    assert_eq!(longest_holder.is_some_and(|holder| holder.contains("for 11s")), tracked);
                }
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn leak_threshold_reports_who_does_not_give_back_even_without_logging() {
    for threshold in [Some(Duration::from_secs(60)), None] {
        let text = logged(|| {
            let (_folder, time, db) = timed(PoolConfig::builder().leak_threshold(threshold));
            let _held = db.blocking().acquire().unwrap();
            time.advance(Duration::from_secs(59));
            db.maintain();
            tracing::info!("not before its time");
            time.advance(Duration::from_secs(2));
            db.maintain();
            db.maintain();
        });
        let (early, late) = text.split_once("not before its time").unwrap();
        assert!(!early.contains("held for very long"), "{text}");
        assert_eq!(late.matches("connection held for very long").count(), usize::from(threshold.is_some()), "{text}");
    }
}

/// Two statements run on one connection, then the second of them on another one; whether that found it prepared.
fn found_prepared(config: PoolConfigBuilder) -> [bool; 2] {
    let test = TestDb::new(config.min_connections(0));
    let run = |conn: &pool_manager::Connection, sql: &str| {
        conn.prepare_cached(sql).unwrap().query_row([], |_| Ok(())).unwrap();
    };
    let first = test.db.blocking().acquire().unwrap();
    for _ in 0..40 {
        run(&first, "SELECT 'hot'");
    }
    run(&first, "SELECT 'warm'");
    run(&first, "SELECT 'warm'");
    let second = test.db.blocking().acquire().unwrap();
    ["SELECT 'hot'", "SELECT 'warm'"].map(|sql| {
        let before = test.db.pool_stats().unwrap().statement_hits;
        run(&second, sql);
        test.db.pool_stats().unwrap().statement_hits > before
    })
}

#[test]
fn statement_warm_count_and_budget_bound_what_new_connections_prepare() {
    let (long, config) = (Duration::from_secs(60), PoolConfig::builder);
    assert_eq!(found_prepared(config().statement_warm_budget(long)), [true, true]);
    assert_eq!(found_prepared(config().statement_warm_budget(long).statement_warm_count(1)), [true, false]);
    assert_eq!(found_prepared(config().statement_warm_budget(long).statement_warm_count(0)), [false, false]);
    assert_eq!(found_prepared(config().statement_warm_budget(Duration::ZERO)), [false, false]);
}

#[test]
fn statement_registry_size_bounds_what_is_known() {
    for (size, known) in [(5, 1..=5), (100, 30..=100)] {
        let test = TestDb::new(PoolConfig::builder().statement_registry_size(size));
        for number in 0..30 {
            let sql = format!("SELECT {number}");
            test.db.blocking().read(|conn| Ok(conn.prepare_cached(&sql)?.query_row([], |_| Ok(()))?)).unwrap();
        }
        let statements = test.db.statements().len();
        assert!(known.contains(&statements), "{statements} with statement_registry_size = {size}");
    }
}

#[test]
fn max_cache_weight_bounds_the_bytes_of_results() {
    struct Own(String);
    let ask = |db: &DatabaseManager| {
        for key in 0..20 {
            db.blocking().execute_cached(format!("key {key}"), None, |_| Ok("x".repeat(10_000))).unwrap();
        }
        db.pool_stats().unwrap().cache_entries
    };
    let limited = ask(&TestDb::new(PoolConfig::builder().max_cache_weight(65_536)).db);
    assert!((1..=6).contains(&limited), "{limited} results of 10,000 bytes in 64 KiB");
    assert_eq!(ask(&TestDb::new(PoolConfig::builder().max_cache_weight(None)).db), 20);

    // What is larger alone is not kept; what a type of the program's own takes is for the program to say.
    let large = |db: &DatabaseManager| {
        db.blocking().execute_cached("large", None, |_| Ok(Own("x".repeat(100_000)))).unwrap();
        db.pool_stats().unwrap().cache_entries
    };
    let builder = || DatabaseManager::builder().path(":memory:").config(PoolConfig::builder().max_cache_weight(65_536));
    assert_eq!(large(&builder().build().unwrap()), 1, "its size is not known");
    assert_eq!(large(&builder().weigh_results(|own: &Own| own.0.capacity()).build().unwrap()), 0);
}

#[test]
fn cache_ttl_jitter_spreads_the_expiring() {
    for (jitter, spread) in [(0.0, false), (1.0, true)] {
        let (_folder, time, db) = timed(PoolConfig::builder().cache_ttl_jitter(jitter));
        let ask = || {
            for key in 0..40 {
                db.blocking().execute_cached(format!("key {key}"), None, |_| Ok(0_i64)).unwrap();
            }
            db.pool_stats().unwrap().cache_hits
        };
        assert_eq!(ask(), 0);
        time.advance(Duration::from_secs(150));
        let hits = ask();
        assert_eq!((1..40).contains(&hits), spread, "{hits} of 40 left at half the time");
    }
}

#[test]
fn cache_shards_change_nothing_but_locks() {
    for shards in [0, 1, 64] {
        let test = TestDb::new(PoolConfig::builder().cache_shards(shards).max_cache_size(10));
        for key in 0..100 {
            test.db.blocking().execute_cached(format!("key {key}"), None, move |_| Ok(key)).unwrap();
        }
        let entries = test.db.pool_stats().unwrap().cache_entries;
        assert!((1..=10).contains(&entries), "{entries} with {shards} parts");
    }
}

#[test]
fn foreign_keys_says_whether_sqlite_enforces_them() {
    for enforced in [true, false] {
        let test = TestDb::new(PoolConfig::builder().foreign_keys(enforced));
        let orphan = test.db.blocking().write(|tx| {
            tx.execute_batch("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a REFERENCES a)")?;
            Ok(tx.execute("INSERT INTO b VALUES (7)", [])?)
        });
        assert_eq!(orphan.is_err(), enforced);
    }
}

#[test]
fn page_size_is_that_of_a_file_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let size = |bytes| {
        let db = DatabaseManager::new().with_pooling(&path, PoolConfig::builder().page_size(bytes)).unwrap();
        let sql = "PRAGMA page_size";
        let size = db.blocking().read(|conn| Ok(conn.query_row(sql, [], |row| row.get::<_, u64>(0))?)).unwrap();
        db.blocking().close_pool().unwrap();
        size
    };
    assert_eq!(size(16_384), 16_384);
    assert_eq!(size(8_192), 16_384, "a file that exists keeps its own");
}

fn file_size(test: &TestDb, suffix: &str) -> u64 {
    std::fs::metadata(format!("{}{suffix}", test.path().display())).unwrap().len()
}

fn write_a_megabyte(test: &TestDb) {
    let write = "CREATE TABLE IF NOT EXISTS large (a); INSERT INTO large VALUES (zeroblob(1000000))";
    test.db.blocking().write(|tx| Ok(tx.execute_batch(write)?)).unwrap();
}

#[test]
fn wal_autocheckpoint_moves_the_log_into_the_file() {
    for (pages, moved) in [(10, true), (0, false), (100_000, false)] {
        let test = TestDb::new(PoolConfig::builder().wal_autocheckpoint(pages));
        write_a_megabyte(&test);
        assert_eq!(file_size(&test, "") > 1_000_000, moved, "with wal_autocheckpoint = {pages}");
    }
}

#[test]
fn wal_size_limit_empties_a_log_that_nothing_else_does() {
    let test = TestDb::new(PoolConfig::builder().wal_autocheckpoint(0).wal_size_limit(None));
    write_a_megabyte(&test);
    assert!(file_size(&test, "-wal") > 1_000_000);
    let test = TestDb::new(PoolConfig::builder().wal_autocheckpoint(0).wal_size_limit(100_000));
    write_a_megabyte(&test);
    eventually("the log is emptied", || file_size(&test, "-wal") == 0);
    assert!(file_size(&test, "") > 1_000_000);
}

#[test]
fn wal_size_limit_waits_for_readers_and_tries_again() {
    let config = PoolConfig::builder().wal_autocheckpoint(0).wal_size_limit(100_000);
    let test = TestDb::new(config.checkpoint_timeout(Duration::from_millis(20)));
    write_a_megabyte(&test);
    eventually("the log is emptied", || file_size(&test, "-wal") == 0);
    let reader = test.foreign();
    reader.execute_batch("BEGIN; SELECT count(*) FROM large").unwrap();
    let rows = |conn: &pool_manager::rusqlite::Connection| {
        conn.query_row("SELECT count(*) FROM large", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(&reader), 1);
    write_a_megabyte(&test);
    assert_eq!(rows(&reader), 1, "its snapshot stays");
    reader.execute_batch("COMMIT").unwrap();
    // The log has to grow before it is tried again, unless the first try is still under way.
    eventually("the log is emptied", || {
        write_a_megabyte(&test);
        (0..100_000).any(|_| {
            std::thread::yield_now();
            file_size(&test, "-wal") == 0
        })
    });
}

#[test]
fn checkpoint_timeout_bounds_the_waiting_for_readers() {
    for (config, bound) in [
        (PoolConfig::builder(), "checkpoint_timeout=200ms"),
        (PoolConfig::builder().checkpoint_timeout(Duration::from_millis(3)), "checkpoint_timeout=3ms"),
    ] {
        let test = TestDb::new(config);
        test.fill(1);
        let reader = test.foreign();
        let mut open = reader.prepare("SELECT value FROM t").unwrap();
        let mut rows = open.query([]).unwrap();
        rows.next().unwrap();
        test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = 2", [])?)).unwrap();
        let text = logged(|| test.db.blocking().close_pool().unwrap());
        assert!(text.contains("the log stays") && text.contains(bound), "{text}");
    }
    // A reader that leaves in time is waited for.
    let test = TestDb::new(PoolConfig::builder().checkpoint_timeout(Duration::from_secs(600)));
    test.fill(1);
    let reader = test.foreign();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT value FROM t", [], |_| Ok(())).unwrap();
    let observer = test.foreign();
    observer.busy_timeout(Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| logged(|| test.db.blocking().close_pool().unwrap()));
        // While it waits nobody can write.
        eventually("the checkpoint waits", || observer.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err());
        reader.execute_batch("COMMIT").unwrap();
        let text = closing.join().unwrap();
        assert!(!text.contains("the log stays"), "{text}");
    });
}

#[test]
fn long_read_reports_statements_that_pinned_the_log() {
    for threshold in [Some(Duration::from_millis(1)), None, Some(Duration::from_secs(3_600))] {
        let text = logged(|| {
            let test = TestDb::new(PoolConfig::builder().long_read(threshold));
            let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT 'long one', count(*) FROM n";
            test.db.blocking().read(|conn| Ok(conn.query_row(long, [], |_| Ok(()))?)).unwrap();
        });
        let told = threshold == Some(Duration::from_millis(1));
        assert_eq!(text.contains("long read") && text.contains("'long one'"), told, "{text}");
    }
}
