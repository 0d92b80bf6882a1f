//! The one table of keys: name, camel-case name, kind, range, default and meaning of every setting.
//!
//! Owns what exists and what is allowed; it must not know where values come from.
//! Invariant: a key is declared here and nowhere else. [`Key`](crate::Key), the getters of
//! [`PoolConfig`](crate::PoolConfig), the setters of [`PoolConfigBuilder`](crate::PoolConfigBuilder), the checks,
//! the names of environment variables, the error texts, the schema and the example file are all made from these rows.

use std::time::Duration;

pub(crate) const fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const fn mins(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

pub(crate) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

pub(crate) const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

pub(crate) const fn kib(count: u64) -> u64 {
    count << 10
}

pub(crate) const fn mib(count: u64) -> u64 {
    count << 20
}

pub(crate) const fn gib(count: u64) -> u64 {
    count << 30
}

/// Hands every row of the table to the macro named by the caller.
///
/// A row reads: doc lines, `name "camelName" Variant: kind(limits) = default`, and `reopen` at its end where an open
/// pool cannot take a new value over. The order is that of [`Section`](crate::Section).
macro_rules! with_keys {
    ($callback:ident) => {
        $callback! {
            /// Limits how many connections are open at the same time.
            max_connections "maxConnections" MaxConnections: count("connections", 1, 4_096) = 10;

            /// Keeps at least this many connections open, even when nobody uses them.
            ///
            /// Zero lets the pool become empty. Must not be above `max_connections`; the default gives way to a smaller one.
            min_connections "minConnections" MinConnections: count("connections", 0, 4_096) = 2;

            /// Limits how long a caller waits for a connection before it gets an error.
            acquire_timeout "acquireTimeout" AcquireTimeout: time(millis(1), days(365)) = secs(10);

            /// Limits how many callers may wait for a connection at once; further ones get an error right away.
            ///
            /// Zero lets nobody wait. `None`, in text `"unlimited"`, sets no limit.
            max_waiters "maxWaiters" MaxWaiters: limit("callers", 0, 1_000_000_000) = None;

            /// Closes a connection that nobody used for this long.
            ///
            /// `None`, in text `"never"` or `"off"`, keeps idle connections for ever.
            idle_timeout "idleTimeout" IdleTimeout: lasting(millis(1), days(365)) = Some(secs(30));

            /// Spaces the rounds in which idle, aged and broken connections are looked for.
            reap_interval "reapInterval" ReapInterval: time(millis(1), days(365)) = secs(10);

            /// Replaces a connection that was opened this long ago.
            ///
            /// `None`, in text `"never"` or `"off"`, lets connections grow old without limit.
            max_connection_age "maxConnectionAge" MaxConnectionAge: lasting(millis(1), days(365)) = Some(hours(1));

            /// Shortens the allowed age of each connection by up to this share of it, at random.
            ///
            /// Connections that were opened together are then not replaced together. Zero turns this off.
            age_jitter "ageJitter" AgeJitter: share() = 0.1;

            /// Switches the health checks of idle connections on or off.
            enable_health_checks "enableHealthChecks" EnableHealthChecks: flag() = true;

            /// Checks a connection before it is handed out when nobody used it for at least this long.
            ///
            /// Zero checks before every use. `None`, in text `"never"` or `"off"`, leaves checking to the rounds of
            /// `reap_interval`. Needs `enable_health_checks`.
            validate_after_idle "validateAfterIdle" ValidateAfterIdle: lasting(millis(0), days(365)) = Some(millis(500));

            /// Remembers who holds each connection, so that errors of those who wait can name the longest holder.
            track_holders "trackHolders" TrackHolders: flag() = false;

            /// Reports a connection that was not given back for this long, once for each use.
            ///
            /// Turns `track_holders` on. `None`, in text `"never"` or `"off"`, reports none.
            leak_threshold "leakThreshold" LeakThreshold: lasting(millis(1), days(365)) = None;

            /// Limits how long closing waits for connections that are still in use.
            close_timeout "closeTimeout" CloseTimeout: time(millis(1), days(365)) = secs(10);

            /// Switches the reuse of prepared statements on or off.
            enable_statement_pooling "enableStatementPooling" EnableStatementPooling: flag() = true;

            /// Limits how many prepared statements each connection keeps.
            statement_cache_size "statementCacheSize" StatementCacheSize: count("statements", 1, 100_000) = 64;

            /// Prepares up to this many of the most used statements on every new connection.
            ///
            /// Zero prepares none. Must not be above `statement_cache_size`; the default gives way to a smaller one.
            statement_warm_count "statementWarmCount" StatementWarmCount: count("statements", 0, 100_000) = 32;

            /// Limits how long a new connection prepares statements before it is handed out.
            ///
            /// Zero prepares none.
            statement_warm_budget "statementWarmBudget" StatementWarmBudget: time(millis(0), mins(1)) = millis(1);

            /// Limits of how many statement texts the pool remembers what they read and write.
            statement_registry_size "statementRegistrySize" StatementRegistrySize: count("statements", 1, 1_000_000) = 1_024, reopen;

            /// Plans statements without looking at the values of their parameters, so that they stay prepared whatever the values are.
            ///
            /// Otherwise SQLite prepares a statement again for each new value of a parameter that can change its plan: in `LIMIT ?`, in
            /// `LIKE ?`, beside a column of which `ANALYZE` took samples. The price is that `LIKE ?` can't search an index.
            stable_query_plans "stableQueryPlans" StableQueryPlans: flag() = false;

            /// Switches the cache of query results on or off.
            enable_query_cache "enableQueryCache" EnableQueryCache: flag() = true;

            /// Limits how many query results the cache holds.
            max_cache_size "maxCacheSize" MaxCacheSize: count("results", 1, 100_000_000) = 1_000;

            /// Limits how many bytes all cached query results together take.
            ///
            /// What a result takes is an estimate: its own size and what it is known to own. For types of its own the
            /// program can tell how much that is; else what they own is not counted.
            ///
            /// A result that is larger alone is not cached. `None`, in text `"unlimited"`, leaves the limit to
            /// `max_cache_size`.
            max_cache_weight "maxCacheWeight" MaxCacheWeight: bound(kib(1), gib(1_024)) = Some(mib(64));

            /// Limits how long a cached query result is served.
            cache_ttl "cacheTtl" CacheTtl: time(millis(1), days(365)) = mins(5);

            /// Shortens the time that each query result is cached by up to this share of it, at random.
            ///
            /// Results that were stored together are then not computed anew together. Zero turns this off.
            cache_ttl_jitter "cacheTtlJitter" CacheTtlJitter: share() = 0.1;

            /// Splits the cache of query results into this many parts, each with a lock of its own.
            ///
            /// Zero chooses by the size of the cache and by what the machine can run at once. Rounded up to a power of two.
            cache_shards "cacheShards" CacheShards: count("parts", 0, 4_096) = 0, reopen;

            /// Chooses when the cache of query results finds out what other processes have committed.
            ///
            /// `strict` looks at every hit, `poll` every `external_poll_interval`, `none` does not look. Commits of this
            /// process are never missed. Outside WAL mode a file is always looked at.
            external_writers "externalWriters" ExternalWriters: external_writers() = ExternalWriters::Strict;

            /// Limits how long a hit may miss what another process has committed, where `external_writers` is `poll`.
            external_poll_interval "externalPollInterval" ExternalPollInterval: time(millis(1), days(365)) = secs(1);

            /// Chooses how hard SQLite makes sure that a commit reached the disk.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
            synchronous "synchronous" Synchronous: synchronous() = Synchronous::Normal;

            /// Limits how long SQLite waits for a lock that another process holds.
            ///
            /// SQLite counts whole milliseconds in a 32-bit integer, hence the upper limit:
            /// <https://www.sqlite.org/c3ref/busy_timeout.html>.
            busy_timeout "busyTimeout" BusyTimeout: time(millis(1), days(24)) = secs(5);

            /// Switches on or off that SQLite enforces foreign keys.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_foreign_keys>.
            foreign_keys "foreignKeys" ForeignKeys: flag() = true, reopen;

            /// Sets the page size of a database file that is made anew; a file that exists keeps its own.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_page_size>.
            page_size "pageSize" PageSize: power_of_two(512, kib(64)) = kib(4), reopen;

            /// Limits the page cache of each connection, in bytes.
            ///
            /// Source: <https://www.sqlite.org/pragma.html#pragma_cache_size>.
            page_cache_size "pageCacheSize" PageCacheSize: size(kib(64), gib(1_024)) = mib(2);

            /// Limits how many bytes of the database file each connection reads through a memory map.
            ///
            /// Zero switches the map off. SQLite's build limit is the upper end:
            /// <https://www.sqlite.org/pragma.html#pragma_mmap_size>.
            mmap_size "mmapSize" MmapSize: size(0, 0x7fff_0000) = mib(256);

            /// Moves the write-ahead log into the database file whenever the log holds this many pages.
            ///
            /// Zero leaves it to closing and to `wal_size_limit`. Source:
            /// <https://www.sqlite.org/pragma.html#pragma_wal_autocheckpoint>.
            wal_autocheckpoint "walAutocheckpoint" WalAutocheckpoint: count("pages", 0, 0x7fff_ffff) = 1_000;

            /// Empties the write-ahead log when it is larger than this after a commit.
            ///
            /// Emptying waits up to `checkpoint_timeout` for those who read from the log; if they take longer, the log stays
            /// and is tried again when it has grown by this much more. `None`, in text `"unlimited"`, sets no limit.
            wal_size_limit "walSizeLimit" WalSizeLimit: bound(kib(64), gib(1_024)) = Some(mib(64));

            /// Limits how long emptying the write-ahead log waits for those who still read from it.
            ///
            /// Writers wait meanwhile, so it is half of `acquire_timeout` at most, whatever is set here.
            checkpoint_timeout "checkpointTimeout" CheckpointTimeout: time(millis(1), mins(10)) = millis(200);

            /// Reports a statement that kept the write-ahead log from being emptied for this long.
            ///
            /// Single statements are measured when they end. Closures, streams and transactions that read for so long are named while they
            /// do, when a part of the log is written back or it can't be emptied. `None`, in text `"never"` or `"off"`, reports none.
            long_read "longRead" LongRead: lasting(millis(1), days(365)) = Some(secs(10));

            /// Lets readers keep their snapshot for the next, as long as nobody commits.
            ///
            /// Then reading need not take and give up locks each time. A read sees no less for it: one look at shared memory
            /// tells whether anybody, in any process, has committed since. In WAL mode only.
            shared_snapshots "sharedSnapshots" SharedSnapshots: flag() = true;

            /// Gives up a kept snapshot that nobody used for this long, to twice that.
            ///
            /// A kept snapshot keeps other processes from emptying the write-ahead log.
            snapshot_idle "snapshotIdle" SnapshotIdle: time(millis(1), mins(1)) = millis(5);

            /// Chooses where queries run: on the caller's thread or on one that may block.
            ///
            /// `adaptive` measures each place in the program that queries, and moves the slow ones to blocking threads.
            work_placement "workPlacement" WorkPlacement: work_placement() = WorkPlacement::Adaptive;

            /// Limits how many writes share one commit.
            ///
            /// One gives every write a commit of its own.
            write_batch_max "writeBatchMax" WriteBatchMax: count("writes", 1, 100_000) = 256;

            /// Limits how long writes are added to a commit before it is made.
            ///
            /// Nobody waits for others to come: only writes that are there already share a commit.
            write_batch_time "writeBatchTime" WriteBatchTime: time(micros(1), mins(1)) = millis(10);

            /// Switches detailed log events on or off.
            enable_logging "enableLogging" EnableLogging: flag() = false;

            /// Reports a statement that ran at least this long as slow. Needs `enable_logging`.
            slow_statement "slowStatement" SlowStatement: time(micros(1), days(365)) = millis(100);
        }
    };
}
pub(crate) use with_keys;

/// The Rust type of a setting of a kind.
macro_rules! typed {
    (count) => { usize };
    (limit) => { ::std::option::Option<usize> };
    (size) => { u64 };
    (power_of_two) => { u64 };
    (bound) => { ::std::option::Option<u64> };
    (share) => { f64 };
    (time) => { ::std::time::Duration };
    (lasting) => { ::std::option::Option<::std::time::Duration> };
    (flag) => { bool };
    (synchronous) => { $crate::Synchronous };
    (external_writers) => { $crate::ExternalWriters };
    (work_placement) => { $crate::WorkPlacement };
}
pub(crate) use typed;
