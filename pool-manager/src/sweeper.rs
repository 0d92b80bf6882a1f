//! Who gives up the snapshots that nobody uses: one thread for the whole process, asleep while none is kept.
//!
//! Owns the list of snapshots and when they are looked at. It must not know databases. Invariant: while a snapshot is kept on any
//! connection, the thread is awake, or whoever took the snapshot wakes it before going on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::fork::PerProcess;
use crate::snapshot::Snapshot;

#[derive(Default)]
struct State {
    snapshots: Vec<Weak<Snapshot>>,
    running: bool,
}

/// The lock and the wait are the standard library's: see `maintenance` in pool-core, which a fork must not upset either.
#[derive(Default)]
struct Sweeper {
    state: Mutex<State>,
    called: Condvar,
    awake: AtomicBool,
    /// The time between two rounds in nanoseconds: the least that any database asks for. Set with the first snapshot.
    period: AtomicU64,
}

static SWEEPER: PerProcess<Sweeper> = PerProcess::new();

impl Sweeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after a snapshot from now on. It is given up when it was not used for `idle` to twice that.
pub(crate) fn add(snapshot: &Arc<Snapshot>, idle: Duration) {
    let sweeper = SWEEPER.get();
    let mut state = sweeper.lock();
    if state.snapshots.is_empty() {
        sweeper.period.store(u64::MAX, Ordering::Relaxed);
    }
    sweeper.period.fetch_min(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    state.snapshots.push(Arc::downgrade(snapshot));
}

/// Forgets a snapshot whose connection closes; the thread ends with the last.
pub(crate) fn remove(snapshot: &Arc<Snapshot>) {
    let gone = Arc::downgrade(snapshot);
    let sweeper = SWEEPER.get();
    let mut state = sweeper.lock();
    state.snapshots.retain(|known| !known.ptr_eq(&gone));
    let last = state.snapshots.is_empty();
    drop(state);
    if last {
        sweeper.called.notify_one();
    }
}

/// Has the thread come, for a snapshot was taken.
#[inline]
pub(crate) fn wake() {
    // Either this sees that the thread went to sleep, or the thread's last look before that sees the snapshot: pairs with `sleep`.
    fence(Ordering::SeqCst);
    let sweeper = SWEEPER.get();
    if !sweeper.awake.load(Ordering::Relaxed) {
        call(sweeper);
    }
}

#[cold]
fn call(sweeper: &'static Sweeper) {
    let mut state = sweeper.lock();
    sweeper.awake.store(true, Ordering::Relaxed);
    if !state.running {
        // A process that is out of threads gets another try with the next snapshot.
        state.running = std::thread::Builder::new().name("pool-snapshots".to_owned()).spawn(|| run(sweeper)).is_ok();
        sweeper.awake.store(state.running, Ordering::Relaxed);
    }
    drop(state);
    sweeper.called.notify_one();
}

fn run(sweeper: &Sweeper) {
    let mut state = sweeper.lock();
    while !state.snapshots.is_empty() {
        let period = Duration::from_nanos(sweeper.period.load(Ordering::Relaxed));
        state = sweeper.called.wait_timeout(state, period).unwrap_or_else(PoisonError::into_inner).0;
        if !sweep(&state) {
            sweeper.awake.store(false, Ordering::Relaxed);
            // See `wake`.
            fence(Ordering::SeqCst);
            if sweep(&state) {
                sweeper.awake.store(true, Ordering::Relaxed);
                continue;
            }
            while !sweeper.awake.load(Ordering::Relaxed) && !state.snapshots.is_empty() {
                state = sweeper.called.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
    sweeper.awake.store(false, Ordering::Relaxed);
    state.running = false;
}

/// Comes by all snapshots once; tells whether any is kept.
fn sweep(state: &State) -> bool {
    // Not `any`, which would stop at the first.
    state.snapshots.iter().filter_map(Weak::upgrade).filter(|snapshot| snapshot.sweep(false)).count() > 0
}
