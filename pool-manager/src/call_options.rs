//! Choices of one call: how long it may take, how urgent it is, where it runs, how its transaction begins, and who wants to know.
//!
//! Owns what can be chosen and what the choices mean. It must not know how calls are carried out (`chosen`).

use std::time::{Duration, Instant};

use pool_config::WorkPlacement;

use crate::priority::Priority;
use crate::receipt::WriteReceipt;
use crate::transaction::TransactionKind;

/// Choices of one call, for the calls whose names end in `_with`. The default is that of the call without.
///
/// ```
/// use pool_manager::{CallOptions, Error, Priority};
/// use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> pool_manager::Result<()> {
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// let urgent = CallOptions::new().timeout(Duration::from_secs(2)).priority(Priority::High);
/// db.write_with(urgent, |tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?)).await?;
///
/// let quick = CallOptions::new().timeout(Duration::from_millis(50));
/// let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
/// let stopped = db.read_with(quick, move |conn| Ok(conn.query_row(endless, [], |row| row.get::<_, i64>(0))?)).await;
/// assert!(matches!(stopped, Err(Error::DeadlinePassed { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until they are given to a call"]
pub struct CallOptions {
    limit: Option<Limit>,
    pub(crate) priority: Priority,
    pub(crate) placement: Option<WorkPlacement>,
    pub(crate) kind: Option<TransactionKind>,
    pub(crate) receipt: Option<WriteReceipt>,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    For(Duration),
    Until(Instant),
}

impl CallOptions {
    /// Begins with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the whole call: waiting for a connection, for the write lane, running. Without this, only waiting is bounded, by the setting
    /// `acquire_timeout`, and that bound stays beside this one.
    ///
    /// A call whose time is over while it waits gives up waiting. One whose closure runs has the statement interrupted that runs for
    /// it, some milliseconds later at most, and all that it runs after that; a closure that is busy with something else is not
    /// interrupted. An async call returns at once, while such a closure may still be coming to its end; a blocking one
    /// returns when the closure does that its thread runs (its own, or one that it [shares](crate::Blocking::write) a commit with). In either case the error is
    /// [`Error::DeadlinePassed`](crate::Error::DeadlinePassed), and the next user of the connection notices nothing.
    ///
    /// Of a write that fails so, nothing is in the database: a commit that has begun is waited for, and the call then returns what came of
    /// that. If the write shares its transaction with others ([`write`](crate::DatabaseManager::write)) and is not the first in it,
    /// it is undone alone and not interrupted, because SQLite would roll back the others with it
    /// (<https://www.sqlite.org/c3ref/interrupt.html>). Of
    /// [`execute_with_pool_with`](crate::DatabaseManager::execute_with_pool_with) stays what its closure had committed by then.
    ///
    /// The time begins when the call does (when its future is first polled), and zero is over at once. It goes by the pool's
    /// [`Clock`](crate::Clock).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Some(Limit::For(timeout));
        self
    }

    /// As [`timeout`](Self::timeout), with the moment at which the time is over. Of the two, the one said last counts.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Some(Limit::Until(deadline));
        self
    }

    /// Says how urgent a write is among those that wait in the write queue (default: normal). What only reads, and
    /// [`execute_with_pool_with`](crate::DatabaseManager::execute_with_pool_with), does not stand in it.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Says where the closure runs, in place of the setting `work_placement`.
    ///
    /// What may have to wait for others never runs where it is called, whatever is said here: writes that are not alone, closures that may
    /// write, databases outside WAL mode. A write that waits may be run on the thread of another task that writes;
    /// [`Blocking`](WorkPlacement::Blocking) keeps it from there. The blocking calls run their closures on the calling thread and don't
    /// look at this, except [`write_with`](crate::Blocking::write_with), whose closure others may run as well.
    pub fn run(mut self, placement: WorkPlacement) -> Self {
        self.placement = Some(placement);
        self
    }

    /// Says how the transaction begins (default: immediate). With this, [`write_with`](crate::DatabaseManager::write_with) has a
    /// transaction of its own, too; what has none does not look at it. (A closure that borrows from its thread goes to
    /// [`blocking().transaction_with`](crate::Blocking::transaction_with).)
    pub fn kind(mut self, kind: TransactionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Has a receipt tell what becomes of the write, also if its future is dropped. Only
    /// [`write_with`](crate::DatabaseManager::write_with), [`transaction_with`](crate::DatabaseManager::transaction_with) and
    /// [`execute_pooled_transaction_with`](crate::DatabaseManager::execute_pooled_transaction_with) look at it: what they wrote is in
    /// or out as a whole.
    pub fn receipt(mut self, receipt: &WriteReceipt) -> Self {
        self.receipt = Some(receipt.clone());
        self
    }

    /// How long a call that begins now may take.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit.map(|limit| match limit {
            Limit::For(timeout) => timeout,
            Limit::Until(deadline) => deadline.saturating_duration_since(Instant::now()),
        })
    }

    /// The same for the slices of one call: they share its deadline, each has a transaction of its own, and unless it was said otherwise
    /// they run where nobody waits for the thread, because a slice is as long as may be.
    pub(crate) fn for_slices(mut self) -> Self {
        if let Some(Limit::For(timeout)) = self.limit {
            // What can't be told as a moment never comes.
            self.limit = Instant::now().checked_add(timeout).map(Limit::Until);
        }
        self.receipt = None;
        self.placement = self.placement.or(Some(WorkPlacement::Blocking));
        self.alone()
    }

    /// In a transaction of its own.
    pub(crate) fn alone(mut self) -> Self {
        self.kind = Some(self.kind.unwrap_or_default());
        self
    }
}

impl From<TransactionKind> for CallOptions {
    fn from(kind: TransactionKind) -> Self {
        Self::new().kind(kind)
    }
}
