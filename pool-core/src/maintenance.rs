//! Owns the one maintenance thread of the process, which serves all pools and ends with the last. A forked process gets one of its own.
//!
//! It visits each pool when that pool wants it and polls background tasks (refills, health checks) when they are woken, so
//! that a slow `open` that awaits delays nobody. Must not know what a visit does. Invariant: the thread runs exactly
//! while some pool wants a visit or some task is unfinished.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Wake, Waker};

use crate::clock::{NEVER, Nanos, system_now, system_until};
use crate::contain::contain;

/// A pool, as the maintenance thread sees it.
pub(crate) trait Maintained: Send + Sync {
    fn next_visit(&self) -> Nanos;
    /// Does what is due; returns when to come again.
    fn visit(&self) -> Nanos;
    /// Runs something in the pool's runtime.
    fn enter(&self, run: &mut dyn FnMut());
    fn is_closed(&self) -> bool;
    /// Asks for the next visit a little later, for the last one did not end as it should.
    fn postpone(&self);
}

type PoolRef = Weak<dyn Maintained>;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    pool: PoolRef,
    work: Work,
    alarm: Arc<Alarm>,
}

/// Wakes the thread for one task.
struct Alarm(AtomicBool);

impl Wake for Alarm {
    // Release: pairs with the swap before the next poll.
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        let maintenance = maintenance();
        maintenance.call(maintenance.lock());
    }
}

impl Task {
    /// Polls the task once; gives it back if it has to wait longer. A panic ends it.
    fn run(mut self) -> Option<Task> {
        let waker = Waker::from(Arc::clone(&self.alarm));
        let waits = self.pool.upgrade().and_then(|pool| {
            let mut waits = false;
            let polled = contain(|| {
                pool.enter(&mut || waits = self.work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            });
            let_go(pool);
            polled.filter(|()| waits)
        });
        if waits.is_some() {
            return Some(self);
        }
        let_go(self);
        None
    }
}

/// Drops what may be the last of something of the program's own: its panics end neither who closes a pool nor the thread that serves
/// the others.
fn let_go<T>(what: T) {
    contain(|| drop(what));
}

struct State {
    pools: Vec<PoolRef>,
    tasks: Vec<Task>,
    /// Pools that were closed while one of their tasks may have been under way.
    forgotten: Vec<PoolRef>,
    called: bool,
    running: bool,
}

/// The thread and its work, one of each in a process. The lock and the wait are the standard library's: in a forked process nothing is left of
/// those who waited, whereas the table that parking_lot keeps of them would go on to name threads that are not there.
struct Maintenance {
    state: Mutex<State>,
    called: Condvar,
}

impl Maintenance {
    const fn new() -> Self {
        let state =
            State { pools: Vec::new(), tasks: Vec::new(), forgotten: Vec::new(), called: false, running: false };
        Self { state: Mutex::new(state), called: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread come, or come again.
    fn call(&'static self, mut state: MutexGuard<'_, State>) {
        state.called = true;
        state.ensure_thread(self);
        drop(state);
        self.called.notify_one();
    }
}

/// Returns this process' own. A forked one inherits neither the thread nor, if another thread holds it, the use of the lock: it begins anew.
fn maintenance() -> &'static Maintenance {
    static FIRST: Maintenance = Maintenance::new();
    static FIRST_PROCESS: OnceLock<u32> = OnceLock::new();
    static FORKED: Mutex<Option<(u32, &'static Maintenance)>> = Mutex::new(None);
    let process = std::process::id();
    if *FIRST_PROCESS.get_or_init(|| process) == process {
        return &FIRST;
    }
    let mut forked = FORKED.lock().unwrap_or_else(PoisonError::into_inner);
    match *forked {
        Some((known, maintenance)) if known == process => maintenance,
        _ => {
            let maintenance = Box::leak(Box::new(Maintenance::new()));
            *forked = Some((process, maintenance));
            maintenance
        }
    }
}

impl State {
    fn ensure_thread(&mut self, maintenance: &'static Maintenance) {
        if !self.running && !cfg!(loom) {
            // A process that is out of threads gets another try with the next call.
            let thread = std::thread::Builder::new().name("pool-maintenance".to_owned());
            self.running = thread.spawn(|| run(maintenance)).is_ok();
        }
    }

    fn add(&mut self, pool: &PoolRef) {
        if !self.pools.iter().any(|known| known.ptr_eq(pool)) {
            self.pools.push(pool.clone());
        }
    }
}

/// Has the thread visit a pool at the moment the pool names.
pub(crate) fn call(pool: &PoolRef) {
    let maintenance = maintenance();
    let mut state = maintenance.lock();
    state.add(pool);
    maintenance.call(state);
}

/// Runs a task up to its first wait on this thread and the rest on the maintenance thread; tells whether it is done.
pub(crate) fn start(pool: PoolRef, work: Work) -> bool {
    let task = Task { pool, work, alarm: Arc::new(Alarm(AtomicBool::new(false))) };
    match task.run() {
        None => true,
        Some(task) => {
            let pool = task.pool.clone();
            let maintenance = maintenance();
            let mut state = maintenance.lock();
            state.tasks.push(task);
            maintenance.call(state);
            // Closing may have come by before the task was in the list.
            if pool.upgrade().is_none_or(|pool| pool.is_closed()) {
                forget(&pool);
            }
            false
        }
    }
}

/// Forgets a pool that is closing and drops its unfinished tasks.
pub(crate) fn forget(pool: &PoolRef) {
    let maintenance = maintenance();
    let mut state = maintenance.lock();
    state.pools.retain(|known| !known.ptr_eq(pool));
    let (cancelled, kept) = std::mem::take(&mut state.tasks).into_iter().partition(|task| task.pool.ptr_eq(pool));
    state.tasks = kept;
    if state.running {
        state.forgotten.push(pool.clone());
        state.called = true;
    }
    drop(state);
    maintenance.called.notify_one();
    Vec::into_iter(cancelled).for_each(let_go::<Task>);
}

fn run(maintenance: &Maintenance) {
    loop {
        let (pools, woken, cancelled) = {
            let mut state = maintenance.lock();
            state.called = false;
            let pools: Vec<_> = state.pools.iter().filter_map(Weak::upgrade).collect();
            // No task is under way here: whoever was when its pool was forgotten is back in the list.
            let forgotten = std::mem::take(&mut state.forgotten);
            let cancelled = |task: &mut Task| forgotten.iter().any(|pool| pool.ptr_eq(&task.pool));
            let cancelled: Vec<Task> = state.tasks.extract_if(.., cancelled).collect();
            let woken = |task: &mut Task| task.alarm.0.swap(false, Ordering::Acquire);
            let woken: Vec<Task> = state.tasks.extract_if(.., woken).collect();
            (pools, woken, cancelled)
        };
        cancelled.into_iter().for_each(let_go);
        let mut unfinished: Vec<Task> = woken.into_iter().filter_map(Task::run).collect();
        for pool in &pools {
            if pool.next_visit() <= system_now() {
                // A visit contains panics of managers and hooks; what a waker does must not end the other pools' service.
                if contain(|| pool.visit()).is_none() {
                    pool.postpone();
                }
            }
        }
        // Outside the lock: this may be the last reference to a pool.
        pools.into_iter().for_each(let_go);
        let mut state = maintenance.lock();
        state.tasks.append(&mut unfinished);
        // A pool that wants no visit calls again when it does.
        let mut next = NEVER;
        let mut gone = Vec::new();
        state.pools.retain(|pool| {
            let Some(pool) = pool.upgrade() else { return false };
            let moment = pool.next_visit();
            next = next.min(moment);
            gone.push(pool);
            moment != NEVER
        });
        let over = !state.called && state.pools.is_empty() && state.tasks.is_empty();
        state.running = !over;
        let called = state.called;
        // Never under the lock: one of these may be the last reference to a pool, and dropping it calls.
        drop(state);
        gone.into_iter().for_each(let_go);
        if over {
            return;
        }
        if called {
            continue;
        }
        let state = maintenance.lock();
        if !state.called {
            if next == NEVER {
                drop(maintenance.called.wait(state));
            } else {
                drop(maintenance.called.wait_timeout(state, system_until(next)));
            }
        }
    }
}
