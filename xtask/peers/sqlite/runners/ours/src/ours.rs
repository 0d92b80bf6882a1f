//! `DatabaseManager` as its documentation recommends it: reads through `read`, writes through `write`, cached queries through
//! `execute_cached`.
//!
//! Must not know what is measured, nor anything but the public interface.

use std::sync::LazyLock;

use peers_sqlite_arena::{Competitor, Country, Failure, Place, ROWS, Site, Totals, sql};
use pool_manager::{Connection, DatabaseManager, Error, ExternalWriters, PoolConfigBuilder, Synchronous};

use crate::work;

work::ask!(Connection: |conn, text| conn.prepare_cached(text));

/// Names of results, at hand as in a program that does not put them together for every call.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| (0..=ROWS).map(|number| format!("number {number}")).collect());

fn key(number: i64) -> &'static str {
    &KEYS[number as usize]
}

fn open(site: &Site) -> Result<DatabaseManager, Failure> {
    let connections = site.connections as usize;
    let config = PoolConfigBuilder::new()
        .max_connections(connections)
        .min_connections(connections.min(2))
        .synchronous(if site.full { Synchronous::Full } else { Synchronous::Normal })
        .page_cache_size(sql::CACHE_KIB << 10)
        .mmap_size(sql::MMAP)
        .busy_timeout(std::time::Duration::from_millis(sql::BUSY_TIMEOUT))
        .enable_statement_pooling(site.quirks.reuse)
        .statement_cache_size(sql::STATEMENTS)
        .enable_query_cache(site.quirks.query_cache)
        .external_writers(if site.quirks.strict { ExternalWriters::Strict } else { ExternalWriters::None });
    DatabaseManager::builder().path(&site.path).config(config).build().map_err(failure)
}

/// Tells waiting in vain from all other errors.
fn failure(error: Error) -> Failure {
    match error {
        Error::Busy { .. } | Error::StaleSnapshot { .. } | Error::WriteLaneTimeout { .. } => Failure::Busy,
        Error::Sqlite(error) => work::failure(error),
        error => Failure::other(error),
    }
}

/// The async calls and the blocking ones have the same names, so what is done with them is written once.
macro_rules! competitor {
    ($(#[$doc:meta])* $name:ident in $place:ident: $db:ident => ($($calls:tt)+) $($wait:tt)*) => {
        $(#[$doc])*
        pub struct $name {
            db: DatabaseManager,
            /// The texts of a point read and of an aggregate whose results are cached.
            cached: [&'static str; 2],
        }

        impl Competitor for $name {
            const PLACE: Place = Place::$place;

            async fn open(site: &Site) -> Result<Self, Failure> {
                let cached = match site.quirks.rows {
                    true => [sql::POINT, sql::COUNTRY],
                    false => [sql::POINT_AS_RANGE, sql::COUNTRY_AS_RANGE],
                };
                Ok(Self { db: open(site)?, cached })
            }

            fn another(&self) -> Result<Self, Failure> {
                Ok(Self { db: self.db.clone(), cached: self.cached })
            }

            async fn point(&mut self, id: i64) -> Result<u64, Failure> {
                let $db = &self.db;
                $($calls)+.read(move |conn| Ok(work::point(conn, id)?))$($wait)*.map_err(failure)
            }

            async fn range(&mut self, first: i64) -> Result<u64, Failure> {
                let $db = &self.db;
                $($calls)+.read(move |conn| Ok(work::range(conn, first)?))$($wait)*.map_err(failure)
            }

            async fn reuse(&mut self, text: &'static str, id: i64) -> Result<u64, Failure> {
                let $db = &self.db;
                $($calls)+.read(move |conn| Ok(work::reuse(conn, text, id)?))$($wait)*.map_err(failure)
            }

            async fn country(&mut self, country: i64) -> Result<Country, Failure> {
                let $db = &self.db;
                $($calls)+.read(move |conn| Ok(work::country(conn, country)?))$($wait)*.map_err(failure)
            }

            async fn insert(&mut self, value: i64) -> Result<(), Failure> {
                let $db = &self.db;
                $($calls)+.write(move |tx| Ok(work::insert(&**tx, value)?))$($wait)*.map_err(failure)
            }

            async fn visit(&mut self, id: i64) -> Result<(), Failure> {
                let $db = &self.db;
                $($calls)+.write(move |tx| Ok(work::visit(&**tx, id)?))$($wait)*.map_err(failure)
            }

            async fn increment(&mut self, account: i64) -> Result<(), Failure> {
                let $db = &self.db;
                $($calls)+.write(move |tx| Ok(work::increment_within(&**tx, account)?))$($wait)*.map_err(failure)
            }

            async fn totals(&mut self) -> Result<Totals, Failure> {
                let $db = &self.db;
                $($calls)+.read(|conn| Ok(work::totals(conn)?))$($wait)*.map_err(failure)
            }

            async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
                let $db = &self.db;
                let mut taken = Vec::new();
                for _ in 0..connections {
                    taken.push($($calls)+.acquire()$($wait)*.map_err(failure)?);
                }
                taken.iter().map(|conn| work::scan(conn).map_err(work::failure)).collect()
            }

            async fn cached_point(&mut self, id: i64) -> Result<u64, Failure> {
                let $db = &self.db;
                let [text, _] = self.cached;
                let query = move |conn: &Connection| Ok(work::reuse(conn, text, id)?);
                $($calls)+.execute_cached(key(id), None, query)$($wait)*.map(|sum| *sum).map_err(failure)
            }

            async fn cached_range(&mut self, first: i64) -> Result<u64, Failure> {
                let $db = &self.db;
                let query = move |conn: &Connection| Ok(work::range(conn, first)?);
                $($calls)+.execute_cached(key(first), None, query)$($wait)*.map(|sum| *sum).map_err(failure)
            }

            async fn cached_country(&mut self, country: i64) -> Result<Country, Failure> {
                let $db = &self.db;
                let [_, text] = self.cached;
                let query = move |conn: &Connection| Ok(work::country_by(conn, text, country)?);
                $($calls)+.execute_cached(key(country), None, query)$($wait)*.map(|found| *found).map_err(failure)
            }
        }
    };
}

competitor! {
    /// Called from tasks.
    Ours in Tasks: db => (db) .await
}

competitor! {
    /// Called from threads.
    OursBlocking in Threads: db => (db.blocking())
}
