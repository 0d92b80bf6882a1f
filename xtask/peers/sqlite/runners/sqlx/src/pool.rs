//! sqlx: tasks ask a pool, which runs each connection in a thread of its own; settings go into its options.

use std::time::Duration;

use peers_sqlite_arena::{Competitor, Country, Failure, Place, Quirks, Site, Totals, digest, sql};
use sqlx::{
    AssertSqlSafe, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

#[derive(Clone)]
pub struct Sqlx {
    pool: SqlitePool,
    quirks: Quirks,
}

/// Tells a locked database (primary codes 5 and 6) from all other errors.
fn failure(error: sqlx::Error) -> Failure {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => Failure::Busy,
        _ => Failure::other(error),
    }
}

impl Sqlx {
    async fn begin(&self) -> sqlx::Result<Transaction<'static, sqlx::Sqlite>> {
        if self.quirks.immediate { self.pool.begin_with("BEGIN IMMEDIATE").await } else { self.pool.begin().await }
    }

    async fn change(&self, text: &'static str, value: i64) -> Result<(), Failure> {
        sqlx::query(text).bind(value).execute(&self.pool).await.map(drop).map_err(failure)
    }
}

impl Competitor for Sqlx {
    const PLACE: Place = Place::Tasks;

    async fn open(site: &Site) -> Result<Self, Failure> {
        let synchronous = if site.full { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        let options = SqliteConnectOptions::new()
            .filename(&site.path)
            .busy_timeout(Duration::from_millis(sql::BUSY_TIMEOUT))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .foreign_keys(true)
            .statement_cache_capacity(sql::STATEMENTS)
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", format!("-{}", sql::CACHE_KIB))
            .pragma("mmap_size", sql::MMAP.to_string());
        let pool = SqlitePoolOptions::new()
            .max_connections(site.connections)
            .test_before_acquire(site.quirks.tested)
            .connect_with(options)
            .await
            .map_err(failure)?;
        Ok(Self { pool, quirks: site.quirks })
    }

    fn another(&self) -> Result<Self, Failure> {
        Ok(self.clone())
    }

    async fn point(&mut self, id: i64) -> Result<u64, Failure> {
        self.reuse(sql::POINT, id).await
    }

    async fn range(&mut self, first: i64) -> Result<u64, Failure> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as(sql::RANGE).bind(first).fetch_all(&self.pool).await.map_err(failure)?;
        Ok(rows.iter().fold(0, |sum: u64, (name, population)| sum.wrapping_add(digest(name, *population))))
    }

    async fn reuse(&mut self, text: &'static str, id: i64) -> Result<u64, Failure> {
        let (name, population): (String, i64) =
            sqlx::query_as(AssertSqlSafe(text)).bind(id).fetch_one(&self.pool).await.map_err(failure)?;
        Ok(digest(&name, population))
    }

    async fn country(&mut self, country: i64) -> Result<Country, Failure> {
        let (cities, people, visits) =
            sqlx::query_as(sql::COUNTRY).bind(country).fetch_one(&self.pool).await.map_err(failure)?;
        Ok(Country { cities, people, visits })
    }

    async fn insert(&mut self, value: i64) -> Result<(), Failure> {
        self.change(sql::INSERT, value).await
    }

    async fn visit(&mut self, id: i64) -> Result<(), Failure> {
        self.change(sql::VISIT, id).await
    }

    async fn increment(&mut self, account: i64) -> Result<(), Failure> {
        let done = async {
            let mut transaction = self.begin().await?;
            let balance: i64 = sqlx::query_scalar(sql::BALANCE).bind(account).fetch_one(&mut *transaction).await?;
            sqlx::query(sql::SET_BALANCE).bind(account).bind(balance + 1).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        done.await.map_err(failure)
    }

    async fn totals(&mut self) -> Result<Totals, Failure> {
        let (entries, values, balance, visits) =
            sqlx::query_as(sql::TOTALS).fetch_one(&self.pool).await.map_err(failure)?;
        Ok(Totals { entries, values, balance, visits })
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        let mut taken = Vec::new();
        for _ in 0..connections {
            taken.push(self.pool.acquire().await.map_err(failure)?);
        }
        let mut scanned = Vec::new();
        for conn in &mut taken {
            let (rows, keys, bytes): (i64, i64, i64) =
                sqlx::query_as(sql::SCAN).fetch_one(&mut **conn).await.map_err(failure)?;
            scanned.push(if bytes == rows * sql::CONTENT { (rows, keys) } else { (0, 0) });
        }
        Ok(scanned)
    }
}
