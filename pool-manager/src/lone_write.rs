//! The way of a write with which nobody else waits: right where it is called.
//!
//! A hop to another thread and back takes as long as several commits. Owns when a write may do without: its call site is known to be
//! quick, commit and all, and a connection, the lane and SQLite's lock are there to be taken. It must not know what happens in the
//! transaction. Invariant: what can't begin at once stays in the queue, untouched, for a thread that may wait.

use std::time::{Duration, Instant};

use pool_config::WorkPlacement;

use crate::engine::Engine;
use crate::nesting::Running;
use crate::session::Use;
use crate::sites::Site;
use crate::transaction::TransactionKind;
use crate::write_queue::Next;

/// For how long others may join: it is the caller's thread.
const TOGETHER: Duration = Duration::from_micros(50);

impl Engine {
    /// Runs the first write of the queue, with those that come meanwhile, on this thread; for who has the lead. False: it was not begun.
    pub(crate) fn write_here(&self, site: Site, own: Option<TransactionKind>, placement: WorkPlacement) -> bool {
        // One that begins by reading may have to wait for the lock of the one before.
        if own == Some(TransactionKind::Deferred) || !self.may_write_here(site, placement) {
            return false;
        }
        let since = Instant::now();
        let Some(lease) = self.try_lease() else { return false };
        let session = lease.session();
        if session.is_serial() {
            return false;
        }
        let ticket = lease.begin(Use::Write);
        if !session.try_enter_lane() {
            return false;
        }
        let running = Running::new(self, Some(self.lane()));
        let begin = || {
            // Another process may be writing.
            session.set_impatient(true);
            let begun = lease.transaction_with(own.unwrap_or_default());
            session.set_impatient(false);
            begun.ok()
        };
        let Some(transaction) = begin() else { return false };
        if self.writes.has_others() {
            // They came meanwhile. A thread that may take its time lets all of them share a commit.
            return false;
        }
        let Next::Job(first) = self.writes.next() else {
            // The pool was closed meanwhile, and the write refused.
            return true;
        };
        self.writes.count(first.waited());
        let batch = self.carry_out(&lease, transaction, ticket, &first, TOGETHER, || {
            self.sites.ran_here(site, since.elapsed());
        });
        drop(running);
        // Back before anybody is told: the next one finds the connection and the lane.
        drop(lease);
        self.sites.ran_here(site.whole(), since.elapsed());
        batch.answer();
        true
    }

    fn may_write_here(&self, site: Site, placement: WorkPlacement) -> bool {
        let quick = match placement {
            WorkPlacement::Blocking => false,
            WorkPlacement::Inline => self.sites.is_known(site),
            _ => self.sites.is_quick(site) && self.sites.is_quick(site.whole()),
        };
        // What was put off is done where nobody waits for it.
        quick && !self.log_is_put_off()
    }
}
