//! What SQLite is told about each connection of a pool, as text.
//!
//! Owns the translation of settings into pragmas; it must not know connections. Invariant: what SQLite keeps per connection is in
//! here, so that two connections made with the same settings behave the same.

use pool_config::PoolConfig;

/// The pragmas of a pooled connection.
///
/// From <https://www.sqlite.org/pragma.html>. `cache_size` is per connection, so it is small: ten connections with SQLite's usual advice
/// of 64 MB each is how the original came to 2.9 times the memory. `mmap_size` is shared by the page cache of the operating system.
/// `wal_autocheckpoint` is not here but in `log`. A checkpoint leaves the log file as large as it was, for the next writers to use again; `journal_size_limit` cuts it to that
/// size when it is begun anew. -1 sets no limit.
pub(crate) fn of_connection(config: &PoolConfig) -> String {
    format!(
        "PRAGMA foreign_keys = {foreign_keys}; PRAGMA temp_store = MEMORY; PRAGMA synchronous = {synchronous}; \
         PRAGMA cache_size = -{cache_kib}; PRAGMA mmap_size = {mmap}; PRAGMA journal_size_limit = {log_limit};",
        foreign_keys = config.foreign_keys(),
        synchronous = config.synchronous(),
        cache_kib = config.page_cache_size().div_ceil(1024),
        mmap = config.mmap_size(),
        log_limit = config.wal_size_limit().map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    )
}

/// The pragmas of the anchor, which keeps no page cache. The page size comes before anything is written: a file that exists keeps its own.
pub(crate) fn of_anchor(page_size: u64) -> String {
    format!("PRAGMA cache_size = 1; PRAGMA temp_store = MEMORY; PRAGMA page_size = {page_size};")
}
