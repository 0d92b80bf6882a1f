//! A shop's real database, the Chinook sample, through every path: the same rows as the plain driver gives.
//!
//! The file lies beside the project, not in it (`../shared/data/chinook.sqlite`); where it is missing the test says so and does nothing.

use std::path::{Path, PathBuf};

use pool_manager::rusqlite::{self, Row, types::Value};
use pool_manager::{Connection, DatabaseManager, PoolConfig, WorkPlacement};

type Rows = Vec<Vec<Value>>;

const QUERIES: [&str; 8] = [
    // Every column of every row of the largest tables.
    "SELECT * FROM Track ORDER BY TrackId",
    "SELECT * FROM PlaylistTrack ORDER BY PlaylistId, TrackId",
    // What was sold, by country and genre.
    "SELECT c.Country, g.Name, count(*), round(sum(l.UnitPrice * l.Quantity), 2)
     FROM InvoiceLine l JOIN Invoice i USING (InvoiceId) JOIN Customer c USING (CustomerId)
     JOIN Track t USING (TrackId) LEFT JOIN Genre g USING (GenreId)
     GROUP BY c.Country, g.Name ORDER BY 1, 2",
    "SELECT ar.Name, al.Title, count(t.TrackId), sum(t.Milliseconds), max(t.Bytes)
     FROM Artist ar LEFT JOIN Album al USING (ArtistId) LEFT JOIN Track t USING (AlbumId)
     GROUP BY ar.ArtistId, al.AlbumId ORDER BY ar.ArtistId, al.AlbumId",
    // Who reports to whom, by a common table expression that calls itself.
    "WITH RECURSIVE staff (id, name, depth) AS (
       SELECT EmployeeId, LastName, 0 FROM Employee WHERE ReportsTo IS NULL
       UNION ALL SELECT e.EmployeeId, e.LastName, depth + 1 FROM Employee e JOIN staff ON e.ReportsTo = staff.id)
     SELECT * FROM staff ORDER BY depth, id",
    // Each customer's best invoice, by a window.
    "SELECT CustomerId, InvoiceDate, Total FROM (
       SELECT *, row_number() OVER (PARTITION BY CustomerId ORDER BY Total DESC, InvoiceId) AS place FROM Invoice)
     WHERE place = 1 ORDER BY CustomerId",
    // Names with letters of all Europe, and those that are missing.
    "SELECT Name, Composer, length(Name), hex(Name) FROM Track WHERE Name GLOB '*[^ -~]*' OR Composer IS NULL ORDER BY TrackId",
    "SELECT * FROM Album WHERE 0",
];

fn chinook() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chinook.sqlite");
    path.exists().then_some(path)
}

fn values(row: &Row<'_>) -> rusqlite::Result<Vec<Value>> {
    (0..row.as_ref().column_count()).map(|column| row.get(column)).collect()
}

fn plain(conn: &rusqlite::Connection, sql: &str) -> Rows {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], values).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn pooled(conn: &Connection, sql: &str) -> pool_manager::Result<Rows> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([], values)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_gives_the_rows_of_the_plain_driver() {
    let Some(original) = chinook() else {
        eprintln!("skipped: there is no ../shared/data/chinook.sqlite beside the project");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chinook.sqlite");
    std::fs::copy(original, &path).unwrap();
    let driver = rusqlite::Connection::open(&path).unwrap();
    let expected = QUERIES.map(|sql| plain(&driver, sql));
    drop(driver);
    assert!(expected.iter().take(7).all(|rows| !rows.is_empty()) && expected[7].is_empty());

    let direct = DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
    for (sql, expected) in QUERIES.into_iter().zip(&expected) {
        assert_eq!(&direct.read(move |conn| pooled(conn, sql)).await.unwrap(), expected, "direct: {sql}");
        let mut rows = direct.read_stream(sql, [], values);
        let mut streamed = Vec::new();
        while let Some(row) = rows.next().await {
            streamed.push(row.unwrap());
        }
        assert_eq!(&streamed, expected, "direct, streamed: {sql}");
    }
    direct.close_pool().await.unwrap();

    for placement in [WorkPlacement::Inline, WorkPlacement::Blocking, WorkPlacement::Adaptive] {
        let config = PoolConfig::builder().max_connections(4).work_placement(placement);
        let db = DatabaseManager::new().with_pooling(&path, config).unwrap();
        for (sql, expected) in QUERIES.into_iter().zip(&expected) {
            let what = |path: &str| format!("{path}, {placement:?}: {sql}");
            for _ in 0..2 {
                assert_eq!(&db.read(move |conn| pooled(conn, sql)).await.unwrap(), expected, "{}", what("reading"));
                let any = db.execute_with_pool(move |conn| pooled(conn, sql)).await.unwrap();
                assert_eq!(&any, expected, "{}", what("pooled"));
                let keyed = db.execute_cached(sql, None, move |conn| pooled(conn, sql)).await.unwrap();
                assert_eq!(&*keyed, expected, "{}", what("cached"));
                let cached = db.query_cached(sql, [], values).await.unwrap();
                assert_eq!(&*cached, expected, "{}", what("cached by its text"));
                let mut rows = db.read_stream(sql, [], values);
                let mut streamed = Vec::new();
                while let Some(row) = rows.next().await {
                    streamed.push(row.unwrap());
                }
                assert_eq!(&streamed, expected, "{}", what("streamed"));
            }
            let written = db.write(move |tx| pooled(tx, sql)).await.unwrap();
            assert_eq!(&written, expected, "{}", what("in a transaction"));
            assert_eq!(&pooled(&db.acquire().await.unwrap(), sql).unwrap(), expected, "{}", what("held by hand"));
            assert_eq!(&plain(&db.acquire().await.unwrap(), sql), expected, "{}", what("plain calls"));
            let (blocking, iterated) = tokio::task::block_in_place(|| {
                let rows = db.blocking().read_stream(sql, [], values);
                (db.blocking().read(|conn| pooled(conn, sql)), rows.collect::<pool_manager::Result<Rows>>())
            });
            assert_eq!(&blocking.unwrap(), expected, "{}", what("blocking"));
            assert_eq!(&iterated.unwrap(), expected, "{}", what("iterated"));
        }
        let hits = db.pool_stats().unwrap().cache_hits;
        assert_eq!(hits, 2 * QUERIES.len() as u64, "the second time each was a hit");
        db.close_pool().await.unwrap();
    }
}
