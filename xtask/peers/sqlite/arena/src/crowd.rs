//! Callers at work, all at the same time, in tasks or in threads.
//!
//! Must not know what they ask for. Invariant: counting begins when all have settled, for whoever starts first is alone for a while;
//! what was acknowledged before counts for the audit all the same.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::{
    city::Expected,
    competitor::{Competitor, Failure, Place, Totals},
    mix::Caller,
};

const SETTLING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// What one caller got done.
struct Tally {
    done: u64,
    busy: u64,
    /// Nanoseconds each operation took, where somebody wants to know; of mixed ones, those that are timed.
    waits: Option<Histogram<u64>>,
    written: Totals,
    failure: Option<String>,
}

/// What all callers got done.
pub(crate) struct Crowd {
    pub(crate) done: u64,
    pub(crate) busy: u64,
    pub(crate) elapsed: Duration,
    pub(crate) least: u64,
    pub(crate) most: u64,
    pub(crate) waits: Option<Histogram<u64>>,
    pub(crate) written: Totals,
}

/// Lets these callers work for this time.
pub(crate) fn work<C: Competitor>(
    runtime: &Runtime,
    callers: Vec<Caller<C>>,
    expected: &Arc<Expected>,
    time: Duration,
    timed: bool,
) -> Result<Crowd, Failure> {
    let stage = Arc::new(AtomicU8::new(SETTLING));
    let works = callers.into_iter().map(|caller| sit(caller, Arc::clone(expected), Arc::clone(&stage), timed));
    let (elapsed, tallies): (_, Vec<Tally>) = if C::PLACE == Place::Tasks {
        let tasks: Vec<_> = works.map(|work| runtime.spawn(work)).collect();
        let elapsed = lead(&stage, time);
        (
            elapsed,
            tasks.into_iter().map(|task| runtime.block_on(task).map_err(Failure::other)).collect::<Result<_, _>>()?,
        )
    } else {
        let threads: Vec<_> = works.map(|work| std::thread::spawn(|| at_once(work))).collect();
        let elapsed = lead(&stage, time);
        let panicked = |_| Failure::Other("a thread panicked".into());
        (elapsed, threads.into_iter().map(|thread| thread.join().map_err(panicked)).collect::<Result<_, _>>()?)
    };
    let mut crowd =
        Crowd { done: 0, busy: 0, elapsed, least: u64::MAX, most: 0, waits: None, written: Totals::default() };
    for tally in tallies {
        if let Some(failure) = tally.failure {
            return Err(Failure::Other(failure));
        }
        crowd.done += tally.done;
        crowd.busy += tally.busy;
        crowd.least = crowd.least.min(tally.done);
        crowd.most = crowd.most.max(tally.done);
        crowd.written += tally.written;
        match (&mut crowd.waits, tally.waits) {
            (Some(all), Some(waits)) => all.add(waits).expect("BUG: all histograms have the same bounds"),
            (all, waits) => *all = waits,
        }
    }
    Ok(crowd)
}

/// Leads a crowd through its stages; returns how long it was counted.
fn lead(stage: &AtomicU8, time: Duration) -> Duration {
    std::thread::sleep(Duration::from_millis(200).min(time));
    stage.store(COUNTING, Relaxed);
    let began = Instant::now();
    std::thread::sleep(time);
    stage.store(OVER, Relaxed);
    began.elapsed()
}

async fn sit<C: Competitor>(
    mut caller: Caller<C>,
    expected: Arc<Expected>,
    stage: Arc<AtomicU8>,
    timed: bool,
) -> Tally {
    let waits = timed.then(|| Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("BUG: the bounds are in order"));
    let mut tally = Tally { done: 0, busy: 0, waits, written: Totals::default(), failure: None };
    let only = caller.timed();
    loop {
        let counting = match stage.load(Relaxed) {
            OVER => break,
            stage => u64::from(stage == COUNTING),
        };
        let asked = timed.then(Instant::now);
        match caller.next(&expected).await {
            Ok(kind) => {
                tally.done += counting;
                let counts = counting == 1 && only.is_none_or(|only| only == kind);
                if let (true, Some(asked), Some(waits)) = (counts, asked, &mut tally.waits) {
                    waits.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Err(Failure::Busy) => tally.busy += counting,
            Err(Failure::Other(why)) => {
                tally.failure = Some(why);
                break;
            }
        }
    }
    tally.written = caller.written;
    tally
}

/// Runs a future that never waits.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("BUG: who blocks never waits"),
    }
}
