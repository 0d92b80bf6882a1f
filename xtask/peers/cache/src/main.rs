//! Measures pool-cache against quick_cache, moka, a plain LRU cache and dashmap (as a plain map): competitors interleaved round by
//! round in one process, medians with spread, ratios of ours to theirs.
//!
//! Run with `cargo xtask bench cache`; `--rounds N` (default 7), `--millis N` of each measuring (default 300), `--only TEXT` for
//! scenarios whose name contains it (`cache-hit-ratio/loop` for some of the traces), `--json FILE` to keep the figures. The hit
//! ratios, which no noise touches, are taken once. Measure on a machine that does nothing else. ours and moka have a time to
//! live, the others know none.

mod counting;
mod peers;
mod ratio;
#[path = "../../pool/src/report.rs"]
mod report;
mod scenario;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use counting::Counting;
use peers::{Lru, Map, Moka, MokaExpiring, Ours, Quick};
use report::Report;
use scenario::{
    Round, herd, hit_large, hit_small, insert_large, insert_small, memory_full, memory_used, purge, skewed_large,
    skewed_small,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type T = String;
type N = u64;

/// A scenario's name and its competitors in the order in which they take turns.
type Scenario = (&'static str, &'static [fn(&mut Round<'_>)]);

const SCENARIOS: &[Scenario] = &[
    (
        "cache-hit 1000",
        &[hit_small::<Ours<T>>, hit_small::<Quick<T>>, hit_small::<Moka<T>>, hit_small::<Lru<T>>, hit_small::<Map<T>>],
    ),
    (
        "cache-hit 100000",
        &[hit_large::<Ours<T>>, hit_large::<Quick<T>>, hit_large::<Moka<T>>, hit_large::<Lru<T>>, hit_large::<Map<T>>],
    ),
    (
        "cache-insert 1000",
        &[insert_small::<Ours<N>>, insert_small::<Quick<N>>, insert_small::<Moka<N>>, insert_small::<Lru<N>>],
    ),
    (
        "cache-insert 100000",
        &[insert_large::<Ours<N>>, insert_large::<Quick<N>>, insert_large::<Moka<N>>, insert_large::<Lru<N>>],
    ),
    (
        "cache-zipf 1000",
        &[skewed_small::<Ours<N>>, skewed_small::<Quick<N>>, skewed_small::<Moka<N>>, skewed_small::<Lru<N>>],
    ),
    (
        "cache-zipf 100000",
        &[skewed_large::<Ours<N>>, skewed_large::<Quick<N>>, skewed_large::<Moka<N>>, skewed_large::<Lru<N>>],
    ),
    ("cache-herd", &[herd::<Ours<N>>, herd::<Arc<Quick<N>>>, herd::<moka::future::Cache<u64, Arc<u64>>>]),
    (
        "cache-memory full",
        &[memory_full::<Ours<N>>, memory_full::<Quick<N>>, memory_full::<Moka<N>>, memory_full::<Lru<N>>],
    ),
    (
        "cache-memory used",
        &[memory_used::<Ours<N>>, memory_used::<Quick<N>>, memory_used::<Moka<N>>, memory_used::<Lru<N>>],
    ),
    ("cache-purge", &[purge::<Ours<N>>, purge::<MokaExpiring>]),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let number = |name: &str, default: u64| option(name).map_or(default, |text| text.parse().expect("a number"));
    let rounds = number("--rounds", 7);
    let time = Duration::from_millis(number("--millis", 300));
    let only = option("--only").unwrap_or_default();
    let (only, part) = only.split_once('/').unwrap_or((&only, ""));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut report = Report::default();
    for (name, competitors) in SCENARIOS.iter().filter(|(name, _)| name.contains(only)) {
        for round in 0..=rounds {
            // The first round warms up and does not count.
            let mut ignored = Report::default();
            for competitor in *competitors {
                let report = if round == 0 { &mut ignored } else { &mut report };
                competitor(&mut Round { report, runtime: &runtime, time });
            }
        }
        eprintln!("measured: {name}");
    }
    print!("{}", report.table());
    let mut ratios = Report::default();
    if "cache-hit-ratio".contains(only) {
        print!("{}", ratio::measure(part, &mut ratios));
    }
    if let Some(file) = option("--json") {
        let rows = [report.json(), ratios.json()].map(|rows| rows.as_array().cloned().unwrap_or_default()).concat();
        std::fs::write(&file, format!("{:#}\n", serde_json::Value::from(rows))).expect("the file can be written");
    }
}
