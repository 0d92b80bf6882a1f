//! What the calling thread has used of a processor, so that one that was merely not given any does not pass for slow.
//!
//! Owns the figures that the system keeps of each thread, and a note of them from shortly before each run on a thread that others wait for:
//! asking for them takes a tenth of a short read, so a note serves all runs that begin soon after it. It must not know what runs.
//! Invariant: what is said to have been used since a run began is never less than what that run used.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// For so long a note serves the runs that begin after it.
const NEAR: Duration = Duration::from_micros(50);

/// What a thread has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) worked: Duration,
    /// How often it gave the processor up by itself, to wait for something.
    pub(crate) waits: i64,
}

impl Usage {
    /// Asks the system. The clock of the thread runs on between two ticks of the system, which the times of `getrusage` do not:
    /// <https://man7.org/linux/man-pages/man2/clock_getres.2.html>
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Option<Self> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::time::{ClockId, clock_gettime};
        let worked = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
        let waits = getrusage(UsageWho::RUSAGE_THREAD).ok()?.voluntary_context_switches();
        Some(Self { worked: worked.into(), waits })
    }

    /// Elsewhere the clock on the wall has to do.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Option<Self> {
        None
    }
}

thread_local! {
    static NOTE: Cell<Option<(Instant, Usage)>> = const { Cell::new(None) };
}

/// When a run on a thread that others wait for began, and what the thread had used shortly before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {
    pub(crate) at: Instant,
    before: Option<Usage>,
}

impl Began {
    /// A run begins now.
    #[inline]
    pub(crate) fn now() -> Self {
        let at = Instant::now();
        let before = match NOTE.get() {
            Some((noted, usage)) if at.saturating_duration_since(noted) <= NEAR => Some(usage),
            _ => note(at),
        };
        Self { at, before }
    }

    /// At most how long the thread worked since, but for a part that took `but_for`. `None`: that can't be told, or it waited for something.
    #[cold]
    pub(crate) fn worked(&self, but_for: Duration) -> Option<Duration> {
        let (before, now) = (self.before?, Usage::now()?);
        (now.waits == before.waits).then(|| now.worked.saturating_sub(before.worked).saturating_sub(but_for))
    }
}

#[cold]
fn note(at: Instant) -> Option<Usage> {
    let usage = Usage::now();
    NOTE.set(usage.map(|usage| (at, usage)));
    usage
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_worked_is_told_and_that_it_waited() {
        let began = Began::now();
        let before = Usage::now().unwrap();
        let mut work = 0_u64;
        while Usage::now().unwrap().worked - before.worked < NEAR * 4 {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        // It may have waited for a page of memory.
        assert!(began.worked(Duration::ZERO).is_none_or(|worked| worked >= NEAR * 4), "{work}");
        let began = Began::now();
        std::thread::park_timeout(NEAR * 4);
        assert_eq!(began.worked(Duration::ZERO), None);
    }

    #[test]
    fn runs_that_begin_soon_after_one_another_share_a_note_and_later_ones_do_not() {
        let usage = Usage::now().unwrap();
        let marked = Usage { waits: -1, ..usage };
        NOTE.set(Some((Instant::now() + NEAR * 1_000, marked)));
        assert_eq!(Began::now().before.unwrap().waits, -1, "it is not old");
        NOTE.set(Some((Instant::now() - NEAR * 2, marked)));
        assert!(Began::now().before.unwrap().waits >= 0, "it is old");
    }
}
