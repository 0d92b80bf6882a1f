//! Measures `pool-manager`, and with the feature `peers` rusqlite alone, in the version that `pool-manager` is built on.
//!
//! Knows who takes part; what is measured is the arena's business.

mod fill;
mod ours;
#[cfg(feature = "peers")]
mod raw;
#[path = "../../rusqlite.rs"]
mod work;

use ours::{Ours, OursBlocking};
use peers_sqlite_arena::{CACHED, Entrant, OPENING, Quirks, READS, REUSE, Runner, WRITES};

/// Crowds, for those who take part in nothing else.
#[cfg(feature = "peers")]
const CROWDS: &[&str] = &[
    "read-point-64-tasks",
    "write-64-normal",
    "write-64-full",
    "mixed-90-10",
    "read-modify-write",
    "read-point-scaling",
];

fn ours() -> Vec<Entrant> {
    let usual = Quirks::default();
    let uncached = Quirks { query_cache: false, ..usual };
    let tables = Quirks { rows: false, ..usual };
    let alone = Quirks { strict: false, ..usual };
    let anew = Quirks { reuse: false, ..usual };
    vec![
        Entrant::new::<Ours>("ours (async)", usual, &[READS, REUSE, OPENING, WRITES, CACHED]).with_memory(),
        Entrant::new::<OursBlocking>("ours (blocking)", usual, &[READS, REUSE, OPENING, WRITES, CACHED]),
        Entrant::new::<Ours>("ours (statements anew)", anew, &[REUSE]),
        Entrant::new::<Ours>("ours (no query cache)", uncached, &[READS, WRITES, CACHED]),
        Entrant::new::<Ours>("ours (whole tables)", tables, &[&["query-cache-read-mostly", "query-cache-writes"]]),
        Entrant::new::<OursBlocking>("ours (external_writers = none)", alone, &[&["query-cache-hit"]]),
    ]
}

/// rusqlite alone: a connection a thread, one for all behind a mutex, one for each operation.
#[cfg(feature = "peers")]
fn plain() -> Vec<Entrant> {
    use raw::{OneConnection, OneConnectionTasks, OpenEachTime, Raw};
    let usual = Quirks::default();
    let anew = Quirks { reuse: false, ..usual };
    let immediate = Quirks { immediate: true, ..usual };
    vec![
        Entrant::new::<Raw>("raw-rusqlite", usual, &[READS, REUSE, &["write-single"], CACHED]).with_memory(),
        Entrant::new::<Raw>("raw-rusqlite (statements anew)", anew, &[REUSE]),
        Entrant::new::<OpenEachTime>(
            "raw-rusqlite (opens)",
            usual,
            &[OPENING, &["read-point-64-tasks", "mixed-90-10"]],
        ),
        Entrant::new::<OneConnection>("raw-rusqlite (one, mutex)", immediate, &[CROWDS]),
        Entrant::new::<OneConnectionTasks>("raw-rusqlite (one, mutex, tasks)", immediate, &[CROWDS]),
    ]
}

#[cfg(not(feature = "peers"))]
fn plain() -> Vec<Entrant> {
    Vec::new()
}

fn main() {
    let entrants = [ours(), plain()].concat();
    let built = || work::built(include_str!("../Cargo.lock"), &["pool-manager", "rusqlite"]);
    print!("{}", peers_sqlite_arena::main(&Runner { entrants, built, fill: Some(fill::fill) }));
}
