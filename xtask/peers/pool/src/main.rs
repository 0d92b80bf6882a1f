//! Measures pool-core against r2d2, deadpool, bb8, mobc and fast_pool: competitors interleaved round by round in one
//! process, medians with spread, ratios of ours to theirs.
//!
//! Run with `cargo run --release` in this folder; `--rounds N` (default 7), `--millis N` of each measuring (default
//! 300; 64 threads take six times that), `--only TEXT` for scenarios whose name contains it, `--competitor N` for the Nth of each alone (ours is 1; for a
//! profiler), `--json FILE` to keep the figures.
//! With `PEERS_QUANTILES` set, the crowds also show the distribution of waits and of leases. Measure on a machine that does
//! nothing else: with 64 threads on two cores a third process decides the tail.

mod peers;
mod report;
mod scenario;

use std::time::Duration;

use peers::{FastPool, Maker, OursAsync, OursBlocking};
use report::Report;
use scenario::{
    Round, alone_async, alone_blocking, crowd_of_tasks, crowd_of_threads, crowd_of_yielding_tasks, many_waiters,
    observed, two_threads, two_workers,
};

type R2d2 = r2d2::Pool<Maker>;
type Deadpool = deadpool::managed::Pool<Maker>;
type Bb8 = bb8::Pool<Maker>;
type Mobc = mobc::Pool<Maker>;

/// A scenario's name and its competitors in the order in which they take turns.
type Scenario = (&'static str, &'static [fn(&mut Round<'_>)]);

const SCENARIOS: &[Scenario] = &[
    ("one thread", &[alone_blocking::<OursBlocking>, alone_blocking::<R2d2>]),
    (
        "one task",
        &[
            alone_async::<OursAsync>,
            alone_async::<Deadpool>,
            alone_async::<Bb8>,
            alone_async::<Mobc>,
            alone_async::<FastPool>,
        ],
    ),
    (
        "two",
        &[
            two_threads::<OursBlocking>,
            two_workers::<OursAsync>,
            two_threads::<R2d2>,
            two_workers::<Deadpool>,
            two_workers::<Bb8>,
            two_workers::<Mobc>,
            two_workers::<FastPool>,
        ],
    ),
    (
        "64 tasks",
        &[
            crowd_of_tasks::<OursAsync>,
            crowd_of_tasks::<Deadpool>,
            crowd_of_tasks::<Bb8>,
            crowd_of_tasks::<Mobc>,
            crowd_of_tasks::<FastPool>,
        ],
    ),
    (
        "64 yielding tasks",
        &[
            crowd_of_yielding_tasks::<OursAsync>,
            crowd_of_yielding_tasks::<Deadpool>,
            crowd_of_yielding_tasks::<Bb8>,
            crowd_of_yielding_tasks::<Mobc>,
            crowd_of_yielding_tasks::<FastPool>,
        ],
    ),
    ("64 threads", &[crowd_of_threads::<OursBlocking>, crowd_of_threads::<R2d2>]),
    ("waiters", &[many_waiters::<OursAsync>, many_waiters::<Deadpool>, many_waiters::<Bb8>]),
    ("stats", &[observed]),
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
    let alone = option("--competitor").map(|text| text.parse::<usize>().expect("a number"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut report = Report::default();
    for (name, competitors) in SCENARIOS.iter().filter(|(name, _)| name.contains(&only)) {
        for round in 0..=rounds {
            // The first round warms up and does not count.
            let mut ignored = Report::default();
            let chosen =
                competitors.iter().enumerate().filter(|(place, _)| alone.is_none_or(|alone| alone == place + 1));
            for (_, competitor) in chosen {
                let report = if round == 0 { &mut ignored } else { &mut report };
                competitor(&mut Round { report, runtime: &runtime, time });
            }
        }
        eprintln!("measured: {name}");
    }
    print!("{}", report.table());
    if let Some(file) = option("--json") {
        std::fs::write(&file, format!("{:#}\n", report.json())).expect("the file can be written");
    }
}
