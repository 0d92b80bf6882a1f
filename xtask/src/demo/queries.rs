//! Questions to somebody's database: made from its catalogue, tried once, with real keys to ask them with.
//!
//! Knows no pool. Invariant: a question that is asked later has been answered here before, within a bounded time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pool_manager::rusqlite::{Connection, Error, ErrorCode, Result, Rows, params_from_iter, types::Value};

use super::{
    catalog::{Kind, Reference, Table, quote},
    dice::Dice,
};

/// The longest one question may take when it is tried, and all of them together.
const ONE: Duration = Duration::from_millis(300);
const ALL: Duration = Duration::from_secs(10);

/// Keys taken from a table.
const SAMPLES: usize = 400;

/// Rows a range asks for, and rows of the referring table that a join looks at.
const RANGE: usize = 100;
const JOINED: usize = 20_000;

/// Rows are counted this far before the demo begins.
const COUNTED: u64 = 1_000_000;

/// A statement, and parameters from the database itself to run it with; never empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) samples: Vec<Vec<Value>>,
}

/// All that can be asked.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    /// One row by its key.
    pub(crate) points: Vec<Query>,
    /// Some rows from a value on, or just the first ones.
    pub(crate) ranges: Vec<Query>,
    /// Counts, and joins along references: worth caching.
    pub(crate) totals: Vec<Query>,
    /// How many rows each table has, in the order of the tables.
    pub(crate) rows: Vec<RowCount>,
    /// What is not asked, and why.
    pub(crate) left_out: Vec<String>,
}

/// How many rows a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowCount {
    Exactly(u64),
    MoreThan(u64),
    /// Counting took too long, or is not possible.
    Unknown,
}

/// A connection whose statements can be given a time to be ready by.
struct Asker<'c> {
    conn: &'c Connection,
    ready_by: Arc<Mutex<Option<Instant>>>,
}

impl<'c> Asker<'c> {
    fn new(conn: &'c mut Connection) -> Result<Self> {
        let ready_by = Arc::new(Mutex::new(None));
        let limit = Arc::clone(&ready_by);
        let late =
            move || limit.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|limit| Instant::now() > limit);
        conn.progress_handler(1_000, Some(late))?;
        Ok(Self { conn, ready_by })
    }

    /// Runs a closure whose statements are interrupted when they take too long.
    fn bounded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let limit = |until| *self.ready_by.lock().unwrap_or_else(PoisonError::into_inner) = until;
        limit(Some(Instant::now() + ONE));
        let done = work();
        limit(None);
        done
    }
}

/// Makes and tries the questions. Errors are those of the file; a single table that cannot be read is left out.
pub(crate) fn prepare(conn: &mut Connection, tables: &[Table]) -> Result<Queries> {
    let asker = Asker::new(conn)?;
    let mut queries = Queries::default();
    let end = Instant::now() + ALL;
    let mut late = 0;
    for table in tables {
        if Instant::now() >= end {
            late += 1;
            queries.rows.push(RowCount::Unknown);
        } else if let Err(error) = ask(&asker, table, &mut queries) {
            if is_the_files(&error) {
                return Err(error);
            }
            queries.left_out.push(format!("{}: {}", table.name, reason(&error)));
        }
    }
    if late > 0 {
        queries.left_out.push(format!("{late} more tables: looking at them all would have taken too long"));
    }
    Ok(queries)
}

/// Makes the questions of one table.
fn ask(asker: &Asker<'_>, table: &Table, queries: &mut Queries) -> Result<()> {
    let from = quote(&table.name);
    let rows = rows(asker, &from);
    queries.rows.push(*rows.as_ref().unwrap_or(&RowCount::Unknown));
    let rows = rows?;
    if matches!(rows, RowCount::Exactly(_)) {
        attempt(
            asker,
            &mut queries.totals,
            Query { sql: format!("SELECT count(*) FROM {from}"), samples: vec![vec![]] },
        )?;
    }
    if matches!(table.kind, Kind::View | Kind::Virtual) {
        let sql = format!("SELECT * FROM {from} LIMIT {RANGE}");
        return attempt(asker, &mut queries.ranges, Query { sql, samples: vec![vec![]] });
    }
    let asked: Vec<&String> = table.key.iter().chain(&table.indexed).collect();
    let samples = samples(asker, table, &asked)?;
    let key = 0..table.key.len();
    let keys: Vec<Vec<Value>> = samples.iter().filter_map(|row| known(&row[key.clone()])).collect();
    if !keys.is_empty() && !table.key.is_empty() {
        let equal: Vec<_> =
            table.key.iter().enumerate().map(|(index, column)| format!("{column} = ?{}", index + 1)).collect();
        let sql = format!("SELECT * FROM {from} WHERE {}", equal.join(" AND "));
        attempt(asker, &mut queries.points, Query { sql, samples: keys })?;
    }
    // A range begins where a key or an index does.
    for (index, column) in asked.iter().enumerate().filter(|(index, _)| *index == 0 || *index >= table.key.len()) {
        let samples: Vec<_> = samples.iter().filter_map(|row| known(&row[index..=index])).collect();
        if !samples.is_empty() {
            let sql = format!("SELECT * FROM {from} WHERE {column} >= ?1 ORDER BY {column} LIMIT {RANGE}");
            attempt(asker, &mut queries.ranges, Query { sql, samples })?;
        }
    }
    for reference in &table.references {
        let sql = join(&from, reference);
        if let Err(error) = attempt(asker, &mut queries.totals, Query { sql, samples: vec![vec![]] }) {
            if is_the_files(&error) {
                return Err(error);
            }
            queries.left_out.push(format!("{} to {}: {}", table.name, reference.parent, reason(&error)));
        }
    }
    Ok(())
}

/// The rows of the parent that are referred to most often.
fn join(child: &str, reference: &Reference) -> String {
    let parent = quote(&reference.parent);
    let on: Vec<_> = reference.columns.iter().map(|(from, to)| format!("c.{from} = p.{to}")).collect();
    let by: Vec<_> = reference.columns.iter().map(|(_, to)| format!("p.{to}")).collect();
    let by = by.join(", ");
    format!(
        "SELECT {by}, count(*) FROM (SELECT * FROM {child} LIMIT {JOINED}) AS c JOIN {parent} AS p ON {} \
         GROUP BY {by} ORDER BY count(*) DESC LIMIT 10",
        on.join(" AND ")
    )
}

fn rows(asker: &Asker<'_>, from: &str) -> Result<RowCount> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT {})", COUNTED + 1);
    match asker.bounded(|| asker.conn.query_row(&sql, [], |row| row.get::<_, i64>(0))) {
        Ok(rows) if rows as u64 > COUNTED => Ok(RowCount::MoreThan(COUNTED)),
        Ok(rows) => Ok(RowCount::Exactly(rows as u64)),
        Err(error) if is_interrupted(&error) => Ok(RowCount::Unknown),
        Err(error) => Err(error),
    }
}

/// Takes the values of these columns from rows all over the table.
fn samples(asker: &Asker<'_>, table: &Table, columns: &[&String]) -> Result<Vec<Vec<Value>>> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let columns = columns.iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", ");
    let from = quote(&table.name);
    let mut samples = Vec::new();
    let mut take = |sql: &str, parameters: &[i64]| {
        let mut statement = asker.conn.prepare(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query(params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            samples.push((0..width).map(|index| row.get(index)).collect::<Result<_>>()?);
        }
        Ok(())
    };
    let taken = asker.bounded(|| match table.rowid {
        Some(rowid) => {
            // Each alone is a look at one end of the table; asked for together they are a walk through all of it.
            let ends = format!("SELECT (SELECT min({rowid}) FROM {from}), (SELECT max({rowid}) FROM {from})");
            let ends: (Option<i64>, Option<i64>) =
                asker.conn.query_row(&ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (Some(first), Some(last)) = ends else { return Ok(()) };
            let sql = format!("SELECT {columns} FROM {from} WHERE {rowid} >= ?1 ORDER BY {rowid} LIMIT 1");
            let mut dice = Dice::new(last as u64);
            (0..SAMPLES).try_for_each(|_| take(&sql, &[dice.between(first, last)]))
        }
        // Without row numbers: from both ends.
        None => ["ASC", "DESC"].into_iter().try_for_each(|order| {
            let by: Vec<_> = table.key.iter().map(|column| format!("{column} {order}")).collect();
            let by = if by.is_empty() { String::new() } else { format!(" ORDER BY {}", by.join(", ")) };
            take(&format!("SELECT {columns} FROM {from}{by} LIMIT {}", SAMPLES / 2), &[])
        }),
    });
    match taken {
        // What was found in time will do.
        Err(error) if is_interrupted(&error) => Ok(samples),
        taken => taken.map(|()| samples),
    }
}

/// These values, unless one is null: nothing equals null.
fn known(values: &[Value]) -> Option<Vec<Value>> {
    (!values.contains(&Value::Null)).then(|| values.to_vec())
}

/// Runs a question once with its first sample and keeps it, unless it takes too long.
fn attempt(asker: &Asker<'_>, into: &mut Vec<Query>, query: Query) -> Result<()> {
    if let Some(sample) = query.samples.first() {
        asker.bounded(|| read_all(asker.conn.prepare(&query.sql)?.query(params_from_iter(sample))?))?;
        into.push(query);
    }
    Ok(())
}

/// Goes through all rows and reads every value, as a caller would. Returns how many rows there were.
pub(crate) fn read_all(mut rows: Rows<'_>) -> Result<u64> {
    let mut count = 0;
    while let Some(row) = rows.next()? {
        (0..row.as_ref().column_count()).try_for_each(|index| row.get_ref(index).map(drop))?;
        count += 1;
    }
    Ok(count)
}

fn is_interrupted(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// Tells whether an error is the whole file's and not one table's.
pub(crate) fn is_the_files(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
        )
    )
}

fn reason(error: &Error) -> String {
    if is_interrupted(error) { "takes too long".into() } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::catalog;

    fn queries_of(sql: &str) -> Queries {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(sql).unwrap();
        let tables = catalog::tables(&conn).unwrap();
        prepare(&mut conn, &tables).unwrap()
    }

    fn sql(queries: &[Query]) -> Vec<&str> {
        queries.iter().map(|query| query.sql.as_str()).collect()
    }

    #[test]
    fn an_empty_database_can_be_asked_nothing() {
        let queries = queries_of("");
        assert!(
            queries.points.is_empty()
                && queries.ranges.is_empty()
                && queries.totals.is_empty()
                && queries.left_out.is_empty()
        );
    }

    #[test]
    fn a_table_is_asked_by_key_by_index_and_along_its_references() {
        let queries = queries_of(
            "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO artist VALUES (1, 'a'), (2, 'b');
             CREATE TABLE album (title TEXT, artist INT REFERENCES artist); CREATE INDEX by_artist ON album (artist);
             INSERT INTO album VALUES ('x', 1), ('y', 2), ('z', 2), ('w', NULL)",
        );
        assert_eq!(
            sql(&queries.points),
            ["SELECT * FROM \"artist\" WHERE \"id\" = ?1", "SELECT * FROM \"album\" WHERE rowid = ?1"]
        );
        assert_eq!(
            sql(&queries.ranges),
            [
                "SELECT * FROM \"artist\" WHERE \"id\" >= ?1 ORDER BY \"id\" LIMIT 100",
                "SELECT * FROM \"album\" WHERE rowid >= ?1 ORDER BY rowid LIMIT 100",
                "SELECT * FROM \"album\" WHERE \"artist\" >= ?1 ORDER BY \"artist\" LIMIT 100",
            ]
        );
        assert_eq!(queries.totals.len(), 3);
        assert!(queries.totals[2].sql.contains("JOIN \"artist\" AS p ON c.\"artist\" = p.\"id\""));
        assert_eq!(queries.rows, [RowCount::Exactly(2), RowCount::Exactly(4)]);
        assert!(queries.ranges[2].samples.iter().all(|sample| sample[0] != Value::Null));
    }

    #[test]
    fn hostile_names_and_odd_tables_are_asked_as_well() {
        let queries = queries_of(
            r#"CREATE TABLE "x"" WHERE 0; --" ("a ""b" TEXT, "select" INT, PRIMARY KEY ("select", "a ""b")) WITHOUT ROWID;
               INSERT INTO "x"" WHERE 0; --" VALUES ('k', 1);
               CREATE VIEW "v'1" AS SELECT * FROM "x"" WHERE 0; --"; CREATE VIRTUAL TABLE "f t" USING fts5(body);
               CREATE TABLE nobody (a); CREATE TABLE self (id INTEGER PRIMARY KEY, up REFERENCES self); INSERT INTO self VALUES (1, 1);"#,
        );
        assert_eq!(queries.left_out, [""; 0]);
        assert_eq!((queries.points.len(), queries.ranges.len()), (2, 4));
        assert_eq!(queries.points[0].samples[0], [Value::Integer(1), Value::Text("k".into())]);
    }

    #[test]
    fn what_cannot_be_answered_is_left_out_with_the_reason() {
        let queries = queries_of(
            "CREATE TABLE good (a); INSERT INTO good VALUES (1); CREATE VIEW broken AS SELECT * FROM gone;
             CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n;",
        );
        assert_eq!(queries.points.len(), 1);
        assert!(queries.left_out[0].contains("gone"), "{:?}", queries.left_out);
        assert_eq!(queries.left_out[1], "endless: takes too long");
        assert_eq!(queries.rows, [RowCount::Exactly(1), RowCount::Unknown, RowCount::Unknown]);
    }

    #[test]
    fn the_largest_row_numbers_there_can_be_are_no_trouble() {
        let queries = queries_of(&format!(
            "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES ({}), ({})",
            i64::MIN,
            i64::MAX
        ));
        assert_eq!(queries.points[0].samples.len(), SAMPLES);
    }
}
