//! Owns what is measured: one function a question, the same for every competitor.
//!
//! Must not know who competes.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use peers_figures::Better;
use tokio::runtime::Runtime;

use crate::counting;
use crate::ours::{Expiring, Loading, Peer};
use crate::traces::{Dice, zipf};

/// One measuring of one competitor.
pub struct Round<'r> {
    pub figures: &'r mut peers_figures::Round,
    pub runtime: &'r Runtime,
    pub time: Duration,
}

impl Round<'_> {
    fn add(&mut self, metric: &str, value: f64) {
        let (unit, better) = match metric {
            _ if metric.starts_with("time") => ("ns", Better::Lower),
            _ if metric.starts_with("throughput") => ("1/s", Better::Higher),
            _ if metric.starts_with("memory") => ("B/entry", Better::Lower),
            "loads" => ("loads", Better::Lower),
            _ => ("us", Better::Lower),
        };
        self.figures.add(metric, unit, better, value);
    }
}

const BATCH: usize = 1000;

fn text(number: u64) -> String {
    format!("key-{number:012}")
}

/// Keys `0..entries` in an order that no prefetcher guesses.
fn shuffled(entries: u64) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..entries).collect();
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    for i in (1..keys.len()).rev() {
        keys.swap(i, dice.roll() as usize % (i + 1));
    }
    keys
}

fn hit<P: Peer<String>>(round: &mut Round<'_>, metric: &str, entries: u64) {
    let keys: Vec<String> = shuffled(entries).into_iter().map(text).collect();
    // Room for twice as many, for those whose bound holds only roughly.
    let cache = P::new(entries as usize * 2);
    keys.iter().for_each(|key| cache.put(key.clone(), 1));
    cache.settle();
    keys.iter().for_each(|key| _ = black_box(cache.look(key)));
    let began = Instant::now();
    let (mut count, mut found) = (0, 0);
    let mut all = keys.iter().cycle();
    while began.elapsed() < round.time {
        found += all.by_ref().take(BATCH).filter(|key| black_box(cache.look(key)).is_some()).count();
        count += BATCH;
    }
    let time = began.elapsed().as_nanos() as f64 / count as f64;
    assert!(found * 100 >= count * 99, "{} lost entries: {found} of {count}", P::NAME);
    round.add(metric, time);
}

pub fn hit_small<P: Peer<String>>(round: &mut Round<'_>) {
    hit::<P>(round, "time", 1_000);
}

pub fn hit_large<P: Peer<String>>(round: &mut Round<'_>) {
    hit::<P>(round, "time_100000", 100_000);
}

fn insert<P: Peer<u64>>(round: &mut Round<'_>, metric: &str, capacity: u64) {
    let cache = P::new(capacity as usize);
    (0..capacity * 2).for_each(|key| cache.put(key, key));
    cache.settle();
    let mut next = capacity * 2;
    let began = Instant::now();
    while began.elapsed() < round.time {
        (next..next + BATCH as u64).for_each(|key| cache.put(key, key));
        next += BATCH as u64;
    }
    round.add(metric, began.elapsed().as_nanos() as f64 / (next - capacity * 2) as f64);
}

pub fn insert_small<P: Peer<u64>>(round: &mut Round<'_>) {
    insert::<P>(round, "time", 1_000);
}

pub fn insert_large<P: Peer<u64>>(round: &mut Round<'_>) {
    insert::<P>(round, "time_100000", 100_000);
}

/// Two threads ask for keys of which one in ten fits, and insert what is missing.
fn skewed<P: Peer<u64>>(round: &mut Round<'_>, metric: &str, capacity: usize) {
    let cache = P::new(capacity);
    let lists: Vec<Vec<u64>> = (1..=2).map(|seed| zipf(capacity * 10, 0.99, 1 << 20, seed * 0x9E37_79B9)).collect();
    let (start, over, asked) = (Barrier::new(3), AtomicBool::new(false), AtomicU64::new(0));
    let ask = |key: u64| {
        if black_box(cache.look(&key)).is_none() {
            cache.put(key, key);
        }
    };
    lists.iter().flatten().for_each(|&key| ask(key));
    let elapsed = std::thread::scope(|scope| {
        for keys in &lists {
            let (start, over, asked, ask) = (&start, &over, &asked, &ask);
            scope.spawn(move || {
                let mut keys = keys.iter().cycle();
                let mut count = 0;
                start.wait();
                while !over.load(Relaxed) {
                    keys.by_ref().take(BATCH).for_each(|&key| ask(key));
                    count += BATCH as u64;
                }
                asked.fetch_add(count, Relaxed);
            });
        }
        start.wait();
        let began = Instant::now();
        std::thread::sleep(round.time);
        over.store(true, Relaxed);
        began.elapsed()
    });
    round.add(metric, asked.load(Relaxed) as f64 / elapsed.as_secs_f64());
}

pub fn skewed_small<P: Peer<u64>>(round: &mut Round<'_>) {
    skewed::<P>(round, "throughput", 1_000);
}

pub fn skewed_large<P: Peer<u64>>(round: &mut Round<'_>) {
    skewed::<P>(round, "throughput_100000", 100_000);
}

/// 64 tasks miss one key whose loader takes 10 ms.
pub fn herd<P: Loading>(round: &mut Round<'_>) {
    let loads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&loads);
    let served = round.runtime.block_on(async move {
        let cache = P::new(1_000);
        let began = Instant::now();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (cache, loads) = (cache.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let loader = async {
                        loads.fetch_add(1, Relaxed);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        7
                    };
                    assert_eq!(*cache.load(1, loader).await, 7);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        began.elapsed()
    });
    round.add("time", served.as_nanos() as f64);
    round.add("loads", loads.load(Relaxed) as f64);
}

const ENTRIES: u64 = 100_000;

/// Bytes an entry costs over key (8), pointer to the value (8) and what it points to (24).
fn memory<P: Peer<u64>>(round: &mut Round<'_>, metric: &str, inserted: u64) {
    let (bytes, cache) = counting::bytes(|| {
        let cache = P::new(ENTRIES as usize);
        for key in 0..inserted {
            cache.put(key, key);
            if key % 64 == 0 {
                cache.settle();
            }
        }
        cache.settle();
        cache
    });
    let kept = (0..inserted).filter(|key| cache.look(key).is_some()).count();
    round.add(metric, bytes as f64 / kept as f64 - 40.0);
}

pub fn memory_full<P: Peer<u64>>(round: &mut Round<'_>) {
    memory::<P>(round, "memory", ENTRIES);
}

pub fn memory_used<P: Peer<u64>>(round: &mut Round<'_>) {
    memory::<P>(round, "memory_used", 10 * ENTRIES);
}

/// The longest time between two looks at the clock of a thread that does nothing else, while another does the same: what the machine
/// takes from two busy threads that share nothing. (A third one beside the purge would take from the other two itself, where there are two
/// processors.)
fn longest_gap(time: Duration) -> Duration {
    let spin = || {
        let (began, mut longest) = (Instant::now(), Duration::ZERO);
        let mut last = began;
        while last - began < time {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(spin);
        let longest = spin();
        other.join().expect("no panic");
        longest
    })
}

/// A million entries, half of which expire within a second: the longest call of a thread that asks and inserts, while another thread purges
/// and while nothing happens, and beside it the longest gap of a thread that has nothing to do with the cache.
pub fn purge<P: Expiring>(round: &mut Round<'_>) {
    const ENTRIES: u64 = 1_000_000;
    let cache = P::new(ENTRIES as usize * 2);
    let began = Instant::now();
    let due = Duration::from_secs(4);
    let mut dice = Dice(3);
    for key in 0..ENTRIES {
        let short = (due - Duration::from_millis(dice.roll() % 1000)).saturating_sub(began.elapsed());
        cache.put(key, key, if key % 2 == 0 { short } else { Duration::from_secs(3600) });
    }
    let (over, fill) = (AtomicBool::new(false), began.elapsed());
    assert!(fill < due - Duration::from_secs(1), "{} took {fill:?} to fill", P::NAME);
    std::thread::sleep((due + Duration::from_millis(50)).saturating_sub(began.elapsed()));
    let longest = |over: &AtomicBool| {
        let (mut dice, mut longest) = (Dice(5), Duration::ZERO);
        while !over.load(Relaxed) {
            // Odd keys: they are there, so nothing is timed but the wait for others.
            let key = (dice.roll() % ENTRIES) | 1;
            let called = Instant::now();
            if key % 4 == 1 {
                cache.put(key, key, Duration::from_secs(3600));
            } else {
                black_box(cache.look(key));
            }
            longest = longest.max(called.elapsed());
        }
        longest
    };
    let purging = std::thread::scope(|scope| {
        let caller = scope.spawn(|| longest(&over));
        std::thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        cache.purge();
        let purging = began.elapsed();
        over.store(true, Relaxed);
        let longest = caller.join().expect("no panic");
        round.add("longest_call", longest.as_secs_f64() * 1e6);
        purging
    });
    round.add("purge", purging.as_secs_f64() * 1e6);
    over.store(false, Relaxed);
    let quiet = std::thread::scope(|scope| {
        let caller = scope.spawn(|| longest(&over));
        std::thread::sleep(purging + Duration::from_millis(5));
        over.store(true, Relaxed);
        caller.join().expect("no panic")
    });
    round.add("longest_quiet", quiet.as_secs_f64() * 1e6);
    round.add("longest_gap", longest_gap(purging + Duration::from_millis(5)).as_secs_f64() * 1e6);
}
