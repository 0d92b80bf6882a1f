//! r2d2 with r2d2_sqlite: threads take connections from a pool; settings go into the manager's `with_init`.

use peers_sqlite_arena::{Failure, Place, Site};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;

use crate::{
    driver::Driver,
    work::{self, failure},
};

#[derive(Clone)]
pub struct R2d2(r2d2::Pool<SqliteConnectionManager>);

impl Driver for R2d2 {
    const PLACE: Place = Place::Threads;

    async fn open(site: &Site) -> Result<Self, Failure> {
        let settings = site.settings();
        let manager = SqliteConnectionManager::file(&site.path).with_init(move |conn| work::set_up(conn, &settings));
        let pool = r2d2::Pool::builder()
            .max_size(site.connections)
            .test_on_check_out(site.quirks.tested)
            .build(manager)
            .map_err(Failure::other)?;
        Ok(Self(pool))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        work(&mut *self.0.get().map_err(Failure::other)?).map_err(failure)
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        let taken: Result<Vec<_>, _> = (0..connections).map(|_| self.0.get().map_err(Failure::other)).collect();
        taken?.iter().map(|conn| work::scan(conn).map_err(failure)).collect()
    }
}
