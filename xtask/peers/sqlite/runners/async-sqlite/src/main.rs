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
    let built = || work::built(include_str!("../Cargo.lock"), &["async-sqlite", "rusqlite"]);
    print!("{}", peers_sqlite_arena::main(&Runner { entrants, built, fill: None }));
}
