//! What is measured: one point read in many ways, and what warming costs.
//!
//! Owns the loops. Must not know how figures are shown. Invariant: within a round the competitors take turns in short slices,
//! so a disturbance hits all of them.

use crate::stage::{ROWS, Stage, open};
use peers_figures::{Better, Round};
use pool_stmt::rusqlite::{CachedStatement, StatementConnection};
use pool_stmt::{StatementKey, StatementRegistry, statement};
use rusqlite::{PrepFlags, Row, Statement};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Somebody who does a point read so many times, and says how long that took.
type Competitor = (&'static str, fn(&Stage, u64) -> Duration);

/// One question.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// All is read in one transaction, so that the file's locks are not part of what is measured.
    pinned: bool,
    /// The first of the competitors holds its statement: what the others take longer is a figure, too.
    added: bool,
    competitors: &'static [Competitor],
}

/// The scenario of warming, which has no loop.
pub const WARMING: &str = "statement-warm";

/// Who takes part in it.
pub const WARMED: [&str; 3] = ["ours", "raw-rusqlite (prepare)", "ours (with the schema)"];

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "statement-point", pinned: true, added: true, competitors: ONE_TEXT },
    Scenario { name: "statement-point-20-texts", pinned: true, added: true, competitors: TWENTY_TEXTS },
    Scenario { name: "statement-point-own-locks", pinned: false, added: true, competitors: ONE_TEXT },
    Scenario {
        name: "statement-prepare",
        pinned: true,
        added: false,
        competitors: &[
            ("ours (off)", ours_off),
            ("raw-rusqlite (prepare)", rusqlite_prepare),
            ("raw-rusqlite (cached)", rusqlite_cached),
        ],
    },
    Scenario {
        name: "statement-effects",
        pinned: true,
        added: false,
        competitors: &[
            ("ours (keyed)", ours_keyed),
            ("ours (keyed, effects asked)", ours_effects),
            ("ours (keyed, accesses asked)", ours_accesses),
        ],
    },
];

const ONE_TEXT: &[Competitor] = &[
    ("raw-rusqlite (held)", held),
    ("raw-rusqlite (cached)", rusqlite_cached),
    ("ours (cached)", ours_cached),
    ("ours (keyed)", ours_keyed),
];

const TWENTY_TEXTS: &[Competitor] = &[
    ("raw-rusqlite (held)", held_many),
    ("raw-rusqlite (cached)", rusqlite_cached_many),
    ("ours (cached)", ours_cached_many),
    ("ours (keyed)", ours_keyed_many),
];

impl Scenario {
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.competitors.iter().map(|(name, _)| *name)
    }

    /// Measures all, after a shorter time that does not count.
    pub fn measure(&self, stage: &Stage, round: &mut Round) {
        if self.pinned {
            stage.pin();
        }
        self.take_turns(stage, round.time / 4);
        let nanos = self.take_turns(stage, round.time);
        for (name, spent) in self.names().zip(&nanos) {
            round.add_of(name, "time", "ns", Better::Lower, *spent);
        }
        if self.added {
            for (name, spent) in self.names().zip(&nanos).skip(1) {
                round.add_of(name, "added_to_held", "ns", Better::Lower, spent - nanos[0]);
            }
        }
    }

    /// Lets competitors work in slices until each has had its time; returns the nanoseconds each took for one read.
    fn take_turns(&self, stage: &Stage, time: Duration) -> Vec<f64> {
        const SLICE: u64 = 1_000;
        let mut spent = vec![Duration::ZERO; self.competitors.len()];
        let mut slices = 0;
        while spent.iter().max().is_some_and(|most| *most < time) {
            for ((_, competitor), spent) in self.competitors.iter().zip(&mut spent) {
                *spent += competitor(stage, SLICE);
            }
            slices += 1;
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        spent.iter().map(|spent| spent.as_nanos() as f64 / (slices * SLICE) as f64).collect()
    }
}

/// Times what a new connection needs until 50 statements are prepared.
pub fn warming(stage: &Stage, round: &mut Round) {
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
    figures[0] = nanos(start.elapsed());
    let plain = open(&stage.path());
    plain.prepare("SELECT 1 FROM person").expect("a statement");
    let start = Instant::now();
    let all: Vec<Statement<'_>> = texts.iter().map(|text| plain.prepare(text).expect("a statement")).collect();
    figures[1] = nanos(start.elapsed());
    drop(all);
    // A new connection whose user waits for it: the schema is part of it.
    let cold = StatementConnection::new(open(&stage.path()), Arc::clone(known.registry()), STATEMENTS);
    let start = Instant::now();
    assert_eq!(cold.warm(STATEMENTS, Duration::MAX), STATEMENTS);
    figures[2] = nanos(start.elapsed());
    for (name, value) in WARMED.into_iter().zip(figures) {
        round.add_of(name, "time", "ns", Better::Lower, value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "far less than a day")]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
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

/// A run of reads; what is read with is there already.
fn timed(times: u64, mut read: impl FnMut(usize, i64)) -> Duration {
    let start = Instant::now();
    for (at, id) in ids(times).enumerate() {
        read(at, id);
    }
    start.elapsed()
}

fn read(statement: &mut Statement<'_>, id: i64) {
    black_box(statement.query_row([id], length).expect("a row"));
}

fn read_ours(mut statement: CachedStatement<'_>, id: i64) {
    black_box(statement.query_row([id], length).expect("a row"));
}

fn held(stage: &Stage, times: u64) -> Duration {
    let mut statement = hold(stage, &stage.texts[0]);
    timed(times, |_, id| read(&mut statement, id))
}

fn held_many(stage: &Stage, times: u64) -> Duration {
    let mut statements: Vec<_> = stage.texts.iter().map(|text| hold(stage, text)).collect();
    let count = statements.len();
    timed(times, |at, id| read(&mut statements[at % count], id))
}

fn rusqlite_cached(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    timed(times, |_, id| read(&mut stage.plain.prepare_cached(text).expect("a statement"), id))
}

fn rusqlite_cached_many(stage: &Stage, times: u64) -> Duration {
    timed(times, |at, id| {
        read(&mut stage.plain.prepare_cached(&stage.texts[at % stage.texts.len()]).expect("a statement"), id);
    })
}

fn ours_cached(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    timed(times, |_, id| read_ours(stage.ours.prepare_cached(text).expect("a statement"), id))
}

fn ours_cached_many(stage: &Stage, times: u64) -> Duration {
    timed(times, |at, id| {
        read_ours(stage.ours.prepare_cached(&stage.texts[at % stage.texts.len()]).expect("a statement"), id);
    })
}

fn read_keyed(stage: &Stage, id: i64) {
    let key = statement!("SELECT name, born FROM person WHERE id = ?1 AND 0 >= 0");
    read_ours(stage.ours.prepare_keyed(&key).expect("a statement"), id);
}

fn ours_keyed(stage: &Stage, times: u64) -> Duration {
    timed(times, |_, id| read_keyed(stage, id))
}

/// As `ours_keyed`, and between two reads what a pool does between two users.
fn ours_effects(stage: &Stage, times: u64) -> Duration {
    timed(times, |_, id| {
        read_keyed(stage, id);
        stage.ours.rest();
        assert!(stage.ours.take_effects().is_empty());
    })
}

/// As `ours_keyed`, and each time what was read is asked.
fn ours_accesses(stage: &Stage, times: u64) -> Duration {
    timed(times, |_, id| {
        read_keyed(stage, id);
        let mut tables = 0;
        stage.ours.drain_accesses(|accesses| tables += accesses.tables_read.len());
        assert!(tables > 0);
    })
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
    timed(times, |at, id| read_ours(stage.ours.prepare_keyed(&KEYS[at % KEYS.len()]).expect("a statement"), id))
}

fn rusqlite_prepare(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    timed(times, |_, id| read(&mut stage.plain.prepare(text).expect("a statement"), id))
}

fn ours_off(stage: &Stage, times: u64) -> Duration {
    let text = black_box(&*stage.texts[0]);
    timed(times, |_, id| read_ours(stage.off.prepare_cached(text).expect("a statement"), id))
}
