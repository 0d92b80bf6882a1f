//! The deadline of one call: who is told when its time is over, and what the call was doing then.
//!
//! Owns the timers of calls, which are waits in a queue of pool-core: so they go by the clock of the pool, which tests can move, and fire
//! on its maintenance thread, however busy the caller's own thread is. It must not know what calls do. Invariants: what is to be
//! stopped is told once, and never after the call has finished; a timer is gone when its call is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::job::apart;
use crate::lane::{Turn, TurnQueue};
use crate::place::Link;

/// What a call was doing when its time was over.
pub(crate) const FOR_A_CONNECTION: &str = "waiting for a connection";
pub(crate) const TO_WRITE: &str = "waiting to write";
pub(crate) const RUNNING: &str = "running its closure";

/// Something that can be stopped from another thread.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

impl Stop for Link {
    fn stop(&self) {
        self.cancel();
    }
}

/// The timers of an engine.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Whose one turn is taken for ever: to wait for a turn is to wait for the time to pass.
    queue: TurnQueue,
    _taken: Turn,
}

impl Timers {
    pub(crate) fn new(clock: pool_core::Clock) -> Arc<Self> {
        let queue = TurnQueue::by_clock(1, clock);
        let taken = queue.turn_blocking(Duration::ZERO).unwrap_or_else(|_| panic!("BUG: nobody else has this turn"));
        Arc::new(Self { queue, _taken: taken })
    }

    async fn time_out(self: Arc<Self>, limit: Duration) {
        let _ = self.queue.turn(limit).await;
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The deadline of one call, which has begun; its timer goes with it.
pub(crate) struct Deadline {
    alarm: Arc<Alarm>,
    limit: Duration,
    since: Instant,
}

struct Alarm {
    state: Mutex<State>,
    timer: Mutex<Option<Timer>>,
    /// Whether the timer has something to say. Set before the timer is tried to be locked, and cleared under its lock: whoever finds it
    /// locked is heard by the one who has it.
    called: AtomicBool,
}

struct State {
    passed: bool,
    finished: bool,
    doing: &'static str,
    stops: Option<Arc<dyn Stop>>,
    waker: Option<Waker>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::SeqCst);
        self.look_at_the_timer();
    }
}

impl Alarm {
    fn look_at_the_timer(self: &Arc<Self>) {
        while self.called.load(Ordering::SeqCst) {
            let Some(mut timer) = self.timer.try_lock() else { return };
            self.called.store(false, Ordering::SeqCst);
            let Some(running) = &mut *timer else { return };
            let waker = Waker::from(Arc::clone(self));
            if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                let over = timer.take();
                drop(timer);
                drop(over);
                return self.ring();
            }
        }
    }

    fn ring(&self) {
        let (stops, waker) = {
            let mut state = self.state.lock();
            if state.finished {
                return;
            }
            state.passed = true;
            (state.stops.take(), state.waker.take())
        };
        // What is to be stopped checks by itself whether it still runs.
        if let Some(stops) = stops {
            stops.stop();
        }
        if let Some(waker) = waker {
            apart(|| waker.wake());
        }
    }
}

impl Deadline {
    /// Begins a call that is to take no longer than `limit`, and has something stopped when it does.
    pub(crate) fn begin(timers: &Arc<Timers>, limit: Duration, doing: &'static str, stops: Arc<dyn Stop>) -> Self {
        let timer: Timer = Box::pin(Arc::clone(timers).time_out(limit));
        let alarm = Arc::new(Alarm {
            state: Mutex::new(State { passed: false, finished: false, doing, stops: Some(stops), waker: None }),
            timer: Mutex::new(Some(timer)),
            called: AtomicBool::new(true),
        });
        alarm.look_at_the_timer();
        Self { alarm, limit, since: Instant::now() }
    }

    /// How much of the time is left.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    fn has_passed(&self) -> bool {
        self.alarm.state.lock().passed
    }

    /// An error if the time is over.
    pub(crate) fn check(&self) -> Result<()> {
        if self.has_passed() { Err(self.passed(None)) } else { Ok(()) }
    }

    /// Notes what the call does now.
    pub(crate) fn now(&self, doing: &'static str) {
        let mut state = self.alarm.state.lock();
        if !state.passed {
            state.doing = doing;
        }
    }

    /// Ends the time in which the call can be stopped.
    ///
    /// # Errors
    ///
    /// When its time is over already.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut state = self.alarm.state.lock();
        if state.passed {
            drop(state);
            return Err(self.passed(None));
        }
        state.finished = true;
        state.stops = None;
        Ok(())
    }

    /// Waits for what the call does; `None` when its time is over before.
    pub(crate) async fn bound<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = std::pin::pin!(call);
        std::future::poll_fn(|context| {
            if let Poll::Ready(done) = call.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            if self.poll_passed(context) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Tells whether the time is over; if not, who asks is woken when it is.
    pub(crate) fn poll_passed(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.alarm.state.lock();
        if state.passed {
            return true;
        }
        let old = state.waker.replace(context.waker().clone());
        drop(state);
        drop(old);
        false
    }

    /// The error of a call whose time is over.
    pub(crate) fn passed(&self, source: Option<Error>) -> Error {
        let doing = self.alarm.state.lock().doing;
        self.passed_while(doing, source)
    }

    /// The same for a call of which somebody else knows what it was doing.
    pub(crate) fn passed_while(&self, doing: &'static str, source: Option<Error>) -> Error {
        Error::DeadlinePassed { doing, limit: self.limit, waited: self.since.elapsed(), source: source.map(Box::new) }
    }

    /// Names what a call failed of, if that was the deadline.
    pub(crate) fn explain<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| match error {
            Error::DeadlinePassed { .. } => error,
            // Waits on a thread are cut to the time that is left, and may be over a moment before the timer is.
            Error::AcquireTimeout { waited, .. } | Error::WriteLaneTimeout { waited }
                if self.left().is_zero() || waited >= self.limit =>
            {
                self.passed(Some(error))
            }
            error if self.has_passed() => self.passed(Some(error)),
            error => error,
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        {
            let mut state = self.alarm.state.lock();
            state.finished = true;
            state.stops = None;
            state.waker = None;
        }
        let timer = self.alarm.timer.lock().take();
        drop(timer);
    }
}
