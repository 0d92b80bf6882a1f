//! Who works the write queue off.
//!
//! Owns how the lead moves: from the caller who got it to a task or a blocking thread of its runtime, to a thread that waits for it, or, where
//! none is there, to a thread of its own. It must not know what a write does, or which share a transaction.
//!
//! Invariant: a lead ends only with the queue empty, or in the hands of another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::engine::Engine;
use crate::error::Error;
use crate::lane::NoTurn;
use crate::place::start_blocking;
use crate::write_queue::{Next, Taken};

/// What is done where no thread can be started.
const STARTING: &str = "starting a thread that writes";

/// A task looks after a lead on its way when it has waited for so long, and then ever less often.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// The lead of an engine's write queue. Dropped without having ended it passes the lead on, so that nobody waits for ever.
pub(crate) struct Lead {
    engine: Arc<Engine>,
    /// Whether it has ended, or passed to somebody else.
    passed: bool,
    /// Whether it is on its way to a task or a thread of a runtime.
    sent: bool,
}

impl Lead {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), passed: false, sent: false }
    }

    /// Works the queue off, in a task or on a blocking thread where there is a runtime, and until `done` where there is none: then it is the
    /// thread of a caller who has other things to do.
    pub(crate) fn begin(self, runtime: Option<&Handle>, done: impl Fn() -> bool) {
        match runtime {
            Some(runtime) => self.begin_on(runtime),
            None => self.work_off_until(done),
        }
    }

    fn begin_on(self, runtime: &Handle) {
        if self.engine.gathers(runtime) { self.gather_on(runtime) } else { self.send(runtime) }
    }

    /// Leaves it to a task, which lets the other tasks of its worker run first: those that write join, and one transaction holds what took
    /// one each. Until that task begins, whoever waits may take the lead: the worker may not come to it.
    fn gather_on(mut self, runtime: &Handle) {
        self.put_on_its_way();
        drop(runtime.spawn(self.gather()));
    }

    async fn gather(mut self) {
        loop {
            self.engine.writes.gather().await;
            if !self.engine.writes.take_sent_lead() {
                self.passed = true;
                return;
            }
            self.sent = false;
            let wrote = self.engine.write_next_here();
            if self.engine.writes.pass_on().is_none() {
                self.passed = true;
                return;
            }
            if !wrote {
                // What is next may take long, or wait for something.
                return self.send(&Handle::current());
            }
            self.put_on_its_way();
        }
    }

    fn put_on_its_way(&mut self) {
        self.sent = true;
        self.engine.writes.send_lead();
    }

    /// Sends it to a thread of a runtime. Until that begins, a thread that waits may take it: the runtime may have no thread to spare.
    fn send(mut self, runtime: &Handle) {
        self.put_on_its_way();
        // Where none can be started, it is dropped here, which passes it on.
        drop(start_blocking(runtime, STARTING, move || self.arrive()));
    }

    fn arrive(mut self) {
        if !self.engine.writes.take_sent_lead() {
            self.passed = true;
            return;
        }
        self.sent = false;
        while let Next::Job(taken) = self.engine.writes.next() {
            let Some(lease) = self.engine.try_lease() else {
                self.engine.put_back(taken);
                // Who holds a connection may be waiting for this very thread.
                return self.go_on_elsewhere();
            };
            self.engine.writes.count(taken.entry.waited());
            self.engine.run_batch(&taken.entry, lease);
        }
        self.passed = true;
    }

    fn go_on_elsewhere(mut self) {
        match Self::start_thread(&self.engine) {
            Ok(()) => self.passed = true,
            Err(_) => self.work_off_until(|| false),
        }
    }

    /// Works the queue off right here for as long as that is quick, but begins nothing after `until`; what is left is passed on.
    pub(crate) fn go_on_here(self, until: Instant) {
        while self.engine.writes.is_waited_for() && Instant::now() < until && self.engine.write_next_here() {}
    }

    /// Works the queue off on a thread of its own.
    fn begin_on_thread(engine: &Arc<Engine>) {
        if let Err(source) = Self::start_thread(engine) {
            let again =
                || source.raw_os_error().map_or_else(|| source.kind().into(), std::io::Error::from_raw_os_error);
            engine.writes.refuse_all(|| Error::System { what: STARTING, source: again() });
        }
    }

    /// Waits until a task has waited for so long, or the queue is closed. Looks now and then whether the lead is on its way and does not
    /// arrive: whoever runs tasks there may be kept from it.
    pub(crate) async fn time_out(engine: &Arc<Engine>, limit: Duration) -> NoTurn {
        let since = Instant::now();
        let mut look = FIRST_LOOK;
        loop {
            let left = limit.saturating_sub(since.elapsed());
            let reason = engine.writes.time_out(left.min(look)).await;
            if left <= look || !matches!(reason, NoTurn::TimedOut(_)) {
                return reason;
            }
            Self::begin_if_sent(engine);
            look *= 2;
        }
    }

    /// Looks after a lead that has been on its way for as long as somebody is ready to wait.
    pub(crate) fn begin_if_sent(engine: &Arc<Engine>) {
        if engine.writes.take_sent_lead() {
            Self::begin_on_thread(engine);
        }
    }

    fn start_thread(engine: &Arc<Engine>) -> std::io::Result<()> {
        let leader = Arc::clone(engine);
        let thread = std::thread::Builder::new().name("pool-write".to_owned());
        thread.spawn(move || Self::new(&leader).work_off_until(|| false)).map(drop)
    }

    /// Works the queue off until `done`, and passes the lead on then.
    pub(crate) fn work_off_until(mut self, done: impl Fn() -> bool) {
        while !done() {
            match self.engine.writes.next() {
                Next::Job(Taken { entry: job, .. }) => {
                    self.engine.writes.count(job.waited());
                    match self.engine.lease_blocking() {
                        Ok(lease) => self.engine.run_batch(&job, lease),
                        Err(error) => job.refuse(error),
                    }
                }
                Next::Over => {
                    self.passed = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.passed || (self.sent && !self.engine.writes.take_sent_lead()) {
            return;
        }
        let Some(job) = self.engine.writes.pass_on() else { return };
        match job.runtime() {
            // The next one's runtime has tasks or threads for it; but one that shuts down drops what it is sent, and then that is here again.
            Some(runtime) if !self.sent && !std::thread::panicking() => Self::new(&self.engine).begin_on(runtime),
            _ => Self::begin_on_thread(&self.engine),
        }
    }
}
