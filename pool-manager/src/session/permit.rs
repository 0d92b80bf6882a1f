//! How a session comes to the permit to write, waits for it, and gives it back.
//!
//! Owns the wait, which ends early when the use is stopped. It must not know which statement needs a permit. Invariant: who waits is found
//! in the session's state by whoever stops the use; a permit that comes all the same goes back when the use ends.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::ffi;

use super::{Kind, Refusal, Rules, Session, USE_REFUSED, Verdict};
use crate::error::Result;
use crate::lane::NoTurn;
use crate::nesting;

impl Session {
    /// Takes the permit to write, for as long as the use goes on. The wait ends early when the use is interrupted.
    ///
    /// # Errors
    ///
    /// Names why no permit came.
    pub(crate) fn enter_lane(&self) -> Result<()> {
        let frozen = self.rules.anchorage.is_frozen();
        let entered = if frozen { Err(Refusal::Frozen) } else { self.wait_for_permit(true) };
        entered.map_err(|refusal| {
            let interrupted = ffi::Error::new(ffi::SQLITE_INTERRUPT);
            self.refusal_error(refusal, rusqlite::Error::SqliteFailure(interrupted, None))
        })
    }

    /// Takes the permit to write, if nobody has it or waits for it, for a use on a thread that others wait for: what takes long is left
    /// to others.
    pub(crate) fn try_enter_lane(&self) -> bool {
        if nesting::writes_here(&self.rules.lane) || self.rules.anchorage.is_frozen() {
            return false;
        }
        let permit = self.rules.lane.try_exclusive();
        let entered = permit.is_some();
        self.state.lock().permit = permit;
        self.on_worker.store(entered, Ordering::Relaxed);
        entered
    }

    /// Gives the permit back, if this session holds it.
    pub(crate) fn give_permit_back(&self) {
        let permit = self.state.lock().permit.take();
        drop(permit);
    }

    pub(super) fn take_permit(&self, kind: Kind, exclusive: bool) -> Verdict {
        if self.state.lock().permit.is_some() {
            return Verdict::Run;
        }
        if let Err(refusal) = self.wait_for_permit(exclusive) {
            return self.refuse(refusal);
        }
        if matches!(kind, Kind::Begins | Kind::Upgrades) {
            self.settle_lane();
        }
        Verdict::Run
    }

    fn wait_for_permit(&self, exclusive: bool) -> std::result::Result<(), Refusal> {
        let Rules { lane, name, serial, in_force, .. } = &self.rules;
        let limit = in_force.acquire_timeout();
        if nesting::writes_here(lane) {
            nesting::note_refusal(lane);
            return Err(Refusal::Nested);
        }
        {
            let mut state = self.state.lock();
            if self.refused.load(Ordering::Relaxed) == USE_REFUSED {
                return Err(state.refusal.unwrap_or(Refusal::Cancelled));
            }
            state.waiting = Some(std::thread::current());
        }
        let since = Instant::now();
        let stopped = || self.refused.load(Ordering::Acquire) == USE_REFUSED;
        let at_once = self.snapshot().filter(|snapshot| exclusive && snapshot.is_held()).and_then(|snapshot| {
            let permit = lane.try_exclusive();
            if permit.is_none() {
                // Whoever has the permit may be emptying the log, for which nobody must read from it.
                snapshot.give_up();
            }
            permit
        });
        let permit = match at_once {
            Some(permit) => Ok(permit),
            None if exclusive => lane.exclusive(*serial, limit, stopped),
            None => lane.shared(limit, stopped),
        };
        let mut state = self.state.lock();
        state.waiting = None;
        match permit {
            Ok(permit) => {
                self.committed.store(false, Ordering::Relaxed);
                state.permit = Some(permit);
            }
            Err(NoTurn::Stopped) => return Err(state.refusal.unwrap_or(Refusal::Cancelled)),
            Err(reason) => return Err(Refusal::Lane(reason)),
        }
        if self.refused.load(Ordering::Relaxed) == USE_REFUSED {
            return Err(state.refusal.unwrap_or(Refusal::Cancelled));
        }
        drop(state);
        let waited = since.elapsed();
        if waited > Duration::from_millis(1) {
            tracing::debug!(target: "pool_manager", database = &**name, ?waited, "waited for the write lane");
        }
        Ok(())
    }

    /// Waits for a lock whose permit came back before it. For those who begin a transaction by reading.
    pub(crate) fn settle_lane(&self) {
        if self.rules.lane.take_unsettled() {
            self.rules.anchorage.wait_for_writer(self.busy_timeout());
        }
    }
}
