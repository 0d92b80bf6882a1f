//! Measures how long a program needs to read its settings: defaults, a file of 20 lines, two variables of the environment. With the
//! feature `peers` also by figment, by config and, as the least there is to do, by toml alone, which knows no layers.
//!
//! `cargo xtask bench config` builds this program and calls it once for each figure of each round. Invariant: whoever reads anything but
//! what file and environment say has failed.

#[cfg(feature = "peers")]
mod foreign;
mod ours;

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use peers_figures::{Better, Built, Row};

/// What is read again, to see that the file and the environment were read: `max_connections`, `min_connections`, and milliseconds of
/// `acquire_timeout`.
type Read = (usize, usize, u64);

/// Reads the settings of a file, and the environment where it knows one.
type Measure = fn(&Path) -> Read;

/// The file. The environment says something else of the first two.
const FILE: &str = "\
max_connections = 20
min_connections = 4
acquire_timeout = 15000
idle_timeout = 60000
reap_interval = 20000
max_connection_age = 7200000
enable_query_cache = true
max_cache_size = 2000
enable_statement_pooling = true
statement_cache_size = 128
enable_health_checks = true
enable_logging = false

[databases.analytics]
max_connections = 30
enable_query_cache = false

[databases.sessions]
max_connections = 6
max_cache_size = 100
";

const VARIABLES: [(&str, &str); 2] = [("POOL_MAX_CONNECTIONS", "32"), ("POOL_MIN_CONNECTIONS", "8")];

/// With the environment, and without.
const LAYERED: Read = (32, 8, 15_000);

fn main() {
    let ours: [Row<(Measure, Read)>; 1] = [("config-load", "ours", (ours::read, LAYERED))];
    #[cfg(feature = "peers")]
    let rows = [&ours[..], &foreign::all()].concat();
    #[cfg(not(feature = "peers"))]
    let rows = ours;
    let names: &[&str] = if cfg!(feature = "peers") { &["figment", "config", "toml"] } else { &[] };
    let built = peers_figures::versions(include_str!("../Cargo.lock"), &[&["pool-config"], names].concat());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pool.toml");
    std::fs::write(&file, FILE).expect("the file can be written");
    for (name, value) in VARIABLES {
        // SAFETY: no other thread has been started.
        unsafe { std::env::set_var(name, value) };
    }
    let said = peers_figures::serve(Built { built, ..Built::default() }, &rows, |(read, expected), round| {
        assert_eq!(read(&file), expected, "other settings than those of the file and the environment");
        time(read, &file, round.time / 4);
        round.add("time", "ns", Better::Lower, time(read, &file, round.time));
    });
    print!("{said}");
}

fn time(read: Measure, file: &Path, time: Duration) -> f64 {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < time {
        black_box(read(file));
        count += 1;
    }
    began.elapsed().as_nanos() as f64 / f64::from(count)
}
