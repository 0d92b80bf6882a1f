//! Measures pool-core, and with the feature `peers` r2d2, deadpool, bb8, mobc and fast_pool, each asked for a connection that costs
//! nothing to open.
//!
//! `cargo xtask bench pool` builds this program and calls it once for each figure of each round. Knows who takes part in what; what is
//! measured is the business of `scenario`. Everybody waits for 60 seconds at most, but deadpool by itself has no limit and is measured
//! without and with one, and so are we where the pool runs dry.

#[cfg(feature = "peers")]
mod foreign;
mod ours;
mod scenario;

use ours::{AsyncPool, BlockingPool, OursAsync, OursBlocking, OursUnlimited};
use peers_figures::{Built, Row};
use scenario::{
    Round, alone_async, alone_blocking, crowd_of_tasks, crowd_of_threads, crowd_of_yielding_tasks, many_waiters,
    scaling, stats_read, stats_unread, two_threads, two_workers,
};

type Measure = fn(&mut Round<'_>);

/// The scenarios of a pool that tasks wait for.
fn for_tasks<P: AsyncPool>() -> Vec<Row<Measure>> {
    vec![
        ("acquire-uncontended", P::NAME, alone_async::<P>),
        ("acquire-2-threads", P::NAME, two_workers::<P>),
        ("acquire-64-tasks", P::NAME, crowd_of_tasks::<P>),
        ("acquire-dry-pool", P::NAME, crowd_of_yielding_tasks::<P>),
        ("acquire-scaling", P::NAME, scaling::<P>),
    ]
}

/// The scenarios of a pool that threads wait for.
fn for_threads<P: BlockingPool>() -> Vec<Row<Measure>> {
    vec![
        ("acquire-uncontended", P::NAME, alone_blocking::<P>),
        ("acquire-2-threads", P::NAME, two_threads::<P>),
        ("acquire-64-threads", P::NAME, crowd_of_threads::<P>),
    ]
}

fn ours() -> Vec<Row<Measure>> {
    let alone: Vec<Row<Measure>> = vec![
        ("acquire-dry-pool", OursUnlimited::NAME, crowd_of_yielding_tasks::<OursUnlimited>),
        ("acquire-10000-waiters", OursAsync::NAME, many_waiters::<OursAsync>),
        ("acquire-stats-read", "ours (stats read)", stats_read),
        ("acquire-stats-read", "ours (unread)", stats_unread),
    ];
    [for_tasks::<OursAsync>(), for_threads::<OursBlocking>(), alone].concat()
}

#[cfg(feature = "peers")]
fn theirs() -> Vec<Row<Measure>> {
    use foreign::{Bb8, Deadpool, DeadpoolLimited, FastPool, Mobc, R2d2};
    let alone: Vec<Row<Measure>> = vec![
        ("acquire-10000-waiters", Deadpool::NAME, many_waiters::<Deadpool>),
        ("acquire-10000-waiters", Bb8::<false>::NAME, many_waiters::<Bb8<false>>),
    ];
    [
        for_threads::<R2d2<false>>(),
        for_threads::<R2d2<true>>(),
        for_tasks::<Deadpool>(),
        for_tasks::<DeadpoolLimited>(),
        for_tasks::<Bb8<false>>(),
        for_tasks::<Bb8<true>>(),
        for_tasks::<Mobc<false>>(),
        for_tasks::<Mobc<true>>(),
        for_tasks::<FastPool>(),
        alone,
    ]
    .concat()
}

#[cfg(not(feature = "peers"))]
fn theirs() -> Vec<Row<Measure>> {
    Vec::new()
}

fn main() {
    let names: &[&str] = if cfg!(feature = "peers") { &["r2d2", "deadpool", "bb8", "mobc", "fast_pool"] } else { &[] };
    let versions = peers_figures::versions(include_str!("../Cargo.lock"), &[&["pool-core"], names].concat());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let rows = [ours(), theirs()].concat();
    let said = peers_figures::serve(Built { built: versions, ..Built::default() }, &rows, |measure, round| {
        let time = round.time;
        let mut warming = round.warming(time / 4);
        measure(&mut Round { figures: &mut warming, runtime: &runtime, time: time / 4 });
        measure(&mut Round { figures: round, runtime: &runtime, time });
    });
    print!("{said}");
}
