//! Each setting of the description: its default, and a test that shows its effect.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{DatabaseManager, Error, ManualClock, PoolConfig, PoolConfigBuilder};

use crate::support::{TestDb, eventually};

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
    db.maintain();
    eventually("replaced", || db.pool_stats().unwrap().idle_connections == 1);
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
    let (_folder, time, db) = timed(PoolConfig::builder());
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
        let tables = db
            .blocking()
            .read(|conn| Ok(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?))
            .unwrap();
        assert_eq!(tables, i64::from(enabled));
    }
}

/// Collects what is logged, for one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn enable_logging_reports_what_the_pool_does() {
    for enabled in [true, false] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let text = tracing::subscriber::with_default(subscriber, || {
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
            String::from_utf8(log.0.lock().clone()).unwrap()
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
