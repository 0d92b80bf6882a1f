//! What a caller asks for next, and whether the answer is right.
//!
//! Must not know how many callers there are nor what is timed. Invariant: an answer is compared with what the row's key says, every
//! time.

use crate::{
    city::{COUNTRIES, Expected, RANGE, ROWS},
    competitor::{Competitor, Failure, Totals},
    random::Random,
    sql,
};

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    Point,
    Range,
    Reuse,
    Insert,
    /// Nine point reads to one insert.
    Mixed,
    Increment,
    /// The same row again and again.
    CachedPoint,
    /// The same thousand rows again and again.
    CachedRange,
    /// Half point reads of popular cities, half countries, one write in a thousand.
    ReadMostly,
    /// Writes to single rows, and after sixteen of them a cached read: of a row, or of a country.
    Beside,
}

/// What an operation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// One caller's questions.
pub(crate) struct Caller<C> {
    competitor: C,
    mix: Mix,
    random: Random,
    texts: &'static [String],
    /// What was written and acknowledged.
    pub(crate) written: Totals,
    count: usize,
}

impl<C: Competitor> Caller<C> {
    pub(crate) fn new(competitor: C, mix: Mix, number: u64, texts: &'static [String]) -> Self {
        Self { competitor, mix, random: Random::new(number), texts, written: Totals::default(), count: 0 }
    }

    /// Which operations are timed, where some of what is asked for reads and some writes.
    pub(crate) fn timed(&self) -> Option<Kind> {
        match self.mix {
            Mix::Mixed | Mix::ReadMostly => Some(Kind::Read),
            Mix::Beside => Some(Kind::Write),
            _ => None,
        }
    }

    /// Asks for the next thing.
    pub(crate) async fn next(&mut self, expected: &Expected) -> Result<Kind, Failure> {
        match self.mix {
            Mix::Point => self.point(expected).await,
            Mix::Range => {
                let first = self.random.up_to(ROWS - RANGE);
                let answer = self.competitor.range(first).await?;
                check(answer == expected.range(first))
            }
            Mix::Reuse => {
                let text = &self.texts[self.count % sql::TEXTS];
                self.count += 1;
                let id = self.random.up_to(ROWS);
                let answer = self.competitor.reuse(text, id).await?;
                check(answer == expected.point(id))
            }
            Mix::Insert => self.insert().await,
            Mix::Mixed if self.random.up_to(10) == 1 => self.insert().await,
            Mix::Mixed => self.point(expected).await,
            Mix::Increment => {
                self.competitor.increment(self.random.up_to(100)).await?;
                self.written.balance += 1;
                Ok(Kind::Write)
            }
            Mix::CachedPoint => check(self.competitor.cached_point(1).await? == expected.point(1)),
            Mix::CachedRange => check(self.competitor.cached_range(1).await? == expected.range(1)),
            Mix::ReadMostly => match self.random.up_to(2_000) {
                1 | 2 => self.visit().await,
                odd if odd % 2 == 1 => self.cached_point(expected).await,
                _ => self.cached_country(expected).await,
            },
            Mix::Beside => {
                self.count += 1;
                match self.count % 34 {
                    0 => self.cached_point(expected).await,
                    17 => self.cached_country(expected).await,
                    _ => self.visit().await,
                }
            }
        }
    }

    async fn visit(&mut self) -> Result<Kind, Failure> {
        self.competitor.visit(self.random.up_to(ROWS)).await?;
        self.written.visits += 1;
        Ok(Kind::Write)
    }

    async fn cached_point(&mut self, expected: &Expected) -> Result<Kind, Failure> {
        let id = self.random.zipf(ROWS);
        check(self.competitor.cached_point(id).await? == expected.point(id))
    }

    async fn cached_country(&mut self, expected: &Expected) -> Result<Kind, Failure> {
        let country = self.random.up_to(COUNTRIES);
        let answer = self.competitor.cached_country(country).await?;
        check((answer.cities, answer.people) == expected.country(country))
    }

    async fn point(&mut self, expected: &Expected) -> Result<Kind, Failure> {
        let id = self.random.up_to(ROWS);
        check(self.competitor.point(id).await? == expected.point(id))
    }

    async fn insert(&mut self) -> Result<Kind, Failure> {
        let value = self.random.up_to(1_000);
        self.competitor.insert(value).await?;
        self.written += Totals { entries: 1, values: value, ..Totals::default() };
        Ok(Kind::Write)
    }
}

/// Compares what is in the database, and what caches say of it, with what was acknowledged.
pub(crate) async fn audit<C: Competitor>(competitor: &mut C, mix: Mix, written: Totals) -> Result<(), Failure> {
    let found = competitor.totals().await?;
    if found != written {
        return Err(Failure::Other(format!("acknowledged {written:?}, but in the database is {found:?}")));
    }
    if matches!(mix, Mix::ReadMostly | Mix::Beside) {
        let mut visits = 0;
        for country in 1..=COUNTRIES {
            visits += competitor.cached_country(country).await?.visits;
        }
        if visits != written.visits {
            return Err(Failure::Other(format!("the cache is stale: {visits} visits of {}", written.visits)));
        }
    }
    Ok(())
}

fn check(right: bool) -> Result<Kind, Failure> {
    if right { Ok(Kind::Read) } else { Err(Failure::Other("other rows than those asked for".into())) }
}
