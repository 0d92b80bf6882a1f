//! tokio-rusqlite: one connection with a thread of its own, to which tasks send closures.

use peers_sqlite_arena::{Failure, Place, Site};
use rusqlite::Connection;
use tokio_rusqlite::Error;

use crate::{
    driver::Driver,
    work::{self, failure},
};

#[derive(Clone)]
pub struct OneThread {
    conn: tokio_rusqlite::Connection,
    site: Site,
}

async fn open(site: &Site) -> Result<tokio_rusqlite::Connection, Failure> {
    let conn = tokio_rusqlite::Connection::open(&site.path).await.map_err(failure)?;
    let settings = site.settings();
    ask(&conn, move |conn| work::set_up(conn, &settings)).await?;
    Ok(conn)
}

async fn ask<T: Send + 'static>(
    conn: &tokio_rusqlite::Connection,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    conn.call(work).await.map_err(|error| match error {
        Error::Error(error) => failure(error),
        other => Failure::other(other),
    })
}

impl Driver for OneThread {
    const PLACE: Place = Place::Tasks;

    async fn open(site: &Site) -> Result<Self, Failure> {
        Ok(Self { conn: open(site).await?, site: site.clone() })
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        ask(&self.conn, work).await
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        let mut scanned = vec![ask(&self.conn, |conn| work::scan(conn)).await?];
        for _ in 1..connections {
            let conn = open(&self.site).await?;
            scanned.push(ask(&conn, |conn| work::scan(conn)).await?);
            // It stays open until the program ends.
            std::mem::forget(conn);
        }
        Ok(scanned)
    }
}
