//! A competitor is whatever can run a closure on a connection of rusqlite: each runner whose competitors are of that kind includes this
//! file.
//!
//! Must not know how a connection is come by.

use std::future::Future;

use peers_sqlite_arena::{Competitor, Country, Failure, Place, Site, Totals};
use rusqlite::Connection;

use crate::work;

/// Runs closures on connections.
pub trait Driver: Clone + Send + 'static {
    /// Where its callers live.
    const PLACE: Place;

    fn open(site: &Site) -> impl Future<Output = Result<Self, Failure>> + Send;
    fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Failure>> + Send;
    /// Reads the large table with each of so many connections, which stay open.
    fn scan(&mut self, connections: usize) -> impl Future<Output = Result<Vec<(i64, i64)>, Failure>> + Send;
}

/// A competitor made of a driver.
pub struct On<D> {
    driver: D,
    /// Transactions that read first begin immediate.
    immediate: bool,
}

impl<D: Driver> Competitor for On<D> {
    const PLACE: Place = D::PLACE;

    async fn open(site: &Site) -> Result<Self, Failure> {
        Ok(Self { driver: D::open(site).await?, immediate: site.quirks.immediate })
    }

    fn another(&self) -> Result<Self, Failure> {
        Ok(Self { driver: self.driver.clone(), immediate: self.immediate })
    }

    async fn point(&mut self, id: i64) -> Result<u64, Failure> {
        self.driver.with(move |conn| work::point(conn, id)).await
    }

    async fn range(&mut self, first: i64) -> Result<u64, Failure> {
        self.driver.with(move |conn| work::range(conn, first)).await
    }

    async fn reuse(&mut self, text: &'static str, id: i64) -> Result<u64, Failure> {
        self.driver.with(move |conn| work::reuse(conn, text, id)).await
    }

    async fn country(&mut self, country: i64) -> Result<Country, Failure> {
        self.driver.with(move |conn| work::country(conn, country)).await
    }

    async fn insert(&mut self, value: i64) -> Result<(), Failure> {
        self.driver.with(move |conn| work::insert(conn, value)).await
    }

    async fn visit(&mut self, id: i64) -> Result<(), Failure> {
        self.driver.with(move |conn| work::visit(conn, id)).await
    }

    async fn increment(&mut self, account: i64) -> Result<(), Failure> {
        let immediate = self.immediate;
        self.driver.with(move |conn| work::increment(conn, account, immediate)).await
    }

    async fn totals(&mut self) -> Result<Totals, Failure> {
        self.driver.with(|conn| work::totals(conn)).await
    }

    async fn scan(&mut self, connections: usize) -> Result<Vec<(i64, i64)>, Failure> {
        self.driver.scan(connections).await
    }
}
