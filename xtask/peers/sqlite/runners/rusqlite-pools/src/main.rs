//! Measures r2d2_sqlite, deadpool-sqlite and tokio-rusqlite.
//!
//! Knows who takes part; what is measured is the arena's business.

mod deadpool;
#[path = "../../driver.rs"]
mod driver;
mod one_thread;
mod r2d2_pool;
#[path = "../../rusqlite.rs"]
mod work;

use deadpool::Deadpool;
use driver::On;
use one_thread::OneThread;
use peers_sqlite_arena::{CACHED, Entrant, OPENING, Quirks, READS, REUSE, Runner, WRITES};
use r2d2_pool::R2d2;

fn main() {
    let usual = Quirks::default();
    let immediate = Quirks { immediate: true, ..usual };
    let untested = Quirks { tested: false, immediate: true, ..usual };
    let all = [READS, REUSE, OPENING, WRITES, CACHED];
    let reading_first: &[&str] = &["read-modify-write"];
    let entrants = vec![
        Entrant::new::<On<R2d2>>("r2d2", usual, &all).with_memory(),
        Entrant::new::<On<R2d2>>("r2d2 (untested, immediate)", untested, &[READS, WRITES]),
        Entrant::new::<On<R2d2>>("r2d2 (immediate)", immediate, &[reading_first]),
        Entrant::new::<On<Deadpool>>("deadpool-sqlite", usual, &all).with_memory(),
        Entrant::new::<On<Deadpool>>("deadpool-sqlite (immediate)", immediate, &[reading_first]),
        Entrant::new::<On<OneThread>>("tokio-rusqlite", usual, &all).with_memory(),
    ];
    let built = || {
        work::built(
            include_str!("../Cargo.lock"),
            &["r2d2", "r2d2_sqlite", "deadpool-sqlite", "tokio-rusqlite", "rusqlite"],
        )
    };
    print!("{}", peers_sqlite_arena::main(&Runner { entrants, built, fill: None }));
}
