//! Loading: the facts into a fresh file, through the pool, in batches, each batch a transaction.
//!
//! Owns the tables of the demo's own database.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use pool_manager::{Column, Result, Schema, Transaction, rusqlite::params};
use tokio::task::JoinSet;

use super::{
    facts::{Country, Facts},
    numbers,
    phase::{Meters, Outcome, Stage},
};

/// Rows in a transaction.
const BATCH: usize = 500;

/// Tasks that load at once; they share the write lane.
const LOADERS: usize = 4;

/// Accounts of the transfers, and what each holds at first.
pub(crate) const ACCOUNTS: i64 = 1_000;
pub(crate) const FIRST_BALANCE: i64 = 1_000;

/// Makes the tables and loads them. The outcome counts rows; it is short of them when the user stopped.
pub(crate) async fn load(stage: &Stage, facts: &Arc<Facts>) -> Result<Outcome> {
    make_tables(stage, Arc::clone(facts)).await?;
    let rows = facts.cities.len();
    let line = stage.screen.bar("load", rows as u64);
    let (meters, before, begin) = (Meters::new(LOADERS), stage.stats(), Instant::now());
    let (next, loaded) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        let (stage, facts, meters) = (stage.clone(), Arc::clone(facts), meters.clone());
        let (next, loaded) = (Arc::clone(&next), Arc::clone(&loaded));
        loaders.spawn(async move {
            loop {
                // Relaxed: the counters publish nothing but themselves.
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                let batch = first..rows.min(first + BATCH);
                if batch.is_empty() || stage.stop.requested() {
                    return Ok(());
                }
                let (start, size, facts) = (Instant::now(), batch.len(), Arc::clone(&facts));
                stage.db.execute_pooled_transaction(move |tx| insert_cities(tx, &facts, batch)).await?;
                meters.record(loader, start.elapsed());
                loaded.fetch_add(size, Ordering::Relaxed);
            }
        });
    }
    let mut result = Ok(());
    let mut drawing = tokio::time::interval(line.interval());
    drawing.tick().await;
    loop {
        tokio::select! {
            finished = loaders.join_next() => match finished {
                None => break,
                Some(Ok(outcome)) => result = result.and(outcome),
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            },
            _ = drawing.tick() => {
                let loaded = loaded.load(Ordering::Relaxed) as u64;
                line.fill(loaded);
                line.show(&format!("{} rows, {} rows/s", numbers::thousands(loaded), numbers::per_second(loaded, begin.elapsed())));
            }
        }
    }
    let (elapsed, loaded) = (begin.elapsed(), loaded.load(Ordering::Relaxed) as u64);
    if let Err(error) = result {
        line.abandon();
        return Err(error);
    }
    line.finish(&format!(
        "{} cities and {} countries in {}, {} rows/s, {BATCH} rows a transaction",
        numbers::thousands(loaded),
        facts.countries.len(),
        numbers::time(elapsed),
        numbers::per_second(loaded, elapsed),
    ));
    Ok(Outcome {
        name: "load (rows)",
        tasks: LOADERS,
        operations: loaded,
        elapsed,
        latencies: meters.sum(),
        before,
        after: stage.stats(),
    })
}

async fn make_tables(stage: &Stage, facts: Arc<Facts>) -> Result<()> {
    let countries = Schema::new("countries")
        .column(Column::string("code").primary().not_null())
        .column(Column::string("name").not_null());
    let accounts =
        Schema::new("accounts").column(Column::number("id").primary()).column(Column::number("balance").not_null());
    stage.db.create_all(vec![countries, accounts]).await?;
    stage
        .db
        .execute_pooled_transaction(move |tx| {
            // By hand, because of the reference and the indexes.
            tx.execute_batch(
                "CREATE TABLE cities (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                country TEXT NOT NULL REFERENCES countries (code),
                latitude REAL NOT NULL,
                longitude REAL NOT NULL,
                population INTEGER NOT NULL,
                timezone TEXT NOT NULL
            );
            CREATE INDEX cities_by_country ON cities (country, population);
            CREATE INDEX cities_by_population ON cities (population);
            CREATE INDEX cities_by_place ON cities (latitude, longitude);",
            )?;
            insert_countries(tx, &facts.countries)?;
            let mut insert = tx.prepare_cached("INSERT INTO accounts (id, balance) VALUES (?1, ?2)")?;
            (0..ACCOUNTS).try_for_each(|id| insert.execute([id, FIRST_BALANCE]).map(drop))?;
            Ok(())
        })
        .await
}

fn insert_countries(tx: &Transaction<'_>, countries: &[Country]) -> Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO countries (code, name) VALUES (?1, ?2)")?;
    countries.iter().try_for_each(|country| insert.execute([&country.code, &country.name]).map(drop))?;
    Ok(())
}

fn insert_cities(tx: &Transaction<'_>, facts: &Facts, batch: Range<usize>) -> Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO cities VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for city in &facts.cities[batch] {
        insert.execute(params![
            city.id,
            city.name,
            city.country,
            city.latitude,
            city.longitude,
            city.population,
            city.timezone
        ])?;
    }
    Ok(())
}
