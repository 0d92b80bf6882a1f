//! Competitors without a database, for the tests: one that answers as the cities are, and some that do not.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::{
    City, Competitor, Country, Failure, Place, Site, Totals,
    city::{Expected, RANGE},
    digest,
};

/// What a competitor gets wrong.
pub(crate) const NOTHING: u8 = 0;
/// One row in a thousand is another one.
pub(crate) const ROWS: u8 = 1;
/// Every hundredth write is acknowledged and not there.
pub(crate) const WRITES: u8 = 2;
/// The cache says what was true before the writes.
pub(crate) const CACHE: u8 = 3;

pub(crate) struct Fake<const WRONG: u8>(Arc<Memory>);

struct Memory {
    expected: Expected,
    asked: AtomicI64,
    entries: AtomicI64,
    values: AtomicI64,
    visits: AtomicI64,
}

impl<const WRONG: u8> Fake<WRONG> {
    fn lies(&self, kind: u8, seldom: i64) -> bool {
        WRONG == kind && self.0.asked.fetch_add(1, Relaxed) % seldom == seldom - 1
    }
}

impl<const WRONG: u8> Competitor for Fake<WRONG> {
    const PLACE: Place = Place::Tasks;

    async fn open(_: &Site) -> Result<Self, Failure> {
        let zero = || AtomicI64::new(0);
        let memory =
            Memory { expected: Expected::new(), asked: zero(), entries: zero(), values: zero(), visits: zero() };
        Ok(Self(Arc::new(memory)))
    }

    fn another(&self) -> Result<Self, Failure> {
        Ok(Self(Arc::clone(&self.0)))
    }

    async fn point(&mut self, id: i64) -> Result<u64, Failure> {
        let city = City::of(id);
        // Only the last column differs.
        let population = city.population + i64::from(self.lies(ROWS, 1_000));
        Ok(digest(&city.name, population))
    }

    async fn range(&mut self, first: i64) -> Result<u64, Failure> {
        let rows = RANGE - i64::from(self.lies(ROWS, 10));
        Ok((first..first + rows).fold(0, |sum: u64, id| sum.wrapping_add(self.0.expected.point(id))))
    }

    async fn reuse(&mut self, _: &'static str, id: i64) -> Result<u64, Failure> {
        self.point(id).await
    }

    async fn country(&mut self, country: i64) -> Result<Country, Failure> {
        let (cities, people) = self.0.expected.country(country);
        // All visits are counted in the first country.
        let visits = if country == 1 && WRONG != CACHE { self.0.visits.load(Relaxed) } else { 0 };
        Ok(Country { cities, people, visits })
    }

    async fn insert(&mut self, value: i64) -> Result<(), Failure> {
        if !self.lies(WRITES, 100) {
            self.0.entries.fetch_add(1, Relaxed);
            self.0.values.fetch_add(value, Relaxed);
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn visit(&mut self, _: i64) -> Result<(), Failure> {
        self.0.visits.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn increment(&mut self, _: i64) -> Result<(), Failure> {
        Err(Failure::Busy)
    }

    async fn totals(&mut self) -> Result<Totals, Failure> {
        let (entries, values) = (self.0.entries.load(Relaxed), self.0.values.load(Relaxed));
        Ok(Totals { entries, values, balance: 0, visits: self.0.visits.load(Relaxed) })
    }

    async fn scan(&mut self, _: usize) -> Result<Vec<(i64, i64)>, Failure> {
        Ok(Vec::new())
    }
}
