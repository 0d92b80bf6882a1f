//! async-sqlite: a pool of connections, each with a thread of its own, to which tasks send closures in turn.

use async_sqlite::{Error, JournalMode, Pool, PoolBuilder};
use peers_sqlite_arena::{Failure, Place, Site};
use rusqlite::Connection;

use crate::{
    driver::Driver,
    work::{self, failure},
};

#[derive(Clone)]
pub struct Threads(Pool);

fn named(error: Error) -> Failure {
    match error {
        Error::Rusqlite(error) => failure(error),
        other => Failure::other(other),
    }
}

impl Driver for Threads {
    const PLACE: Place = Place::Tasks;

    async fn open(site: &Site) -> Result<Self, Failure> {
        let builder = PoolBuilder::new().path(&site.path).journal_mode(JournalMode::Wal);
        let pool = builder.num_conns(site.connections as usize).open().await.map_err(named)?;
        let settings = site.settings();
        for done in pool.conn_for_each(move |conn| work::set_up(conn, &settings)).await {
            done.map_err(named)?;
        }
        Ok(Self(pool))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.0.conn_mut(work).await.map_err(named)
    }

    async fn scan(&mut self, _: usize) -> Result<Vec<(i64, i64)>, Failure> {
        self.0.conn_for_each(work::scan).await.into_iter().map(|scanned| scanned.map_err(named)).collect()
    }
}
