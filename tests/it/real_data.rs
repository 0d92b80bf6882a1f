//! The real table of `tests/data` through every path: the same answers as counting the file itself.

use std::collections::BTreeMap;
use std::path::Path;

use pool_manager::{Column, DatabaseManager, PoolConfig, Schema, operation};

use crate::support::TestDb;

type City = (i64, String, String, f64, f64, i64, String);

fn cities() -> Vec<City> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cities.csv");
    csv::Reader::from_path(path).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

fn schema() -> Schema {
    Schema::new("cities")
        .column(Column::number("id").primary())
        .column(Column::string("name").not_null())
        .column(Column::string("country").not_null())
        .column(Column::float("latitude"))
        .column(Column::float("longitude"))
        .column(Column::number("population"))
        .column(Column::string("timezone"))
}

const PER_COUNTRY: &str = "SELECT country, count(*), sum(population) FROM cities GROUP BY country ORDER BY country";

fn per_country(conn: &pool_manager::Connection) -> pool_manager::Result<Vec<(String, i64, i64)>> {
    let mut statement = conn.prepare_cached(PER_COUNTRY)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_gives_the_answers_that_the_file_gives() {
    let cities = cities();
    assert!(cities.len() > 20_000, "{} rows", cities.len());
    let mut expected: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (_, _, country, _, _, population, _) in &cities {
        let sums = expected.entry(country).or_default();
        sums.0 += 1;
        sums.1 += population;
    }
    let expected: Vec<_> =
        expected.into_iter().map(|(country, (count, sum))| (country.to_owned(), count, sum)).collect();

    let test = TestDb::new(PoolConfig::builder().max_connections(6));
    test.db.create(schema()).await.unwrap();
    // Six tasks load a share each, at the same time.
    let share = cities.len().div_ceil(6);
    let loading: Vec<_> = cities
        .chunks(share)
        .map(|share| {
            let (db, share) = (test.db.clone(), share.to_vec());
            tokio::spawn(async move {
                db.write(move |tx| {
                    let mut insert = tx.prepare_cached("INSERT INTO cities VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
                    for city in share {
                        insert.execute(city)?;
                    }
                    Ok(())
                })
                .await
            })
        })
        .collect();
    for task in loading {
        task.await.unwrap().unwrap();
    }

    assert_eq!(test.db.execute_with_pool(per_country).await.unwrap(), expected, "pooled");
    assert_eq!(test.db.read(per_country).await.unwrap(), expected, "reading only");
    for _ in 0..3 {
        assert_eq!(*test.db.execute_cached("per country", None, per_country).await.unwrap(), expected, "cached");
    }
    assert_eq!(test.db.execute_pooled_transaction(|tx| per_country(tx)).await.unwrap(), expected, "in a transaction");
    let listed = test.db.execute_pooled_operations(vec![operation(|tx| per_country(tx))]).await.unwrap();
    assert_eq!(listed[0], expected, "in a list");
    assert_eq!(per_country(&test.db.acquire().await.unwrap()).unwrap(), expected, "held by hand");
    assert_eq!(test.db.blocking().read(per_country).unwrap(), expected, "blocking");
    let direct = DatabaseManager::builder().path(test.path()).use_pool(false).build().unwrap();
    assert_eq!(direct.execute_with_pool(per_country).await.unwrap(), expected, "direct");
    let plain = test.foreign();
    let mut statement = plain.prepare(PER_COUNTRY).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(rows.collect::<Result<Vec<(String, i64, i64)>, _>>().unwrap(), expected, "plain driver");
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.cache_hits, stats.cache_misses), (2, 1));
}
