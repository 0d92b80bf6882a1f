//! Who works the write queue off.
//!
//! Owns how the lead moves: from the caller who got it to a blocking thread of its runtime, to a thread that waits for it, or, where
//! neither is there, to a thread of its own. It must not know what a write does, or which share a transaction.
//!
//! Invariant: a lead ends only with the queue empty, or in the hands of another.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use crate::engine::Engine;
use crate::error::Error;
use crate::write_queue::Next;

/// The lead of an engine's write queue. Dropped without having ended it passes the lead on, so that nobody waits for ever.
pub(crate) struct Lead {
    engine: Arc<Engine>,
    /// Whether it has ended, or passed to somebody else.
    passed: bool,
    /// Whether it is on its way to a thread of a runtime.
    sent: bool,
}

impl Lead {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), passed: false, sent: false }
    }

    /// Works the queue off, on a blocking thread where there is a runtime.
    pub(crate) fn begin(mut self, runtime: Option<&Handle>) {
        match runtime {
            Some(runtime) => {
                self.sent = true;
                drop(runtime.spawn_blocking(move || self.work_off()));
            }
            None => self.work_off(),
        }
    }

    /// Works the queue off right here for as long as that is quick, but begins nothing after `until`; what is left is passed on.
    pub(crate) fn go_on_here(self, until: Instant) {
        while self.engine.writes.is_waited_for() && Instant::now() < until && self.engine.write_next_here() {}
    }

    /// Works the queue off on a thread of its own.
    fn begin_on_thread(engine: &Arc<Engine>) {
        let leader = Arc::clone(engine);
        let started =
            std::thread::Builder::new().name("pool-write".to_owned()).spawn(move || Self::new(&leader).work_off());
        if let Err(source) = started {
            let source = Arc::new(Error::System { what: "starting a thread that writes", source });
            engine.writes.refuse_all(|| Error::CommitFailed(Arc::clone(&source)));
        }
    }

    fn work_off(mut self) {
        self.sent = false;
        self.work_off_until(|| false);
    }

    /// Works the queue off until `done`, and passes the lead on then.
    pub(crate) fn work_off_until(mut self, done: impl Fn() -> bool) {
        while !done() {
            match self.engine.writes.next() {
                Next::Job(job) => {
                    self.engine.writes.count(job.waited());
                    self.engine.run_batch(&job);
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
        if self.passed {
            return;
        }
        let Some(job) = self.engine.writes.pass_on() else { return };
        match job.runtime() {
            // The next one's runtime has threads for it; but one that shuts down drops what it is sent, and then that is here again.
            Some(runtime) if !self.sent && !std::thread::panicking() => Self::new(&self.engine).begin(Some(runtime)),
            _ => Self::begin_on_thread(&self.engine),
        }
    }
}
