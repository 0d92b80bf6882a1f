//! deadpool-sqlite: tasks take connections from a pool and `interact` with them on blocking threads; settings go into a `post_create`
//! hook. Its test on hand-out cannot be switched off.

use deadpool_sqlite::{Config, Hook, HookError, InteractError, Pool, PoolConfig, Runtime};
use peers_sqlite_arena::{Failure, Place, Site};
use rusqlite::Connection;

use crate::{
    driver::Driver,
    work::{self, failure},
};

#[derive(Clone)]
pub struct Deadpool(Pool);

/// The closure's own panic is the only error that waiting for it adds.
fn flat<T>(answer: Result<rusqlite::Result<T>, InteractError>) -> Result<T, Failure> {
    answer.map_err(Failure::other)?.map_err(failure)
}

impl Driver for Deadpool {
    const PLACE: Place = Place::Tasks;

    async fn open(site: &Site) -> Result<Self, Failure> {
        let settings = site.settings();
        let hook = Hook::async_fn(move |conn, _| {
            let settings = settings.clone();
            Box::pin(async move {
                let done = conn.interact(move |conn| work::set_up(conn, &settings)).await;
                flat(done).map_err(|why| HookError::message(format!("{why:?}")))
            })
        });
        let mut config = Config::new(&site.path);
        config.pool = Some(PoolConfig::new(site.connections as usize));
        let builder = config.builder(Runtime::Tokio1).map_err(Failure::other)?;
        let pool = builder.post_create(hook).build().map_err(Failure::other)?;
        Ok(Self(pool))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let conn = self.0.get().await.map_err(Failure::other)?;
        flat(conn.interact(work).await)
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        let mut taken = Vec::new();
        for _ in 0..connections {
            taken.push(self.0.get().await.map_err(Failure::other)?);
        }
        let mut scanned = Vec::new();
        for conn in &taken {
            scanned.push(flat(conn.interact(|conn| work::scan(conn)).await)?);
        }
        Ok(scanned)
    }
}
