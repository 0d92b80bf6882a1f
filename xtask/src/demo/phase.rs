//! One phase: many tasks that repeat an operation until the time is up, with figures while they run and at the end.
//!
//! Knows nothing of what the operation does. Invariant: an operation counts when it has returned `Ok`, and not before; the first that fails
//! ends the phase with its error.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use pool_manager::{DatabaseManager, PoolStats, Result};
use tokio::task::JoinSet;

use super::{dice::Dice, numbers, screen::Screen, stop::Stop};

/// Where phases run and what they share.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The database.
    pub(crate) db: DatabaseManager,
    /// Where it shows.
    pub(crate) screen: Screen,
    /// Whether the user wants to stop.
    pub(crate) stop: Stop,
    /// How long a phase lasts.
    pub(crate) length: Duration,
    /// How many tasks run at once.
    pub(crate) tasks: usize,
}

/// What came of a phase.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The name of the phase.
    pub(crate) name: &'static str,
    /// How many tasks ran.
    pub(crate) tasks: usize,
    /// How many operations returned `Ok`.
    pub(crate) operations: u64,
    /// From the first to the last.
    pub(crate) elapsed: Duration,
    /// How long each took.
    pub(crate) latencies: Histogram<u64>,
    /// The pool's figures before.
    pub(crate) before: PoolStats,
    /// The pool's figures afterwards.
    pub(crate) after: PoolStats,
}

/// The latencies of one task or of a few. Its lock is taken by them, and ten times a second by whoever draws the figures.
#[derive(Debug)]
struct Meter(Mutex<Histogram<u64>>);

/// Nanoseconds up to a minute, each to one percent.
fn histogram() -> Histogram<u64> {
    let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 2);
    histogram.unwrap_or_else(|error| panic!("BUG: bounds of a histogram: {error}"))
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latencies of all tasks.
#[derive(Debug, Clone)]
pub(crate) struct Meters(Arc<[Meter]>);

/// More meters than this would cost memory and spare nobody a wait.
const METERS: usize = 64;

impl Meters {
    pub(crate) fn new(tasks: usize) -> Self {
        Self((0..tasks.min(METERS)).map(|_| Meter(Mutex::new(histogram()))).collect())
    }

    pub(crate) fn record(&self, task: usize, latency: Duration) {
        self.0[task % METERS].lock().saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn sum(&self) -> Histogram<u64> {
        let mut sum = histogram();
        for meter in self.0.iter() {
            sum.add(&*meter.lock()).unwrap_or_else(|error| panic!("BUG: histograms of one kind: {error}"));
        }
        sum
    }
}

impl Stage {
    /// Repeats `operation`, which gets a fresh random number each time, in all tasks until the time is up or the user stops.
    pub(crate) async fn run<Operation, Running>(&self, name: &'static str, operation: Operation) -> Result<Outcome>
    where
        Operation: Fn(u64) -> Running + Clone + Send + 'static,
        Running: Future<Output = Result<()>> + Send,
    {
        let meters = Meters::new(self.tasks);
        let before = self.stats();
        let begin = Instant::now();
        let figures = self.draw(name, meters.clone(), begin);
        let failed = Stop::default();
        let mut tasks = JoinSet::new();
        for task in 0..self.tasks {
            let (operation, meters, failed, stop) =
                (operation.clone(), meters.clone(), failed.clone(), self.stop.clone());
            let end = begin + self.length;
            tasks.spawn(async move {
                let mut dice = Dice::new(task as u64);
                loop {
                    let start = Instant::now();
                    if start >= end || stop.requested() || failed.requested() {
                        return Ok(());
                    }
                    operation(dice.roll()).await.inspect_err(|_| failed.request())?;
                    meters.record(task, start.elapsed());
                    // An operation that never has to wait would keep the others of its worker from running at all.
                    tokio::task::coop::consume_budget().await;
                }
            });
        }
        let mut result = Ok(());
        while let Some(task) = tasks.join_next().await {
            match task {
                // Of several failures the first is the cause.
                Ok(outcome) => result = result.and(outcome),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        let elapsed = begin.elapsed();
        let line = figures.stop();
        if let Err(error) = result {
            line.abandon();
            return Err(error);
        }
        let (latencies, after) = (meters.sum(), self.stats());
        let outcome =
            Outcome { name, tasks: self.tasks, operations: latencies.len(), elapsed, latencies, before, after };
        line.finish(&outcome.figures());
        Ok(outcome)
    }

    /// The figures of the pool.
    pub(crate) fn stats(&self) -> PoolStats {
        self.db.pool_stats().unwrap_or_default()
    }

    /// Draws figures from a thread of its own, so that busy tasks cannot keep them from moving.
    fn draw(&self, name: &'static str, meters: Meters, begin: Instant) -> Drawing {
        let (stage, line) = (self.clone(), self.screen.line(name));
        let before = self.stats();
        let (over, waiting) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            while waiting.recv_timeout(line.interval()) == Err(mpsc::RecvTimeoutError::Timeout) {
                let latencies = meters.sum();
                line.show(&live(&latencies, begin.elapsed(), &before, &stage.stats()));
            }
            line
        });
        Drawing { over, thread }
    }
}

/// The thread that draws the figures of a phase.
struct Drawing {
    over: mpsc::Sender<()>,
    thread: thread::JoinHandle<super::screen::Line>,
}

impl Drawing {
    fn stop(self) -> super::screen::Line {
        drop(self.over);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Outcome {
    /// One of the latencies: half of the operations were faster than quantile 0.5.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(quantile))
    }

    /// The mean time from asking for a connection to getting it, during this phase; `None` when none was taken.
    pub(crate) fn acquire_time(&self) -> Option<Duration> {
        let total = |stats: &PoolStats| stats.average_acquire_time * stats.total_acquired as f64;
        let acquired = self.after.total_acquired.saturating_sub(self.before.total_acquired);
        let milliseconds = (total(&self.after) - total(&self.before)).max(0.0) / acquired as f64;
        (acquired > 0).then(|| Duration::from_secs_f64(milliseconds / 1e3))
    }

    fn figures(&self) -> String {
        live(&self.latencies, self.elapsed, &self.before, &self.after)
    }
}

/// Hits and all look-ups of the query cache between two moments.
pub(crate) fn cache(before: &PoolStats, after: &PoolStats) -> (u64, u64) {
    hits_of_all((before.cache_hits, before.cache_misses), (after.cache_hits, after.cache_misses))
}

/// Reused and all statements between two moments.
pub(crate) fn statements(before: &PoolStats, after: &PoolStats) -> (u64, u64) {
    hits_of_all((before.statement_hits, before.statement_misses), (after.statement_hits, after.statement_misses))
}

fn hits_of_all(before: (u64, u64), after: (u64, u64)) -> (u64, u64) {
    let (hits, misses) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    (hits, hits + misses)
}

/// The figures of a phase in a line.
fn live(latencies: &Histogram<u64>, elapsed: Duration, before: &PoolStats, now: &PoolStats) -> String {
    let latency = |quantile| numbers::time(Duration::from_nanos(latencies.value_at_quantile(quantile)));
    let rate = numbers::per_second(latencies.len(), elapsed);
    let mut line = format!("{rate:>9}/s  p50 {:>7}  p99 {:>7}", latency(0.5), latency(0.99));
    let (hits, all) = cache(before, now);
    if all > 0 {
        line += &format!("  cache {}", numbers::share(hits, all));
    }
    let (hits, all) = statements(before, now);
    if all > 0 {
        line += &format!("  statements {}", numbers::share(hits, all));
    }
    line + &format!("  {}/{} connections", now.total_connections, now.max_connections)
}
