//! Owns everything between the right to a connection and a connection that is fit for use: validating, replacing,
//! opening.
//!
//! Runs in the future of whoever needs the connection, or in a background task of the maintenance thread. Invariant:
//! wherever these futures are dropped or panic, the slot goes back and the next waiter gets its chance.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::Location;
use std::time::Duration;

use crate::clock::{NEVER, Nanos, nanos};
use crate::error::AcquireError;
use crate::hooks;
use crate::manager::{CloseReason, Manager};
use crate::options::Options;
use crate::shared::{Custody, Shared, Verdict};
use crate::slot::{AGED, Claim, Vacancy};
use crate::sync::Ordering;

/// The right to open one connection; given back when dropped.
pub(crate) struct Permit<'p, M: Manager> {
    shared: &'p Shared<M>,
    vacancy: Option<Vacancy<M::Connection>>,
}

impl<'p, M: Manager> Permit<'p, M> {
    pub(crate) fn new(shared: &'p Shared<M>, vacancy: Vacancy<M::Connection>) -> Self {
        Self { shared, vacancy: Some(vacancy) }
    }

    /// Puts the opened connection into its slot.
    fn fulfil(mut self, connection: M::Connection) -> Custody<'p, M> {
        let vacancy = self.vacancy.take().expect("BUG: a permit was fulfilled twice");
        let shared = self.shared;
        let now = shared.clock.now();
        let claim = vacancy.fill(connection);
        let slot = claim.slot();
        let mut ledger = shared.ledger();
        slot.opened_at.store(now, Ordering::Relaxed);
        slot.idle_at.store(now, Ordering::Relaxed);
        slot.retire_at.store(retire_at(&ledger.options, now), Ordering::Relaxed);
        slot.set_care(0, AGED);
        ledger.opening -= 1;
        ledger.counts.created += 1;
        let retires_first = slot.retire_at.load(Ordering::Relaxed) < shared.next_visit.load(Ordering::Relaxed);
        drop(ledger);
        if retires_first {
            shared.call_maintenance(slot.retire_at.load(Ordering::Relaxed));
        }
        Custody::new(shared, claim)
    }
}

impl<M: Manager> Drop for Permit<'_, M> {
    fn drop(&mut self) {
        if let Some(vacancy) = self.vacancy.take() {
            if std::thread::panicking() {
                self.shared.ledger().counts.errors += 1;
            }
            self.shared.not_opened(vacancy);
        }
    }
}

/// Draws the moment at which a connection opened now is to be retired.
pub(crate) fn retire_at(options: &Options, now: Nanos) -> Nanos {
    let Some(age) = options.max_connection_age else { return NEVER };
    // 53 random bits are what a f64 between zero and one can hold.
    let chance = (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64;
    let age = nanos(age);
    now.saturating_add(age - (age as f64 * options.age_jitter * chance) as Nanos).max(1)
}

/// What has to be done before a connection can be handed out.
pub(crate) enum Task<C> {
    /// Ask the manager whether the connection still works.
    Validate(Claim<C>),
    /// Close the connection and find another one.
    Replace(Claim<C>, CloseReason),
    /// Open a connection.
    Open(Vacancy<C>),
}

/// Carries out a task and hands over a connection that is fit for use.
pub(crate) async fn prepare<M: Manager>(
    shared: &Shared<M>,
    task: Task<M::Connection>,
    caller: &'static Location<'static>,
) -> Result<Claim<M::Connection>, AcquireError<M::Error>> {
    let mut task = task;
    loop {
        let vacancy = match task {
            Task::Open(vacancy) => {
                let custody = open(shared, Permit::new(shared, vacancy)).await?;
                return make_fit(shared, custody).map(|claim| shared.hand_over(claim, caller));
            }
            Task::Replace(claim, reason) => shared.replace_connection(claim, reason),
            Task::Validate(claim) => match validate(shared, claim).await {
                Ok(claim) => return Ok(shared.hand_over(claim, caller)),
                Err((claim, reason)) => shared.replace_connection(claim, reason),
            },
        };
        // Another idle connection is as good as a new one, and this caller's turn has come already.
        task = match shared.slots.claim_inside(false) {
            None => Task::Open(vacancy),
            Some(claim) => {
                let mut custody = Custody::new(shared, claim);
                shared.not_opened(vacancy);
                match shared.judge(custody.claim()) {
                    Verdict::Fit => return Ok(shared.hand_over(custody.keep(), caller)),
                    Verdict::Doubtful => Task::Validate(custody.keep()),
                    Verdict::Unfit(reason) => Task::Replace(custody.keep(), reason),
                }
            }
        };
    }
}

/// Opens a connection into the permit's slot.
pub(crate) async fn open<'p, M: Manager>(
    shared: &'p Shared<M>,
    permit: Permit<'p, M>,
) -> Result<Custody<'p, M>, AcquireError<M::Error>> {
    let began = shared.observer.is_some().then(|| shared.clock.now());
    let connection = match shared.manager.open().await {
        Ok(connection) => connection,
        Err(source) => {
            shared.ledger().counts.errors += 1;
            shared.observe(|observer| observer.open_failed(&source));
            drop(permit);
            return Err(AcquireError::OpenFailed { source });
        }
    };
    let mut custody = permit.fulfil(connection);
    if let Some(began) = began {
        let took = Duration::from_nanos(shared.clock.now().saturating_sub(began));
        shared.observe(|observer| observer.opened(took));
    }
    if shared.ledger().closed {
        shared.close_connection(custody.keep(), CloseReason::PoolClosed);
        return Err(AcquireError::Closed);
    }
    match hooks::run(shared.hooks.after_open.as_ref(), custody.claim().connection_mut()) {
        Ok(()) => Ok(custody),
        Err(source) => Err(refuse(shared, custody, source)),
    }
}

/// Asks the hook before hand-out about a new connection; if it says no, another one would fare no better.
fn make_fit<M: Manager>(
    shared: &Shared<M>,
    mut custody: Custody<'_, M>,
) -> Result<Claim<M::Connection>, AcquireError<M::Error>> {
    match hooks::run(shared.hooks.before_hand_out.as_ref(), custody.claim().connection_mut()) {
        Ok(()) => Ok(custody.keep()),
        Err(source) => Err(refuse(shared, custody, source)),
    }
}

fn refuse<M: Manager>(
    shared: &Shared<M>,
    custody: Custody<'_, M>,
    source: crate::error::Refusal,
) -> AcquireError<M::Error> {
    shared.ledger().counts.errors += 1;
    shared.close_connection(custody.keep(), CloseReason::Refused);
    AcquireError::Refused { source }
}

/// Asks manager and hook whether an idle connection still works.
async fn validate<M: Manager>(
    shared: &Shared<M>,
    claim: Claim<M::Connection>,
) -> Result<Claim<M::Connection>, (Claim<M::Connection>, CloseReason)> {
    let mut custody = Custody::new(shared, claim);
    if !is_valid(shared, &mut custody).await {
        return Err((custody.keep(), CloseReason::Invalid));
    }
    match shared.judge_by_hook(custody.claim()) {
        Verdict::Fit | Verdict::Doubtful => Ok(custody.keep()),
        Verdict::Unfit(reason) => Err((custody.keep(), reason)),
    }
}

/// Asks the manager whether a connection still works, and tells the observer if not.
pub(crate) async fn is_valid<M: Manager>(shared: &Shared<M>, custody: &mut Custody<'_, M>) -> bool {
    let Err(error) = shared.manager.validate(custody.claim().connection_mut()).await else { return true };
    shared.ledger().counts.errors += 1;
    shared.observe(|observer| observer.validation_failed(&error));
    false
}
