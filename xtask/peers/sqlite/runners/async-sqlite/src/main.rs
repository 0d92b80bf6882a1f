//! Measures async-sqlite.
//!
//! Knows who takes part; what is measured is the arena's business.

#[path = "../../driver.rs"]
mod driver;
mod threads;
#[path = "../../rusqlite.rs"]
mod work;

use driver::On;
use peers_sqlite_arena::{CACHED, Entrant, OPENING, Quirks, READS, REUSE, Runner, WRITES};
use threads::Threads;

fn main() {
    let usual = Quirks::default();
    let immediate = Quirks { immediate: true, ..usual };
    let entrants = vec![
        Entrant::new::<On<Threads>>("async-sqlite", usual, &[READS, REUSE, OPENING, WRITES, CACHED]).with_memory(),
        Entrant::new::<On<Threads>>("async-sqlite (immediate)", immediate, &[&["read-modify-write"]]),
    ];
    let built = || work::built("async-sqlite 0.7 on rusqlite 0.41");
    print!("{}", peers_sqlite_arena::main(&Runner { entrants, built, fill: None }));
}
