//! The hot paths of the lower crates.

use std::{convert::Infallible, hint::black_box, sync::Arc};

use pool_cache::TtlCache;
use pool_core::Pool;
use pool_manager::rusqlite::Connection;
use pool_stmt::{StatementRegistry, rusqlite::StatementConnection};

/// Something that costs nothing to open.
struct Nothing;

impl pool_core::Manager for Nothing {
    type Connection = u64;
    type Error = Infallible;

    async fn open(&self) -> Result<u64, Infallible> {
        Ok(7)
    }
}

/// Takes a connection that is idle and gives it back.
pub fn acquire_release(times: u64) {
    let pool = Pool::builder(Nothing).max_connections(10).min_connections(2).build().expect("valid settings");
    assert_eq!(*pool.acquire_blocking().expect("a connection"), 7);
    for _ in 0..times {
        black_box(&mut pool.acquire_blocking().expect("a connection"));
    }
}

/// Asks for keys that are there.
pub fn cache_hit(times: u64) {
    const KEYS: u64 = 1_000;
    let cache = TtlCache::<u64, u64>::builder().max_entries(2 * KEYS as usize).build().expect("valid settings");
    (0..KEYS).for_each(|key| assert!(cache.insert(key, key)));
    for key in (0..KEYS).cycle().take(times as usize) {
        assert_eq!(cache.get(black_box(&key)).as_deref(), Some(&key));
    }
}

/// Takes a kept statement by its text and gives it back.
pub fn statement_lookup(times: u64) {
    let conn = Connection::open_in_memory().expect("a connection");
    let conn = StatementConnection::new(conn, Arc::new(StatementRegistry::default()), 64);
    let texts: Vec<String> = (0..20).map(|number| format!("SELECT {number} + ?1")).collect();
    for text in &texts {
        drop(conn.prepare_cached(text).expect("a statement"));
    }
    for text in texts.iter().cycle().take(times as usize) {
        black_box(&mut conn.prepare_cached(black_box(text)).expect("a statement"));
    }
}
