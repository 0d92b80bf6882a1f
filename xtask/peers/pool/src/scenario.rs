//! Owns what is measured: one function a question, the same for every competitor.
//!
//! Must not know who competes.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use peers_figures::{Better, Point};

use crate::ours::{AsyncPool, BlockingPool, OursBlocking};

/// One measuring of one competitor.
pub struct Round<'r> {
    pub figures: &'r mut peers_figures::Round,
    pub runtime: &'r Runtime,
    pub time: Duration,
}

impl Round<'_> {
    fn add(&mut self, metric: &str, value: f64) {
        let (unit, better) = match metric {
            "time" => ("ns", Better::Lower),
            "throughput" => ("1/s", Better::Higher),
            "fairness" => ("ratio", Better::Higher),
            "starved" => ("callers", Better::Lower),
            "out_of_order" => ("waiters", Better::Lower),
            _ => ("us", Better::Lower),
        };
        self.figures.add(metric, unit, better, value);
    }
}

/// A microsecond of work.
fn work() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_micros(1) {
        std::hint::spin_loop();
    }
}

const BATCH: u64 = 1000;

/// The stages of a crowd: whoever starts first is alone for a while, so counting begins when all have settled.
const SETTLING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Leads a crowd through its stages; returns the seconds in which it was counted.
fn lead(stage: &AtomicU8, time: Duration) -> f64 {
    std::thread::sleep(Duration::from_millis(200).min(time));
    stage.store(COUNTING, Relaxed);
    let began = Instant::now();
    std::thread::sleep(time);
    stage.store(OVER, Relaxed);
    began.elapsed().as_secs_f64()
}

pub fn alone_blocking<P: BlockingPool>(round: &mut Round<'_>) {
    let pool = P::new(10);
    drop(pool.take());
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < round.time {
        for _ in 0..BATCH {
            black_box(&mut pool.take());
        }
        count += BATCH;
    }
    round.add("time", began.elapsed().as_nanos() as f64 / count as f64);
}

pub fn alone_async<P: AsyncPool>(round: &mut Round<'_>) {
    let time = round.time;
    let run = async move {
        let pool = P::new(10);
        drop(pool.take().await);
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            for _ in 0..BATCH {
                black_box(&mut pool.take().await);
            }
            count += BATCH;
        }
        began.elapsed().as_nanos() as f64 / count as f64
    };
    let value = round.runtime.block_on(round.runtime.spawn(run)).unwrap();
    round.add("time", value);
}

fn fairness(counts: &[u64]) -> f64 {
    let (least, most) = (counts.iter().min(), counts.iter().max());
    *least.unwrap() as f64 / (*most.unwrap()).max(1) as f64
}

/// Runs this many threads for this time; each counts its leases and notes every wait.
fn threads<P: BlockingPool>(
    time: Duration,
    threads: usize,
    connections: usize,
    latency: bool,
    work: impl Fn() + Sync,
) -> (f64, Vec<u64>, Histogram<u64>) {
    let pool = P::new(connections);
    let stage = AtomicU8::new(SETTLING);
    let start = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut waits = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
                    let mut count = 0_u64;
                    start.wait();
                    loop {
                        let counting = match stage.load(Relaxed) {
                            OVER => break,
                            stage => stage == COUNTING,
                        };
                        if latency {
                            let asked = Instant::now();
                            let lease = pool.take();
                            let wait = asked.elapsed();
                            if counting {
                                waits.saturating_record(wait.as_nanos() as u64);
                            }
                            work();
                            drop(lease);
                        } else {
                            black_box(&mut pool.take());
                        }
                        count += u64::from(counting);
                    }
                    (count, waits)
                })
            })
            .collect();
        start.wait();
        let elapsed = lead(&stage, time);
        let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        let mut counts = Vec::new();
        for thread in running {
            let (count, waits) = thread.join().unwrap();
            counts.push(count);
            all.add(waits).unwrap();
        }
        (counts.iter().sum::<u64>() as f64 / elapsed, counts, all)
    })
}

/// Lets others run until each of a few tasks is on a worker of its own.
///
/// Both tasks may begin in the queue of one worker. If a pool never lets others run, the first would keep that worker and the
/// second never start: what is measured then is one task alone.
async fn find_own_worker(task: usize, places: &[AtomicU64]) {
    thread_local!(static HERE: u8 = const { 0 });
    loop {
        places[task].store(HERE.with(|here| std::ptr::from_ref(here) as u64), Relaxed);
        let mut taken: Vec<u64> = places.iter().map(|place| place.load(Relaxed)).collect();
        taken.sort_unstable();
        taken.dedup();
        if taken.len() == places.len() && taken[0] != 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The same with tasks on the runtime's workers.
fn tasks<P: AsyncPool>(
    round: &Round<'_>,
    tasks: usize,
    connections: usize,
    latency: bool,
    yielding: bool,
) -> (f64, Vec<u64>, Histogram<u64>) {
    let (runtime, time) = (round.runtime, round.time);
    let pool = {
        let _inside = runtime.enter();
        P::new(connections)
    };
    let stage = Arc::new(AtomicU8::new(SETTLING));
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..tasks).map(|_| AtomicU64::new(0)).collect());
    let places: Arc<Vec<AtomicU64>> = Arc::new((0..tasks).map(|_| AtomicU64::new(0)).collect());
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (pool, stage, counts) = (pool.clone(), Arc::clone(&stage), Arc::clone(&counts));
            let places = Arc::clone(&places);
            runtime.spawn(async move {
                if !latency {
                    find_own_worker(task, &places).await;
                }
                let mut waits = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
                let mut count = 0_u64;
                loop {
                    let counting = match stage.load(Relaxed) {
                        OVER => break,
                        stage => stage == COUNTING,
                    };
                    if latency {
                        let asked = Instant::now();
                        let lease = pool.take().await;
                        let wait = asked.elapsed();
                        if counting {
                            waits.saturating_record(wait.as_nanos() as u64);
                        }
                        work();
                        if yielding {
                            tokio::task::yield_now().await;
                        }
                        drop(lease);
                    } else {
                        black_box(&mut pool.take().await);
                    }
                    count += u64::from(counting);
                }
                counts[task].store(count, Relaxed);
                waits
            })
        })
        .collect();
    let elapsed = lead(&stage, time);
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    for task in running {
        all.add(runtime.block_on(task).unwrap()).unwrap();
    }
    let counts: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
    (counts.iter().sum::<u64>() as f64 / elapsed, counts, all)
}

pub fn two_threads<P: BlockingPool>(round: &mut Round<'_>) {
    let (rate, counts, _) = threads::<P>(round.time, 2, 10, false, || {});
    round.add("throughput", rate);
    round.add("fairness", fairness(&counts));
}

pub fn two_workers<P: AsyncPool>(round: &mut Round<'_>) {
    let (rate, counts, _) = tasks::<P>(round, 2, 10, false, false);
    round.add("throughput", rate);
    round.add("fairness", fairness(&counts));
}

fn crowd(round: &mut Round<'_>, run: (f64, Vec<u64>, Histogram<u64>)) {
    let (rate, counts, waits) = run;
    round.add("throughput", rate);
    round.add("fairness", fairness(&counts));
    for (metric, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        round.add(metric, waits.value_at_quantile(share) as f64 / 1000.0);
    }
    round.add("starved", counts.iter().filter(|&&count| count == 0).count() as f64);
}

pub fn crowd_of_tasks<P: AsyncPool>(round: &mut Round<'_>) {
    let run = tasks::<P>(round, 64, 10, true, false);
    crowd(round, run);
}

pub fn crowd_of_yielding_tasks<P: AsyncPool>(round: &mut Round<'_>) {
    let run = tasks::<P>(round, 64, 10, true, true);
    crowd(round, run);
}

/// How much longer than usual a crowd of threads is watched.
///
/// The system's scheduler gives a running thread slices of some 3 ms. In 300 ms on two processors each of 64 threads runs for
/// 9 ms, that is three slices, and whoever is interrupted once more than another waits some 10 ms more for a processor: seen on
/// Linux 6.18, the least served were runnable without running for 140 ms, the most served for 90 ms. That is the
/// scheduler's unevenness, not a pool's; over six times that time it averages out.
const LONGER: u32 = 6;

pub fn crowd_of_threads<P: BlockingPool>(round: &mut Round<'_>) {
    let run = threads::<P>(round.time * LONGER, 64, 10, true, work);
    crowd(round, run);
}

/// Ten thousand tasks queue for one connection, on one thread so that the order of arrival is known.
pub fn many_waiters<P: AsyncPool>(round: &mut Round<'_>) {
    const WAITERS: usize = 10_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (serve, disorder) = runtime.block_on(async {
        let pool = P::new(1);
        let lease = pool.take().await;
        let next = Arc::new(AtomicU64::new(0));
        let disorder = Arc::new(AtomicU64::new(0));
        let waiting: Vec<_> = (0..WAITERS)
            .map(|turn| {
                let (pool, next, disorder) = (pool.clone(), Arc::clone(&next), Arc::clone(&disorder));
                tokio::spawn(async move {
                    let lease = pool.take().await;
                    if next.fetch_add(1, Relaxed) != turn as u64 {
                        disorder.fetch_add(1, Relaxed);
                    }
                    drop(lease);
                })
            })
            .collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        drop(lease);
        for task in waiting {
            task.await.unwrap();
        }
        (began.elapsed().as_nanos() as f64 / WAITERS as f64, disorder.load(Relaxed))
    });
    round.add("time", serve);
    round.add("out_of_order", disorder as f64);
}

/// The throughput of 1, 2, 4 ... 64 tasks.
pub fn scaling<P: AsyncPool>(round: &mut Round<'_>) {
    for count in [1, 2, 4, 8, 16, 32, 64] {
        let (rate, ..) = tasks::<P>(round, count, 10, true, false);
        let point = Point { curve: "throughput".into(), over: "tasks".into(), at: count as f64 };
        round.figures.add_point(&format!("throughput_{count}"), "1/s", Better::Higher, rate, point);
    }
}

/// One thread works while another reads the statistics ten thousand times a second, or does everything but that.
fn observed(round: &mut Round<'_>, reading: bool) {
    let pool = <OursBlocking as BlockingPool>::new(10);
    let stop = AtomicBool::new(false);
    let time = round.time;
    let value = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                if reading {
                    black_box(pool.0.stats());
                }
                let began = Instant::now();
                while began.elapsed() < Duration::from_micros(100) {
                    std::hint::spin_loop();
                }
            }
        });
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            for _ in 0..BATCH {
                black_box(&mut pool.take());
            }
            count += BATCH;
        }
        stop.store(true, Relaxed);
        began.elapsed().as_nanos() as f64 / count as f64
    });
    round.add("time", value);
}

pub fn stats_read(round: &mut Round<'_>) {
    observed(round, true);
}

pub fn stats_unread(round: &mut Round<'_>) {
    observed(round, false);
}
