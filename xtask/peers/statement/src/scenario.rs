//! What is measured: one point read in many ways, and what warming costs.
//!
//! Owns the loops. Must not know how figures are shown. Invariant: within a round the competitors take turns in short slices,
//! so a disturbance hits all of them.

use crate::report::{Figure, Report};
use crate::stage::{ROWS, Stage, open};
use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{StatementKey, StatementRegistry, statement};
use rusqlite::{Connection, PrepFlags, Row, Statement};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Does its work so many times and says how long that took.
type Competitor = fn(&Stage, u64) -> Duration;

/// Runs one round of a scenario.
type Scenario = fn(&'static str, &Stage, Duration, &mut Report);

/// All ways to do a point read, by name.
pub const COMPETITORS: &[(&str, Competitor)] = &[
    ("held", held),
    ("rusqlite cached", rusqlite_cached),
    ("ours cached", ours_cached),
    ("ours keyed", ours_keyed),
    ("held, 20 texts", held_many),
    ("rusqlite cached, 20 texts", rusqlite_cached_many),
    ("ours cached, 20 texts", ours_cached_many),
    ("ours keyed, 20 texts", ours_keyed_many),
    ("rusqlite prepare", rusqlite_prepare),
    ("ours off", ours_off),
    ("ours keyed, effects asked", ours_effects),
    ("ours keyed, accesses asked", ours_accesses),
];

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("point read in a transaction, one text", |name, stage, time, report| {
        stage.pin();
        added(name, stage, time, report, ["held", "rusqlite cached", "ours cached", "ours keyed"]);
    }),
    ("point read in a transaction, 20 texts in turn", |name, stage, time, report| {
        stage.pin();
        let names = ["held, 20 texts", "rusqlite cached, 20 texts", "ours cached, 20 texts", "ours keyed, 20 texts"];
        added(name, stage, time, report, names);
    }),
    ("point read with its own locks, one text", |name, stage, time, report| {
        added(name, stage, time, report, ["held", "rusqlite cached", "ours cached", "ours keyed"]);
    }),
    ("preparing each time, in a transaction", |name, stage, time, report| {
        stage.pin();
        whole(name, stage, time, report, &["rusqlite prepare", "ours off", "rusqlite cached"]);
    }),
    ("asking what each read may have left or touched, in a transaction", |name, stage, time, report| {
        stage.pin();
        let names = ["ours keyed", "ours keyed, effects asked", "ours keyed, accesses asked"];
        whole(name, stage, time, report, &names);
    }),
    ("warming 50 statements", |name, stage, _, report| warming(name, stage, report)),
];

/// Reports what a read costs more than one with a held statement, which comes first, in units of what rusqlite's cache costs,
/// which comes second.
fn added(scenario: &'static str, stage: &Stage, time: Duration, report: &mut Report, names: [&'static str; 4]) {
    let nanos = take_turns(stage, time, &names);
    for (name, spent) in names.iter().zip(&nanos) {
        report.add(figure(scenario, name, "point read", "ns", *spent, nanos[1]));
    }
    for (name, spent) in names.iter().zip(&nanos).skip(1) {
        report.add(figure(scenario, name, "added to held", "ns", spent - nanos[0], nanos[1] - nanos[0]));
    }
}

/// Reports what a read costs, in units of the first competitor.
fn whole(scenario: &'static str, stage: &Stage, time: Duration, report: &mut Report, names: &[&'static str]) {
    let nanos = take_turns(stage, time, names);
    for (name, spent) in names.iter().zip(&nanos) {
        report.add(figure(scenario, name, "point read", "ns", *spent, nanos[0]));
    }
}

fn figure(
    scenario: &'static str,
    competitor: &'static str,
    metric: &'static str,
    unit: &'static str,
    value: f64,
    base: f64,
) -> Figure {
    Figure { scenario, competitor, metric, unit, value, ratio: value / base }
}

/// Lets competitors work in slices until each has had its time; returns the nanoseconds each took for one read.
fn take_turns(stage: &Stage, time: Duration, names: &[&'static str]) -> Vec<f64> {
    const SLICE: u64 = 1_000;
    let competitors: Vec<Competitor> = names
        .iter()
        .map(|name| COMPETITORS.iter().find(|(known, _)| known == name).expect("a competitor's name").1)
        .collect();
    let mut spent = vec![Duration::ZERO; competitors.len()];
    let mut slices = 0;
    while spent.iter().max().is_some_and(|most| *most < time) {
        for (competitor, spent) in competitors.iter().zip(&mut spent) {
            *spent += competitor(stage, SLICE);
        }
        slices += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    spent.iter().map(|spent| spent.as_nanos() as f64 / (slices * SLICE) as f64).collect()
}

fn warming(scenario: &'static str, stage: &Stage, report: &mut Report) {
    const STATEMENTS: usize = 50;
    let texts: Vec<String> = (0..STATEMENTS).map(crate::stage::text).collect();
    let registry = Arc::new(StatementRegistry::default());
    let known = StatementConnection::new(open(&stage.path()), Arc::clone(&registry), STATEMENTS);
    for text in &texts {
        for _ in 0..64 {
            drop(known.prepare_cached(text).expect("a statement"));
        }
    }
    let mut figures = [0.0; 3];
    let warmed = StatementConnection::new(open(&stage.path()), registry, STATEMENTS);
    // Reading the schema comes first everywhere, as no connection is of any use without.
    warmed.prepare("SELECT 1 FROM person").expect("a statement");
    let start = Instant::now();
    assert_eq!(warmed.warm(STATEMENTS, Duration::MAX), STATEMENTS);
    figures[0] = micros(start.elapsed());
    let plain = open(&stage.path());
    plain.prepare("SELECT 1 FROM person").expect("a statement");
    let start = Instant::now();
    let all: Vec<Statement<'_>> = texts.iter().map(|text| plain.prepare(text).expect("a statement")).collect();
    figures[1] = micros(start.elapsed());
    drop(all);
    // A new connection whose user waits for it: the schema is part of it.
    let cold = StatementConnection::new(open(&stage.path()), Arc::clone(known.registry()), STATEMENTS);
    let start = Instant::now();
    assert_eq!(cold.warm(STATEMENTS, Duration::MAX), STATEMENTS);
    figures[2] = micros(start.elapsed());
    let names = ["ours", "rusqlite prepare", "ours, with the schema"];
    for (name, value) in names.into_iter().zip(figures) {
        report.add(figure(scenario, name, "all 50", "µs", value, figures[1]));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The ids of a run of reads, the same for everybody.
fn ids(times: u64) -> impl Iterator<Item = i64> {
    let mut id = 1;
    (0..times).map(move |_| {
        id = id % ROWS + 1;
        id
    })
}

fn length(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(row.get_ref(0)?.as_str()?.len())
}

/// Prepares as caches do: without the flag, statements that are held take the memory which SQLite sets aside for short use.
fn hold<'s>(stage: &'s Stage, text: &str) -> Statement<'s> {
    stage.plain.prepare_with_flags(text, PrepFlags::SQLITE_PREPARE_PERSISTENT).expect("a statement")
}

fn held(stage: &Stage, times: u64) -> Duration {
    let mut statement = hold(stage, &stage.texts[0]);
    let start = Instant::now();
    for id in ids(times) {
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn held_many(stage: &Stage, times: u64) -> Duration {
    let mut statements: Vec<_> = stage.texts.iter().map(|text| hold(stage, text)).collect();
    let count = statements.len();
    let start = Instant::now();
    for (at, id) in ids(times).enumerate() {
        black_box(statements[at % count].query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn rusqlite_cached(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    let start = Instant::now();
    for id in ids(times) {
        let mut statement = stage.plain.prepare_cached(text).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn rusqlite_cached_many(stage: &Stage, times: u64) -> Duration {
    let start = Instant::now();
    for (at, id) in ids(times).enumerate() {
        let mut statement = stage.plain.prepare_cached(&stage.texts[at % stage.texts.len()]).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn ours_cached(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    let start = Instant::now();
    for id in ids(times) {
        let mut statement = stage.ours.prepare_cached(text).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn ours_cached_many(stage: &Stage, times: u64) -> Duration {
    let start = Instant::now();
    for (at, id) in ids(times).enumerate() {
        let mut statement = stage.ours.prepare_cached(&stage.texts[at % stage.texts.len()]).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn ours_keyed(stage: &Stage, times: u64) -> Duration {
    let start = Instant::now();
    for id in ids(times) {
        let key = statement!("SELECT name, born FROM person WHERE id = ?1 AND 0 >= 0");
        let mut statement = stage.ours.prepare_keyed(&key).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

/// As `ours_keyed`, and between two reads what a pool does between two users.
fn ours_effects(stage: &Stage, times: u64) -> Duration {
    let start = Instant::now();
    for id in ids(times) {
        let key = statement!("SELECT name, born FROM person WHERE id = ?1 AND 0 >= 0");
        let mut statement = stage.ours.prepare_keyed(&key).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
        drop(statement);
        stage.ours.rest();
        assert!(stage.ours.take_effects().is_empty());
    }
    start.elapsed()
}

/// As `ours_keyed`, and each time what was read is asked.
fn ours_accesses(stage: &Stage, times: u64) -> Duration {
    let start = Instant::now();
    for id in ids(times) {
        let key = statement!("SELECT name, born FROM person WHERE id = ?1 AND 0 >= 0");
        let mut statement = stage.ours.prepare_keyed(&key).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
        drop(statement);
        let mut tables = 0;
        stage.ours.drain_accesses(|accesses| tables += accesses.tables_read.len());
        assert!(tables > 0);
    }
    start.elapsed()
}

/// Keys of texts of the same length as those of the others.
macro_rules! keys {
    ($($number:literal)*) => {
        [$(statement!(concat!("SELECT name, born FROM person WHERE id = ?1 AND ", $number, " >= 0"))),*]
    };
}

fn ours_keyed_many(stage: &Stage, times: u64) -> Duration {
    static KEYS: [StatementKey<'static>; crate::stage::TEXTS] =
        keys!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    let start = Instant::now();
    for (at, id) in ids(times).enumerate() {
        let mut statement = stage.ours.prepare_keyed(&KEYS[at % KEYS.len()]).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn rusqlite_prepare(stage: &Stage, times: u64) -> Duration {
    prepare(&stage.plain, stage, times)
}

fn prepare(connection: &Connection, stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    let start = Instant::now();
    for id in ids(times) {
        let mut statement = connection.prepare(text).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}

fn ours_off(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    let start = Instant::now();
    for id in ids(times) {
        let mut statement = stage.off.prepare_cached(text).expect("a statement");
        black_box(statement.query_row([id], length).expect("a row"));
    }
    start.elapsed()
}
