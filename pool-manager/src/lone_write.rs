//! The way of a write right where it is called.
//!
//! A hop to another thread and back takes as long as several commits. Owns when a write may do without: its call site is known to be
//! quick, commit and all, and a connection, the lane and SQLite's lock are there to be taken. Those that come meanwhile are run here as
//! well, for a short time. It must not know what happens in a transaction. Invariants: what can't begin at once stays untouched, for a
//! thread that may wait; a caller's thread is kept no longer than what is quick takes, twice.

use std::sync::Arc;
use std::time::Duration;

use pool_config::WorkPlacement;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::job::{self, Outcome, after};
use crate::lead::Lead;
use crate::nesting::Running;
use crate::session::{Ticket, Use};
use crate::sites::Site;
use crate::thread_time::Began;
use crate::transaction::{Transaction, TransactionKind};
use crate::write_queue::{Job, Ran, Taken};
use crate::writing::{Carried, First};

/// For how long others may join: it is the caller's thread.
const TOGETHER: Duration = Duration::from_micros(50);

/// What became of a try.
pub(crate) enum Tried<T, W> {
    Done(Outcome<T>),
    /// It can't begin at once. Who got the lead has it still.
    Not {
        work: W,
        lead: Option<Lead>,
    },
}

impl Engine {
    /// Runs a write on this thread, with those that come meanwhile, if nobody waits before it.
    ///
    /// # Errors
    ///
    /// When the pool was closed.
    pub(crate) fn write_here<T, W>(self: &Arc<Self>, own: Option<TransactionKind>, work: W) -> Result<Tried<T, W>>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let first = First { site: Site::of::<W>(), shares: own.is_none() };
        let joins = own.is_none() && Handle::try_current().is_ok_and(|runtime| self.gathers(&runtime));
        if joins || !self.may_write_here(first.site, own, None) {
            return Ok(Tried::Not { work, lead: None });
        }
        if !self.writes.try_lead().map_err(|reason| self.no_turn(reason))? {
            return Ok(Tried::Not { work, lead: None });
        }
        let lead = Lead::new(self);
        let since = Began::now();
        let mut work = Some(work);
        let mut outcome = None;
        let carried = self.carry_out_here(own, first, since, |transaction, _, _| {
            let Some(work) = work.take() else { panic!("BUG: it runs once") };
            Ran::of(outcome.insert(job::outcome(work, transaction)))
        });
        match (carried, outcome, work) {
            (Some(carried), Some(outcome), _) => {
                self.writes.count(Duration::ZERO);
                let committed = carried.tell_others();
                lead.go_on_here(since.at + TOGETHER);
                Ok(Tried::Done(after(outcome, committed)))
            }
            (_, _, Some(work)) => Ok(Tried::Not { work, lead: Some(lead) }),
            _ => panic!("BUG: it ran or did not"),
        }
    }

    /// Has the queue worked off, for a caller whose write was the first in it: here, if that write may run here. Where there is no runtime
    /// it is worked off here in any case, until the write is `done`.
    pub(crate) fn lead_queue(self: &Arc<Self>, runtime: Option<&Handle>, done: impl Fn() -> bool) {
        let lead = Lead::new(self);
        let since = Began::now();
        if !runtime.is_some_and(|runtime| self.gathers(runtime)) && self.write_next_here() {
            lead.go_on_here(since.at + TOGETHER);
        } else {
            lead.begin(runtime, done);
        }
    }

    /// Runs the job that is next in the queue, with others that may share its transaction. False: it has to run elsewhere, or there is
    /// none.
    pub(crate) fn write_next_here(&self) -> bool {
        let may = |job: &dyn Job| self.may_write_here(job.site(), job.own_transaction(), job.placement());
        let Some(taken) = self.writes.next_if(may) else { return false };
        let first = Arc::clone(&taken.entry);
        let since = Began::now();
        let run = |transaction: &Transaction<'_>, connection: &Connection, ticket| {
            first.run(transaction, connection.session(), ticket, true)
        };
        let Some(carried) = self.carry_out_here(first.own_transaction(), First::of(&*first), since, run) else {
            self.put_back(taken);
            return false;
        };
        self.writes.count(first.waited());
        first.answer(carried.tell_others().err());
        true
    }

    /// Puts a job back that could not begin.
    pub(crate) fn put_back(&self, taken: Taken) {
        let job = Arc::clone(&taken.entry);
        if let Err(reason) = self.writes.put_back(taken) {
            job.refuse(self.no_turn(reason));
        }
    }

    /// Carries a write out on this thread if that can begin at once.
    fn carry_out_here(
        &self,
        own: Option<TransactionKind>,
        first: First,
        since: Began,
        run: impl FnOnce(&Transaction<'_>, &Connection, Ticket) -> Ran,
    ) -> Option<Carried> {
        let lease = self.try_lease()?;
        let session = lease.session();
        if session.is_serial() {
            return None;
        }
        let ticket = lease.begin(Use::Write, "");
        if !session.try_enter_lane() {
            return None;
        }
        let running = Running::new(self, Some(self.lane()));
        // Another process may be writing.
        session.set_impatient(true);
        let begun = lease.transaction_with(own.unwrap_or_default());
        session.set_impatient(false);
        let run = |transaction: &Transaction<'_>| run(transaction, &lease, ticket);
        let measured = || self.sites.ran_here(first.site, since);
        let carried = self.carry_out(&lease, begun.ok()?, first, since.at + TOGETHER, run, measured);
        drop(running);
        // Back before anybody is told: the next one finds the connection and the lane.
        drop(lease);
        self.sites.ran_here_but_for(first.site.whole(), since, carried.sharing);
        Some(carried)
    }

    /// Tells whether writes of a runtime's tasks wait for others to join. With one writer there are none: nothing waits then. Nor does it
    /// where tasks run only while somebody waits for them.
    pub(crate) fn gathers(&self, runtime: &Handle) -> bool {
        self.writes.has_company() && runtime.runtime_flavor() != RuntimeFlavor::CurrentThread
    }

    /// `placement`: what its caller has chosen for it.
    fn may_write_here(&self, site: Site, own: Option<TransactionKind>, placement: Option<WorkPlacement>) -> bool {
        let quick = match placement.unwrap_or_else(|| self.in_force().work_placement()) {
            // One that begins by reading may have to wait for the lock of the one before.
            _ if own == Some(TransactionKind::Deferred) => false,
            WorkPlacement::Blocking => false,
            WorkPlacement::Inline => self.sites.is_known(site),
            _ => self.sites.is_quick(site) && self.sites.is_quick(site.whole()),
        };
        // What was put off is done where nobody waits for it.
        quick && !self.log_is_put_off()
    }
}
