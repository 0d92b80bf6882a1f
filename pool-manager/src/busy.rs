//! Waiting for other processes: what a connection does when another process holds the lock it wants.
//!
//! Owns how long and in which steps it waits (callers of this process queue in the lane and do not meet here, but for moments).
//! Bounded by `busy_timeout`, and given up at once when the use is cancelled.

use std::time::Duration;

use crate::session::Session;

/// Waits between two tries: short at first, because most locks are held for a moment only.
const STEPS: [u64; 8] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000];

/// Waits once, after so many tries; false when the time is up or waiting makes no sense any more.
pub(crate) fn wait(session: &Session, tries: u32) -> bool {
    if tries == 0
        && let Some(database) = session.rules.database.upgrade()
    {
        // It may be one of them that is in the way of emptying the log.
        database.give_up_snapshots();
    }
    if session.waits_for_its_caller() {
        return false;
    }
    let waited = session.waits_since(tries == 0);
    let left = session.busy_timeout().saturating_sub(waited);
    if left.is_zero() || !session.may_wait() {
        session.gave_up_waiting(waited);
        return false;
    }
    let step = STEPS[usize::try_from(tries).unwrap_or(usize::MAX).min(STEPS.len() - 1)];
    std::thread::sleep(left.min(Duration::from_micros(step)));
    true
}
