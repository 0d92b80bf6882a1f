//! What became of a write, for whoever wants to know after the call is gone.
//!
//! Owns the states of a receipt and waking those who wait for it. It must not know how writes run. Invariant: a receipt says "committed"
//! only after the commit has returned, and "rolled back" only when it is certain that nothing of the write is or will be in the database.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::job::apart;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// It is not known yet, or the receipt was not given to a call yet.
    Pending,
    /// All of it is in the database.
    Committed,
    /// Nothing of it is in the database, and nothing will be.
    RolledBack,
}

/// Tells what became of one write, also when its future was dropped.
///
/// Whoever drops a future (a `select!`, a time-out around it, a task that is aborted) gets no answer, and the write may be anywhere between
/// waiting and committed. It is wholly in or wholly out in any case; a receipt tells which. Clones tell the same.
///
/// A receipt is for one call: when it is given to a second one, it tells of that.
///
/// ```
/// use pool_manager::{CallOptions, WriteOutcome, WriteReceipt};
///
/// # #[tokio::main]
/// # async fn main() -> pool_manager::Result<()> {
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// let receipt = WriteReceipt::new();
/// let options = CallOptions::new().receipt(&receipt);
/// let writing = db.write_with(options, |tx| Ok(tx.execute_batch("CREATE TABLE t (a)")?));
/// tokio::select! {
///     done = writing => done?,
///     () = std::future::ready(()) => {} // dropped, perhaps half-way
/// }
/// let outcome = receipt.wait().await; // first: what was dropped half-way may still be committed
/// let exists = db.read(|conn| Ok(conn.table_exists(None, "t")?)).await?;
/// assert_eq!(outcome == WriteOutcome::Committed, exists);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct WriteReceipt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For threads and for tasks that wait.
    settled: Condvar,
    notify: Notify,
}

#[derive(Debug)]
struct State {
    outcome: WriteOutcome,
    /// Which call it tells of.
    call: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { outcome: WriteOutcome::Pending, call: 0 }
    }
}

impl WriteReceipt {
    /// Makes a receipt to be given to a call by [`CallOptions::receipt`](crate::CallOptions::receipt).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what is known now.
    #[must_use]
    pub fn outcome(&self) -> WriteOutcome {
        self.0.state.lock().outcome
    }

    /// Waits until it is known what became of the write. Never returns [`WriteOutcome::Pending`], and never at all if the receipt is given
    /// to no call that writes.
    ///
    /// A commit that has begun is waited for; whatever else is given up is known at once.
    pub async fn wait(&self) -> WriteOutcome {
        loop {
            // Made before the look: what is settled after it wakes this.
            let notified = self.0.notify.notified();
            match self.outcome() {
                WriteOutcome::Pending => notified.await,
                outcome => return outcome,
            }
        }
    }

    /// The same on the calling thread, which must not be one that runs tasks.
    #[must_use]
    pub fn wait_blocking(&self) -> WriteOutcome {
        let mut state = self.0.state.lock();
        while state.outcome == WriteOutcome::Pending {
            self.0.settled.wait(&mut state);
        }
        state.outcome
    }

    /// Begins a call of which this receipt tells from now on.
    pub(crate) fn begin(&self) -> ReceiptEntry {
        let mut state = self.0.state.lock();
        state.outcome = WriteOutcome::Pending;
        state.call += 1;
        ReceiptEntry { receipt: self.clone(), call: state.call }
    }
}

/// One call's entry on a receipt. Dropped without having been settled it says that nothing of the write is in the database.
#[derive(Debug)]
pub(crate) struct ReceiptEntry {
    receipt: WriteReceipt,
    call: u64,
}

impl ReceiptEntry {
    /// Says what became of the write; the first word counts.
    pub(crate) fn settle(&self, outcome: WriteOutcome) {
        let shared = &self.receipt.0;
        let mut state = shared.state.lock();
        if state.call != self.call || state.outcome != WriteOutcome::Pending {
            return;
        }
        state.outcome = outcome;
        drop(state);
        shared.settled.notify_all();
        apart(|| shared.notify.notify_waiters());
    }
}

impl Drop for ReceiptEntry {
    fn drop(&mut self) {
        self.settle(WriteOutcome::RolledBack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts_and_an_entry_that_is_dropped_says_rolled_back() {
        let receipt = WriteReceipt::new();
        assert_eq!(receipt.outcome(), WriteOutcome::Pending);
        let entry = receipt.begin();
        entry.settle(WriteOutcome::Committed);
        entry.settle(WriteOutcome::RolledBack);
        drop(entry);
        assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
        drop(receipt.begin());
        assert_eq!(receipt.wait_blocking(), WriteOutcome::RolledBack);
    }

    #[test]
    fn an_earlier_call_does_not_speak_for_a_later_one() {
        let receipt = WriteReceipt::new();
        let (earlier, later) = (receipt.begin(), receipt.begin());
        drop(earlier);
        assert_eq!(receipt.outcome(), WriteOutcome::Pending);
        later.settle(WriteOutcome::Committed);
        assert_eq!(receipt.outcome(), WriteOutcome::Committed);
    }

    #[test]
    fn who_waits_for_a_receipt_is_woken() {
        let receipt = WriteReceipt::new();
        let entry = receipt.begin();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| receipt.wait_blocking());
            let task = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(receipt.wait())
            });
            entry.settle(WriteOutcome::Committed);
            assert_eq!(thread.join().expect("no panic"), WriteOutcome::Committed);
            assert_eq!(task.join().expect("no panic"), WriteOutcome::Committed);
        });
    }
}
