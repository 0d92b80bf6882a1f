//! Measures `pool-manager` and rusqlite alone, in the version that `pool-manager` is built on.
//!
//! Knows who takes part; what is measured is the arena's business.

mod fill;
mod ours;
mod raw;
#[path = "../../rusqlite.rs"]
mod work;

use ours::{Ours, OursBlocking};
use peers_sqlite_arena::{CACHED, Entrant, OPENING, Quirks, READS, REUSE, Runner, WRITES};
use raw::{OneConnection, OpenEachTime, Raw};

fn main() {
    let usual = Quirks::default();
    let uncached = Quirks { query_cache: false, ..usual };
    let anew = Quirks { reuse: false, ..usual };
    let immediate = Quirks { immediate: true, ..usual };
    let entrants = vec![
        Entrant::new::<Ours>("ours (async)", usual, &[READS, REUSE, OPENING, WRITES, CACHED]).with_memory(),
        Entrant::new::<OursBlocking>("ours (blocking)", usual, &[READS, REUSE, OPENING, WRITES, CACHED]),
        Entrant::new::<Ours>("ours (statements anew)", anew, &[REUSE]),
        Entrant::new::<Ours>("ours (no query cache)", uncached, &[CACHED]),
        Entrant::new::<Raw>("raw-rusqlite", usual, &[READS, REUSE, &["write-single"], CACHED]).with_memory(),
        Entrant::new::<Raw>("raw-rusqlite (statements anew)", anew, &[REUSE]),
        Entrant::new::<OpenEachTime>("raw-rusqlite (opens)", usual, &[OPENING]),
        Entrant::new::<OneConnection>(
            "raw-rusqlite (one, mutex)",
            immediate,
            &[&["read-point-64-tasks", "write-64-normal", "write-64-full", "mixed-90-10", "read-modify-write"]],
        ),
    ];
    let runner = Runner { entrants, built: || work::built("pool-manager and rusqlite 0.42"), fill: Some(fill::fill) };
    print!("{}", peers_sqlite_arena::main(&runner));
}
