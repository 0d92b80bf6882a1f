//! Serving the demo's own database: look-ups, ranges, a cached aggregate under writes, transfers. Every result is checked against
//! something that does not come from the same query.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pool_manager::{
    Connection, DatabaseManager, Result,
    rusqlite::{OptionalExtension as _, params},
};

use super::{
    dice::Dice,
    facts::{City, Facts},
    load::{ACCOUNTS, FIRST_BALANCE},
    numbers::thousands,
    phase::{Outcome, Stage},
    report::Check,
    stop::Stop,
};

/// Time between two writes while the aggregates are served.
const BETWEEN_WRITES: Duration = Duration::from_millis(50);

/// Time between two looks at the sum of all accounts while money moves.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Rows a range look-up asks for at most.
const RANGE: usize = 50;

/// A count that tasks share.
type Count = Arc<AtomicU64>;

// Relaxed everywhere: the counts publish nothing, and they are read when the tasks that add to them have been joined.
fn add(count: &Count, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}

fn total(count: &Count) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Looks cities up by their number; each has to be the one that the file of facts has.
pub(crate) async fn points(stage: &Stage, facts: &Arc<Facts>) -> Result<(Outcome, Check)> {
    let wrong = Count::default();
    let outcome = {
        let (stage_db, facts, wrong) = (stage.db.clone(), Arc::clone(facts), Arc::clone(&wrong));
        stage
            .run("point look-ups", move |number| {
                let (db, facts, wrong) = (stage_db.clone(), Arc::clone(&facts), Arc::clone(&wrong));
                async move {
                    let index = Dice::new(number).below(facts.cities.len());
                    let id = facts.cities[index].id;
                    let found = db.read(move |conn| city(conn, id)).await?;
                    add(&wrong, u64::from(found.as_ref() != Some(&facts.cities[index])));
                    Ok(())
                }
            })
            .await?
    };
    let (compared, wrong) = (outcome.operations, total(&wrong));
    let text =
        format!("{} cities looked up and compared with the file they came from, {wrong} differed", thousands(compared));
    Ok((outcome, Check { passed: wrong == 0, text }))
}

fn city(conn: &Connection, id: i64) -> Result<Option<City>> {
    let mut select = conn.prepare_cached(
        "SELECT id, name, country, latitude, longitude, population, timezone FROM cities WHERE id = ?1",
    )?;
    let city = select.query_row([id], |row| {
        Ok(City {
            id: row.get(0)?,
            name: row.get(1)?,
            country: row.get(2)?,
            latitude: row.get(3)?,
            longitude: row.get(4)?,
            population: row.get(5)?,
            timezone: row.get(6)?,
        })
    });
    Ok(city.optional()?)
}

/// Looks for the cities around a city, or for those about as large; all that come have to belong there, and the city itself has to be
/// among them unless there are more than asked for.
pub(crate) async fn ranges(stage: &Stage, facts: &Arc<Facts>) -> Result<(Outcome, Check)> {
    let (rows, wrong) = (Count::default(), Count::default());
    let outcome = {
        let (stage_db, facts, rows, wrong) =
            (stage.db.clone(), Arc::clone(facts), Arc::clone(&rows), Arc::clone(&wrong));
        stage
            .run("range look-ups", move |number| {
                let (db, facts) = (stage_db.clone(), Arc::clone(&facts));
                let (rows, wrong) = (Arc::clone(&rows), Arc::clone(&wrong));
                async move {
                    let mut dice = Dice::new(number);
                    let index = dice.below(facts.cities.len());
                    let nearby = dice.below(2) == 0;
                    let centre = facts.cities[index].clone();
                    let found = db
                        .read(move |conn| if nearby { around(conn, &centre) } else { as_large(conn, &centre) })
                        .await?;
                    let centre = &facts.cities[index];
                    let belongs =
                        |city: &Found| if nearby { city.is_near(centre) } else { city.is_as_large_as(centre) };
                    let complete = found.len() == RANGE || found.iter().any(|city| city.id == centre.id);
                    add(&wrong, u64::from(!complete || !found.iter().all(belongs)));
                    add(&rows, found.len() as u64);
                    Ok(())
                }
            })
            .await?
    };
    let (looks, rows, wrong) = (outcome.operations, total(&rows), total(&wrong));
    let text =
        format!("{} ranges brought {} rows, {wrong} had a row too many or too few", thousands(looks), thousands(rows));
    Ok((outcome, Check { passed: wrong == 0, text }))
}

/// What a range look-up brings of a city.
struct Found {
    id: i64,
    latitude: f64,
    longitude: f64,
    population: i64,
}

/// Half the side of the box around a city, in degrees.
const NEAR: f64 = 0.5;

impl Found {
    fn is_near(&self, centre: &City) -> bool {
        (self.latitude - centre.latitude).abs() <= NEAR + f64::EPSILON * 360.0
            && (self.longitude - centre.longitude).abs() <= NEAR + f64::EPSILON * 360.0
    }

    fn is_as_large_as(&self, centre: &City) -> bool {
        (centre.population..=centre.population + centre.population / 100).contains(&self.population)
    }
}

fn around(conn: &Connection, centre: &City) -> Result<Vec<Found>> {
    let mut select = conn.prepare_cached(
        "SELECT id, latitude, longitude, population FROM cities
         WHERE latitude BETWEEN ?1 AND ?2 AND longitude BETWEEN ?3 AND ?4 LIMIT ?5",
    )?;
    let (south, north) = (centre.latitude - NEAR, centre.latitude + NEAR);
    let (west, east) = (centre.longitude - NEAR, centre.longitude + NEAR);
    let found = select.query_map(params![south, north, west, east, RANGE as i64], found)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn as_large(conn: &Connection, centre: &City) -> Result<Vec<Found>> {
    let mut select = conn.prepare_cached(
        "SELECT id, latitude, longitude, population FROM cities
         WHERE population BETWEEN ?1 AND ?1 + ?1 / 100 ORDER BY population LIMIT ?2",
    )?;
    let found = select.query_map(params![centre.population, RANGE as i64], found)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn found(row: &pool_manager::rusqlite::Row<'_>) -> pool_manager::rusqlite::Result<Found> {
    Ok(Found { id: row.get(0)?, latitude: row.get(1)?, longitude: row.get(2)?, population: row.get(3)? })
}

/// What is known of a country.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Summary {
    cities: i64,
    people: i64,
    largest: Option<String>,
}

/// The query of the cached aggregate. One function, because the cache tells closures apart as well as keys.
fn summary(country: String) -> impl FnOnce(&Connection) -> Result<Summary> + Send + 'static {
    move |conn| {
        let mut select = conn.prepare_cached(
            "SELECT count(*), coalesce(sum(population), 0),
                (SELECT name FROM cities WHERE country = ?1 ORDER BY population DESC, id LIMIT 1)
             FROM cities WHERE country = ?1",
        )?;
        Ok(select.query_row([&country], |row| {
            Ok(Summary { cities: row.get(0)?, people: row.get(1)?, largest: row.get(2)? })
        })?)
    }
}

async fn cached_summary(db: &DatabaseManager, country: &str) -> Result<Arc<Summary>> {
    db.execute_cached(format!("summary of {country}"), None, summary(country.to_owned())).await
}

/// Serves an aggregate per country from the cache while somebody writes. After each write, and for all countries at the end, the cached
/// value has to be what the database says.
pub(crate) async fn aggregates(stage: &Stage, facts: &Arc<Facts>) -> Result<(Outcome, Check)> {
    let over = Stop::default();
    let writer = tokio::spawn(write_and_compare(stage.db.clone(), Arc::clone(facts), over.clone()));
    let (stage_db, countries) = (stage.db.clone(), Arc::clone(facts));
    let outcome = stage
        .run("cached aggregate", move |number| {
            let (db, facts) = (stage_db.clone(), Arc::clone(&countries));
            async move {
                let index = Dice::new(number).below(facts.countries.len());
                cached_summary(&db, &facts.countries[index].code).await.map(drop)
            }
        })
        .await;
    over.request();
    let (writes, mut stale) =
        writer.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    let outcome = outcome?;
    for country in &facts.countries {
        let cached = cached_summary(&stage.db, &country.code).await?;
        stale += u64::from(*cached != stage.db.read(summary(country.code.clone())).await?);
    }
    let text = format!(
        "{writes} writes during the cached phase; the cached value was compared with a fresh query after each and for all {} \
         countries at the end, {stale} were stale",
        facts.countries.len(),
    );
    Ok((outcome, Check { passed: stale == 0, text }))
}

/// Lets cities grow until it is over. Returns how often, and how often the cached value was not the new one.
async fn write_and_compare(db: DatabaseManager, facts: Arc<Facts>, over: Stop) -> Result<(u64, u64)> {
    let mut dice = Dice::new(1);
    let (mut writes, mut stale) = (0, 0);
    while !over.requested() {
        tokio::time::sleep(BETWEEN_WRITES).await;
        let Some(city) = dice.pick(&facts.cities) else { break };
        let (id, country) = (city.id, city.country.clone());
        let old = cached_summary(&db, &country).await?;
        db.write(move |tx| {
            Ok(tx.prepare_cached("UPDATE cities SET population = population + 1 WHERE id = ?1")?.execute([id])?)
        })
        .await?;
        let cached = cached_summary(&db, &country).await?;
        let fresh = db.read(summary(country)).await?;
        writes += 1;
        stale += u64::from(*cached != fresh || cached.people != old.people + 1);
    }
    Ok((writes, stale))
}

/// Moves money between accounts. The sum has to be the same whenever somebody looks, in the middle of it and at the end.
pub(crate) async fn transfers(stage: &Stage) -> Result<(Outcome, Check)> {
    let over = Stop::default();
    let watcher = tokio::spawn(watch_the_sum(stage.db.clone(), over.clone()));
    let declined = Count::default();
    let outcome = {
        let (stage_db, declined) = (stage.db.clone(), Arc::clone(&declined));
        stage
            .run("transfers", move |number| {
                let (db, declined) = (stage_db.clone(), Arc::clone(&declined));
                async move {
                    let mut dice = Dice::new(number);
                    let mut account = || dice.below(ACCOUNTS as usize) as i64;
                    let (from, to) = (account(), account());
                    let amount = 1 + dice.below(100) as i64;
                    let moved = db.execute_pooled_transaction(move |tx| transfer(tx, from, to, amount)).await?;
                    add(&declined, u64::from(!moved));
                    Ok(())
                }
            })
            .await
    };
    over.request();
    let (looks, wrong) = watcher.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    let outcome = outcome?;
    let sum = stage.db.read(sum_of_accounts).await?;
    let text = format!(
        "{} transfers ({} declined for want of money): the sum of {} accounts is {}, and was at {} of {} looks in between",
        thousands(outcome.operations),
        thousands(total(&declined)),
        thousands(ACCOUNTS as u64),
        thousands(sum.unsigned_abs()),
        thousands(looks - wrong),
        thousands(looks),
    );
    Ok((outcome, Check { passed: wrong == 0 && sum == ACCOUNTS * FIRST_BALANCE, text }))
}

/// Moves an amount, if it is there. The transaction began as a writer, so nobody changes what was read.
fn transfer(conn: &Connection, from: i64, to: i64, amount: i64) -> Result<bool> {
    let mut balance = conn.prepare_cached("SELECT balance FROM accounts WHERE id = ?1")?;
    if balance.query_row([from], |row| row.get::<_, i64>(0))? < amount {
        return Ok(false);
    }
    let mut change = conn.prepare_cached("UPDATE accounts SET balance = balance + ?2 WHERE id = ?1")?;
    change.execute([from, -amount])?;
    change.execute([to, amount])?;
    Ok(true)
}

fn sum_of_accounts(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT sum(balance) FROM accounts")?.query_row([], |row| row.get(0))?)
}

/// Looks at the sum until it is over. Returns how often, and how often it was another one.
async fn watch_the_sum(db: DatabaseManager, over: Stop) -> Result<(u64, u64)> {
    let (mut looks, mut wrong) = (0, 0);
    while !over.requested() {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        looks += 1;
        wrong += u64::from(db.read(sum_of_accounts).await? != ACCOUNTS * FIRST_BALANCE);
    }
    Ok((looks, wrong))
}
