//! Settings that change while the pool is in use: by call, and by a file that is watched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_manager::{
    DatabaseManager, Error, Key, LiveConfig, PoolConfig, PoolConfigBuilder, Preset, Reload, WatchOptions,
};

use crate::support::{TestDb, count, eventually, logged};

fn pragma(db: &DatabaseManager, name: &str) -> i64 {
    let sql = format!("PRAGMA {name}");
    db.blocking().read(|conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?)).unwrap()
}

/// Writes a file as programs should: whole or not at all.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn live_db(text: &str, after: PoolConfigBuilder) -> (tempfile::TempDir, LiveConfig, DatabaseManager) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.toml");
    write(&file, text);
    let live = PoolConfig::builder().file(&file).live().unwrap();
    let builder = DatabaseManager::builder().path(folder.path().join("a.sqlite")).live(live.clone()).config(after);
    (folder, live, builder.build().unwrap())
}

#[test]
fn a_watched_file_moves_max_connections_up_and_down_under_load() {
    let (folder, live, db) = live_db("max_connections = 2\nmin_connections = 0", PoolConfig::builder());
    let file = folder.path().join("pool.toml");
    let refusals = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&refusals);
    let _subscription = live.subscribe(move |reload| {
        if matches!(reload, Reload::Refused(_)) {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    let options = WatchOptions::default().every(Duration::from_millis(5)).settle(Duration::ZERO);
    let _watch = live.watch_with(options).unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?)).unwrap();

    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(count(&db, "t").unwrap(), 1, "no call notices anything");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let stats = || db.pool_stats().unwrap();
        // Two are held for the whole test, so everybody else waits, until the file says six.
        let held = [db.blocking().acquire().unwrap(), db.blocking().acquire().unwrap()];
        held[0].execute_batch("CREATE TEMP TABLE mine (a); BEGIN").unwrap();
        eventually("all wait", || stats().waiting_clients == 4);
        let before = calls.load(Ordering::Relaxed);
        write(&file, "max_connections = 6\nmin_connections = 0");
        eventually("waiters are woken", || calls.load(Ordering::Relaxed) > before + 100);
        eventually("figures agree", || stats().max_connections == 6);
        assert_eq!(db.config().max_connections(), 6);

        // A broken file changes nothing, and is told of once.
        write(&file, "max_connections = 0");
        eventually("it is refused", || refusals.load(Ordering::Relaxed) == 1);
        assert!(live.reload().is_err() && live.reload().is_err());
        assert_eq!(refusals.load(Ordering::Relaxed), 1);
        assert_eq!((stats().max_connections, db.config().max_connections()), (6, 6));
        let before = calls.load(Ordering::Relaxed);
        eventually("work goes on", || calls.load(Ordering::Relaxed) > before + 100);

        // Down to fewer than are held: those stay until they come back.
        write(&file, "max_connections = 1\nmin_connections = 0");
        eventually("figures agree", || stats().max_connections == 1);
        eventually("what is not held is closed", || stats().total_connections == 2);
        eventually("all wait", || stats().waiting_clients == 4);
        assert_eq!(stats().active_connections, 2);
        held[0].execute("INSERT INTO mine VALUES (1)", []).unwrap();
        assert_eq!(held[0].query_row("SELECT count(*) FROM mine", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        assert!(!held[0].is_autocommit(), "its transaction is open still");
        let before = calls.load(Ordering::Relaxed);
        drop(held);
        eventually("waiters share the one that is left", || calls.load(Ordering::Relaxed) > before + 100);
        assert!(stats().total_connections <= 1);
        stop.store(true, Ordering::Relaxed);
    });
    let stats = db.pool_stats().unwrap();
    assert_eq!((stats.total_timeouts, stats.waiting_clients, stats.active_connections), (0, 0, 0));
    assert_eq!(stats.total_acquired, stats.total_released);
}

#[test]
fn what_code_says_after_the_file_wins_over_it() {
    let (folder, live, db) = live_db("max_connections = 5\nmax_waiters = 7", PoolConfig::builder().max_connections(3));
    assert_eq!((db.config().max_connections(), db.config().max_waiters()), (3, Some(7)));
    write(&folder.path().join("pool.toml"), "max_connections = 9\nmax_waiters = 8");
    live.reload().unwrap();
    assert_eq!((db.config().max_connections(), db.config().max_waiters()), (3, Some(8)));
    // Allowed in itself, but not with what the code says.
    write(&folder.path().join("pool.toml"), "max_connections = 9\nmin_connections = 4\nmax_waiters = 9");
    let text = logged(|| live.reload().unwrap());
    assert!(text.contains("settings refused") && text.contains("min_connections"), "{text}");
    assert_eq!(db.config().max_waiters(), Some(8));
}

#[test]
fn a_refused_file_is_logged_once_and_a_change_with_its_origin() {
    let (folder, live, db) = live_db("max_connections = 5", PoolConfig::builder());
    let file = folder.path().join("pool.toml");
    write(&file, "max_conections = 9");
    let text = logged(|| {
        live.reload().unwrap_err();
        live.reload().unwrap_err();
    });
    assert_eq!(text.matches("settings refused; the old ones hold").count(), 1, "{text}");
    write(&file, "max_connections = 9\npage_size = 8192");
    let text = logged(|| live.reload().unwrap());
    assert!(text.contains("max_connections: 5 -> 9, from"), "{text}");
    assert!(text.contains("this setting waits until the pool is opened anew") && text.contains("page_size"), "{text}");
    write(&file, "max_connections = 10\npage_size = 8192");
    let text = logged(|| live.reload().unwrap());
    assert!(!text.contains("this setting waits"), "told of once: {text}");
    assert_eq!(db.config().page_size(), 4_096);
    assert_eq!(db.config().overridden(Key::PageSize)[0].value.to_string(), "8 KiB");
}

#[test]
fn a_closed_pool_follows_no_more() {
    let (folder, live, db) = live_db("max_connections = 5", PoolConfig::builder());
    db.blocking().close_pool().unwrap();
    write(&folder.path().join("pool.toml"), "max_connections = 9");
    let text = logged(|| live.reload().unwrap());
    assert_eq!(text, "");
    assert_eq!(db.config().max_connections(), 5);
    assert!(matches!(db.reconfigure(PoolConfig::builder()), Err(Error::Closed { .. })));
}

#[test]
fn connections_made_with_other_settings_are_replaced_when_handed_out_next() {
    let test = TestDb::new(PoolConfig::builder().max_connections(2).min_connections(0));
    test.fill(1);
    let held = test.db.blocking().acquire().unwrap();
    held.execute_batch("BEGIN; UPDATE t SET value = 5").unwrap();
    let cache = pragma(&test.db, "cache_size");
    let created = test.db.pool_stats().unwrap().total_created;
    test.db.reconfigure(PoolConfig::builder().max_connections(2).min_connections(0).page_cache_size(1 << 20)).unwrap();
    assert_eq!((cache, pragma(&test.db, "cache_size")), (-2_048, -1_024));
    held.execute_batch("COMMIT").unwrap();
    assert_eq!(
        held.query_row("PRAGMA cache_size", [], |row| row.get::<_, i64>(0)).unwrap(),
        cache,
        "in use: as it was"
    );
    assert_eq!(test.db.pool_stats().unwrap().total_created, created + 1);
    drop(held);
    let both = [test.db.blocking().acquire().unwrap(), test.db.blocking().acquire().unwrap()];
    for conn in &both {
        assert_eq!(conn.query_row("PRAGMA cache_size", [], |row| row.get::<_, i64>(0)).unwrap(), -1_024);
    }
    drop(both);
    // What connections are not made with leaves them alone.
    let created = test.db.pool_stats().unwrap().total_created;
    let config = test.db.config();
    let config = PoolConfig::builder().layer(&*config).busy_timeout(Duration::from_secs(1)).max_cache_size(7);
    test.db.reconfigure(config).unwrap();
    count(&test.db, "t").unwrap();
    assert_eq!(test.db.pool_stats().unwrap().total_created, created);
}

#[test]
fn statement_pooling_the_query_cache_and_logging_follow_the_settings() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).min_connections(0));
    let db = &test.db;
    let hits = || {
        let before = db.pool_stats().unwrap().statement_hits;
        for _ in 0..3 {
            db.blocking().read(|conn| Ok(conn.prepare_cached("SELECT 1")?.query_row([], |_| Ok(()))?)).unwrap();
        }
        db.pool_stats().unwrap().statement_hits - before
    };
    let fill_cache = || {
        for key in 0..20 {
            db.blocking().execute_cached(format!("key {key}"), None, |_| Ok(0_i64)).unwrap();
        }
        db.pool_stats().unwrap().cache_entries
    };
    assert!(hits() >= 2);
    assert_eq!(fill_cache(), 20);
    let off = PoolConfig::builder().max_connections(1).min_connections(0);
    db.reconfigure(off.clone().enable_statement_pooling(false).max_cache_size(5)).unwrap();
    assert!(db.pool_stats().unwrap().cache_entries <= 5, "at once");
    assert_eq!(hits(), 0);
    db.reconfigure(off.clone().enable_query_cache(false)).unwrap();
    assert_eq!(fill_cache(), 0);
    let text = logged(|| {
        db.reconfigure(off.enable_logging(true).synchronous(pool_manager::Synchronous::Full)).unwrap();
        assert!(hits() >= 2);
    });
    assert!(text.contains("connection opened") && text.contains("connection closed"), "{text}");
    assert_eq!(fill_cache(), 20);
}

#[test]
fn refused_settings_change_nothing() {
    let test = TestDb::new(PoolConfig::builder().max_connections(4));
    let before = test.db.config();
    let refused = test.db.reconfigure(PoolConfig::builder().max_connections(3).min_connections(7).max_cache_size(0));
    assert!(matches!(refused, Err(Error::Config(_))), "{refused:?}");
    assert!(Arc::ptr_eq(&before, &test.db.config()));
    assert_eq!(test.db.pool_stats().unwrap().max_connections, 4);
    assert!(test.db.reconfigure(PoolConfig::builder().max_connections(4)).unwrap().is_none(), "the same values");
    let change = test.db.reconfigure(Preset::HighThroughput).unwrap().expect("it differs");
    assert!(change.keys.iter().any(|changed| changed.key == Key::MaxConnections));
    assert_eq!(test.db.config().synchronous(), pool_manager::Synchronous::Normal, "not of the preset");
}
