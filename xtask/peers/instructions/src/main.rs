//! Runs one hot path so many times and does nothing else: `peers-instructions PATH TIMES`. Without words it names the paths, each with how
//! often it wants to be run: short ones oftener, so that what differs from run to run weighs little.
//!
//! `cargo xtask bench instructions` counts the instructions of two runs and takes the difference, so that starting, opening and warming
//! fall out. Invariant: what a path does is the same in every run, whatever the clock says; who answers wrong panics.

mod beside_the_cache;
mod lower;
mod manager;

/// Something hot, how often to do it, and how, after it was prepared.
type Path = (&'static str, u64, fn(u64));

const PATHS: [Path; 13] = [
    ("acquire-release", 50_000, lower::acquire_release),
    ("cache-hit", 100_000, lower::cache_hit),
    ("statement-lookup", 20_000, lower::statement_lookup),
    ("cached-query-hit", 20_000, manager::cached_query_hit),
    ("uncacheable-query", 10_000, manager::uncacheable_query),
    ("uncacheable-read", 10_000, manager::uncacheable_read),
    ("point-read", 10_000, manager::point_read),
    ("read-without-cache", 10_000, beside_the_cache::read_without_cache),
    ("read-with-cache", 10_000, beside_the_cache::read_with_cache),
    ("write-without-cache", 4_000, beside_the_cache::write_without_cache),
    ("write-with-cache", 4_000, beside_the_cache::write_with_cache),
    ("write-beside-row", 4_000, beside_the_cache::write_beside_row),
    ("write-beside-value", 4_000, beside_the_cache::write_beside_value),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => PATHS.iter().for_each(|(name, times, _)| println!("{name} {times}")),
        [name, times] => {
            let (.., path) = PATHS.iter().find(|(known, ..)| known == name).expect("one of the paths");
            path(times.parse().expect("a number of times"));
        }
        _ => panic!("PATH TIMES, not {words:?}"),
    }
}
