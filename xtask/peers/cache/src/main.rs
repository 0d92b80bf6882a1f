//! Measures pool-cache, and with the feature `peers` quick_cache, moka, a plain LRU cache and dashmap as a plain map.
//!
//! `cargo xtask bench cache` builds this program and calls it once for each figure of each round. Knows who takes part in what; what is
//! measured is the business of `scenario` and `ratio`. ours and moka have a time to live, the others know none.

mod counting;
#[cfg(feature = "peers")]
mod foreign;
mod ours;
mod ratio;
mod scenario;
mod traces;

use counting::Counting;
use ours::{Expiring, Loading, Lru, Ours, Peer};
use peers_figures::{Built, Row};
use scenario::{
    Round, herd, hit_large, hit_small, insert_large, insert_small, memory_full, memory_used, purge, skewed_large,
    skewed_small,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy)]
enum Measure {
    /// Something that takes as long as it is told to, so that a shorter one before warms up.
    Warmed(fn(&mut Round<'_>)),
    /// Something that takes as long as it takes.
    Once(fn(&mut Round<'_>)),
    /// The share of hits.
    Ratio(fn(&[u64], usize) -> f64),
}

use Measure::{Once, Ratio, Warmed};

/// What no noise touches.
const EXACT: [&str; 2] = ["cache-hit-ratio", "cache-memory"];

fn hits<P: Peer<String>>() -> Vec<Row<Measure>> {
    vec![("cache-hit", P::NAME, Warmed(hit_small::<P>)), ("cache-hit", P::NAME, Warmed(hit_large::<P>))]
}

/// The scenarios of a cache that evicts.
fn bounded<P: Peer<u64>>() -> Vec<Row<Measure>> {
    vec![
        ("cache-zipf", P::NAME, Warmed(skewed_small::<P>)),
        ("cache-zipf", P::NAME, Warmed(skewed_large::<P>)),
        ("cache-insert", P::NAME, Warmed(insert_small::<P>)),
        ("cache-insert", P::NAME, Warmed(insert_large::<P>)),
        ("cache-memory", P::NAME, Once(memory_full::<P>)),
        ("cache-memory", P::NAME, Once(memory_used::<P>)),
    ]
}

fn ratio<P: Peer<u64>>() -> Vec<Row<Measure>> {
    vec![("cache-hit-ratio", P::NAME, Ratio(ratio::hits::<P>))]
}

fn loading<P: Loading>() -> Vec<Row<Measure>> {
    vec![("cache-herd", P::NAME, Once(herd::<P>))]
}

fn expiring<P: Expiring>() -> Vec<Row<Measure>> {
    vec![("cache-purge", P::NAME, Once(purge::<P>))]
}

/// Ours, and the two that hit ratios are compared with: the plain policy and the optimum.
fn ours() -> Vec<Row<Measure>> {
    [
        hits::<Ours<String>>(),
        bounded::<Ours<u64>>(),
        ratio::<Ours<u64>>(),
        loading::<Ours<u64>>(),
        expiring::<Ours<u64>>(),
        ratio::<Lru<u64>>(),
        vec![("cache-hit-ratio", "optimum", Ratio(ratio::optimum))],
    ]
    .concat()
}

#[cfg(feature = "peers")]
fn theirs() -> Vec<Row<Measure>> {
    use foreign::{Map, Moka, MokaExpiring, MokaLoading, Quick, QuickLoading};
    [
        hits::<Quick<String>>(),
        hits::<Moka<String>>(),
        hits::<Lru<String>>(),
        hits::<Map<String>>(),
        bounded::<Quick<u64>>(),
        bounded::<Moka<u64>>(),
        bounded::<Lru<u64>>(),
        ratio::<Quick<u64>>(),
        ratio::<Moka<u64>>(),
        loading::<QuickLoading>(),
        loading::<MokaLoading>(),
        expiring::<MokaExpiring>(),
    ]
    .concat()
}

#[cfg(not(feature = "peers"))]
fn theirs() -> Vec<Row<Measure>> {
    Vec::new()
}

fn main() {
    let names: &[&str] = if cfg!(feature = "peers") { &["quick_cache", "moka", "dashmap"] } else { &[] };
    let versions = peers_figures::versions(include_str!("../Cargo.lock"), &[&["pool-cache", "lru"], names].concat());
    let once = EXACT.map(String::from).to_vec();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let rows = [ours(), theirs()].concat();
    let built = Built { built: versions, once, ..Built::default() };
    let said = peers_figures::serve(built, &rows, |measure, figures| {
        let time = figures.time;
        match measure {
            Warmed(measure) => {
                let mut warming = figures.warming(time / 4);
                measure(&mut Round { figures: &mut warming, runtime: &runtime, time: time / 4 });
                measure(&mut Round { figures, runtime: &runtime, time });
            }
            Once(measure) => measure(&mut Round { figures, runtime: &runtime, time }),
            Ratio(ask) => ratio::measure(figures, ask),
        }
    });
    print!("{said}");
}
