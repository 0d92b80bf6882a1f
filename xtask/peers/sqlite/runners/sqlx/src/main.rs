//! Measures sqlx.
//!
//! Knows who takes part; what is measured is the arena's business.

mod pool;

use peers_sqlite_arena::{BuiltOn, CACHED, Entrant, Failure, OPENING, Quirks, READS, REUSE, Runner, WRITES};
use pool::Sqlx;
use sqlx::{Connection, SqliteConnection};

fn main() {
    let usual = Quirks::default();
    let immediate = Quirks { immediate: true, ..usual };
    let untested = Quirks { tested: false, immediate: true, ..usual };
    let entrants = vec![
        Entrant::new::<Sqlx>("sqlx", usual, &[READS, REUSE, OPENING, WRITES, CACHED]).with_memory(),
        Entrant::new::<Sqlx>("sqlx (untested, immediate)", untested, &[READS, WRITES]),
        Entrant::new::<Sqlx>("sqlx (immediate)", immediate, &[&["read-modify-write"]]),
    ];
    print!("{}", peers_sqlite_arena::main(&Runner { entrants, built, fill: None }));
}

/// Says what this program is built on.
fn built() -> BuiltOn {
    let asked = async {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await?;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut conn).await?;
        let options: Vec<String> = sqlx::query_scalar("PRAGMA compile_options").fetch_all(&mut conn).await?;
        Ok((
            format!("{}, SQLite {version}", peers_sqlite_arena::versions(include_str!("../Cargo.lock"), &["sqlx"])),
            options,
        ))
    };
    peers_sqlite_arena::block_on(asked)?.map_err(|error: sqlx::Error| Failure::other(error))
}
