//! Serving somebody's own database: whatever tables and keys it has, read-only, and the file the same afterwards.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use comfy_table::CellAlignment;
use pool_manager::{
    Connection, Result,
    rusqlite::{self, OpenFlags},
};

use super::{
    catalog::{self, Kind, Table},
    dice::Dice,
    error::{Error, problem},
    numbers::{count, printable, thousands},
    phase::{Outcome, Stage},
    queries::{self, Queries, Query, RowCount},
    report::{self, Check},
    screen::Screen,
};

/// Larger databases are not checked for corruption before they are served.
const WORTH_CHECKING: u64 = 1 << 28;

/// Tables shown before the rest is only counted.
const SHOWN: usize = 30;

/// What is in a database, and what can be asked about it.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) tables: Vec<Table>,
    pub(crate) queries: Queries,
}

/// Looks around in a database with a connection of its own, which is gone when this returns; waits no longer than `patience` for another
/// process to unlock it.
pub(crate) fn explore(path: &Path, size: u64, patience: Duration) -> Result<Contents, Error> {
    let look = || {
        // A URI would be looked for in the name otherwise: this is the name of a file, whatever is in it.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = rusqlite::Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(patience)?;
        conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA query_only = ON")?;
        let damage = if size > WORTH_CHECKING { Ok(None) } else { damage(&conn) };
        let damage = match damage {
            // An index by a collation that only its owner has cannot be checked, which does not make it damaged.
            Err(error) if !queries::is_the_files(&error) => None,
            damage => damage?,
        };
        let tables = catalog::tables(&conn)?;
        let queries = queries::prepare(&mut conn, &tables)?;
        Ok((damage, Contents { tables, queries }))
    };
    match look() {
        Ok((None, contents)) => Ok(contents),
        Ok((Some(damage), _)) => Err(Error::Unusable { path: path.into(), problem: format!("is corrupt: {damage}") }),
        Err(error) => Err(Error::Unusable { path: path.into(), problem: problem(&error) }),
    }
}

/// The first thing that is wrong with how the file is built, if anything is.
fn damage(conn: &rusqlite::Connection) -> rusqlite::Result<Option<String>> {
    let mut check = conn.prepare("PRAGMA quick_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let message: String = row.get(0)?;
        // A value that a constraint forbids is the owner's business; the file can be read.
        if message != "ok" && !message.contains(" value in ") && !message.contains("CHECK constraint failed") {
            return Ok(Some(message.lines().next_back().unwrap_or_default().to_owned()));
        }
    }
    Ok(None)
}

/// Prints what was found.
pub(crate) fn show(screen: Screen, contents: &Contents) {
    if !contents.tables.is_empty() {
        let mut table = report::table(screen, &["table", "rows", "asked by", "indexes", "refers to"]);
        for (found, rows) in contents.tables.iter().zip(&contents.queries.rows).take(SHOWN) {
            let mut parents: Vec<_> = found.references.iter().map(|reference| reference.parent.as_str()).collect();
            parents.dedup();
            let by = match found.kind {
                Kind::View => "(view)".into(),
                Kind::Virtual => "(virtual table)".into(),
                Kind::Table | Kind::WithoutRowid => {
                    let names: Vec<_> = found.key.iter().map(|column| catalog::unquote(column)).collect();
                    printable(&names.join(", "))
                }
            };
            let rows = match rows {
                RowCount::Exactly(rows) => thousands(*rows),
                RowCount::MoreThan(rows) => format!("> {}", thousands(*rows)),
                RowCount::Unknown => "?".into(),
            };
            table.add_row([
                printable(&found.name),
                rows,
                by,
                found.indexes.to_string(),
                printable(&parents.join(", ")),
            ]);
        }
        for numbers in [1, 3] {
            if let Some(column) = table.column_mut(numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
        if contents.tables.len() > SHOWN {
            println!("and {} more", thousands((contents.tables.len() - SHOWN) as u64));
        }
    }
    for left_out in &contents.queries.left_out {
        println!("{}", screen.quiet(&format!("left out  {}", printable(left_out))));
    }
}

/// Asks the questions. Phases without any are left out.
pub(crate) async fn serve(stage: &Stage, queries: &Queries) -> Result<(Vec<Outcome>, Vec<Check>)> {
    let (mut outcomes, mut checks) = (Vec::new(), Vec::new());
    for (name, queries) in [("point look-ups", &queries.points), ("range scans", &queries.ranges)] {
        if !queries.is_empty() && !stage.stop.requested() {
            let (outcome, check) = ask(stage, name, queries).await?;
            outcomes.push(outcome);
            checks.push(check);
        }
    }
    if !queries.totals.is_empty() && !stage.stop.requested() {
        let (outcome, check) = cached(stage, &queries.totals).await?;
        outcomes.push(outcome);
        checks.push(check);
    }
    Ok((outcomes, checks))
}

/// Runs questions with samples, both at random. One that finds nothing is asked again at the end: rows that are there then were missed.
async fn ask(stage: &Stage, name: &'static str, queries: &[Query]) -> Result<(Outcome, Check)> {
    let rows = Arc::new(AtomicU64::new(0));
    let missed = Arc::new(Mutex::new(BTreeSet::new()));
    let queries: Arc<[Query]> = queries.into();
    let outcome = {
        let (stage_db, queries) = (stage.db.clone(), Arc::clone(&queries));
        let (rows, missed) = (Arc::clone(&rows), Arc::clone(&missed));
        stage
            .run(name, move |number| {
                let (db, queries) = (stage_db.clone(), Arc::clone(&queries));
                let (rows, missed) = (Arc::clone(&rows), Arc::clone(&missed));
                async move {
                    let chosen = choose(&queries, number);
                    let found = db.read(move |conn| answer(conn, &queries, chosen)).await?;
                    // Relaxed: read after the tasks have been joined.
                    rows.fetch_add(found, Ordering::Relaxed);
                    if found == 0 {
                        missed.lock().unwrap_or_else(PoisonError::into_inner).insert(chosen);
                    }
                    Ok(())
                }
            })
            .await?
    };
    let missed = std::mem::take(&mut *missed.lock().unwrap_or_else(PoisonError::into_inner));
    // What another program has deleted meanwhile is not there now either.
    let mut lost = 0;
    for chosen in missed {
        let queries = Arc::clone(&queries);
        lost += u64::from(stage.db.read(move |conn| answer(conn, &queries, chosen)).await? > 0);
    }
    let text = format!(
        "{} {name} brought {} rows, {lost} missed rows that are there",
        thousands(outcome.operations),
        thousands(rows.load(Ordering::Relaxed)),
    );
    Ok((outcome, Check { passed: lost == 0, text }))
}

/// Chooses a question and one of its samples.
fn choose(queries: &[Query], number: u64) -> (usize, usize) {
    let mut dice = Dice::new(number);
    let query = dice.below(queries.len());
    (query, dice.below(queries[query].samples.len()))
}

fn answer(conn: &Connection, queries: &[Query], (query, sample): (usize, usize)) -> Result<u64> {
    let query = &queries[query];
    let mut statement = conn.prepare_cached(&query.sql)?;
    Ok(queries::read_all(statement.query(rusqlite::params_from_iter(&query.samples[sample]))?)?)
}

/// A question whose answer is worth keeping, as text so that answers can be compared. One function, because the cache tells closures apart.
fn total(sql: String) -> impl FnOnce(&Connection) -> Result<Vec<String>> + Send + 'static {
    move |conn| {
        let mut statement = conn.prepare_cached(&sql)?;
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values: rusqlite::Result<Vec<_>> =
                (0..width).map(|index| Ok(format!("{:?}", row.get_ref(index)?))).collect();
            Ok(values?.join(" "))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Serves counts and joins from the cache; at the end each is compared with a fresh answer.
async fn cached(stage: &Stage, queries: &[Query]) -> Result<(Outcome, Check)> {
    let queries: Arc<[Query]> = queries.into();
    let outcome = {
        let (stage_db, queries) = (stage.db.clone(), Arc::clone(&queries));
        stage
            .run("cached totals", move |number| {
                let (db, queries) = (stage_db.clone(), Arc::clone(&queries));
                async move {
                    let sql = queries[Dice::new(number).below(queries.len())].sql.clone();
                    db.execute_cached(&sql, None, total(sql.clone())).await.map(drop)
                }
            })
            .await?
    };
    let mut stale = 0;
    for query in queries.iter() {
        stale += usize::from(!holds(stage, &query.sql).await?);
    }
    let text = format!(
        "{} compared with a fresh answer, {stale} were stale",
        count(queries.len(), "cached count or join", "cached counts and joins")
    );
    Ok((outcome, Check { passed: stale == 0, text }))
}

/// Compares a cached answer with a fresh one; again, if they differ, because another process may have written in between.
async fn holds(stage: &Stage, sql: &str) -> Result<bool> {
    for _ in 0..3 {
        let cached = stage.db.execute_cached(sql, None, total(sql.to_owned())).await?;
        if *cached == stage.db.read(total(sql.to_owned())).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
