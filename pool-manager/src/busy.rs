//! Waiting for other processes: SQLite's busy handler for a pooled connection.
//!
//! Owns how long and in which steps a connection waits for a lock that another process holds (callers of this process queue in
//! the lane and do not meet here, but for moments). Bounded by `busy_timeout`, and given up at once when the use is cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::session::Session;

/// Waits between two tries: short at first, because most locks are held for a moment only.
const STEPS: [u64; 8] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000];

/// Makes `connection` wait for locks of other processes, at most `busy_timeout`.
pub(crate) fn install(connection: &mut rusqlite::Connection, session: &Arc<Session>) -> Result<()> {
    let session = Arc::clone(session);
    let mut since = Instant::now();
    let wait = move |tries: i32| {
        if tries == 0 {
            since = Instant::now();
        }
        let left = session.busy_timeout().saturating_sub(since.elapsed());
        if left.is_zero() || !session.may_wait() {
            return false;
        }
        let step = STEPS[usize::try_from(tries).unwrap_or(0).min(STEPS.len() - 1)];
        std::thread::sleep(left.min(Duration::from_micros(step)));
        true
    };
    Ok(connection.busy_handler(Some(wait))?)
}
