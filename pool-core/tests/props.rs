//! Random actions of several clients against a model, checked after every step.
//!
//! Run with `PROPTEST_CASES=N cargo test -p pool-core --release --test props` (default 256 cases of up to 60 actions).
//!
//! The model knows who holds what, who waits in which order and until when. Checked: nobody holds what another holds,
//! never more connections than the largest maximum in force, first come first served, whoever can be served is served,
//! timeouts at their moment, and that all counts add up.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use common::{Fake, World, poll_once};
use pool_core::{AcquireError, Lease, ManualClock, Pool};
use proptest::prelude::*;

const TIMEOUT: u64 = 10;

#[derive(Clone, Debug)]
enum Action {
    Acquire,
    AcquireFor(u64),
    Try,
    /// Polls everybody who waits, in an order of its own.
    Poll(usize),
    Cancel(usize),
    Release(usize),
    Break(usize),
    Discard(usize),
    Detach(usize),
    PanicWhileHolding(usize),
    Advance(u64),
    Maintain,
    Resize(usize),
    FailOpens(bool),
    FailResets(bool),
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => Just(Action::Acquire),
        2 => (1..30_u64).prop_map(Action::AcquireFor),
        2 => Just(Action::Try),
        4 => any::<usize>().prop_map(Action::Poll),
        3 => any::<usize>().prop_map(Action::Cancel),
        8 => any::<usize>().prop_map(Action::Release),
        2 => any::<usize>().prop_map(Action::Break),
        1 => any::<usize>().prop_map(Action::Discard),
        1 => any::<usize>().prop_map(Action::Detach),
        1 => any::<usize>().prop_map(Action::PanicWhileHolding),
        3 => (0..20_u64).prop_map(Action::Advance),
        1 => Just(Action::Maintain),
        1 => (1..6_usize).prop_map(Action::Resize),
        1 => any::<bool>().prop_map(Action::FailOpens),
        1 => any::<bool>().prop_map(Action::FailResets),
        1 => (0..20_u64).prop_map(|chance| if chance == 0 { Action::Close } else { Action::Acquire }),
    ]
}

type Waiting<'p> = Pin<Box<pool_core::Acquire<'p, Fake>>>;

struct Waiter<'p> {
    acquire: Waiting<'p>,
    ticket: u64,
    deadline: u64,
}

struct Clients<'p> {
    pool: &'p Pool<Fake>,
    world: &'p World,
    time: &'p ManualClock,
    leases: Vec<Lease<'p, Fake>>,
    waiting: VecDeque<Waiter<'p>>,
    tickets: u64,
    /// The tickets in the order in which they were served.
    served: Vec<u64>,
    now: u64,
    maximum: usize,
    timed_out: u64,
    closed: bool,
}

impl<'p> Clients<'p> {
    fn acquire(&mut self, timeout: Option<u64>) {
        let acquire = match timeout {
            None => self.pool.acquire(),
            Some(seconds) => self.pool.acquire_timeout(Duration::from_secs(seconds)),
        };
        let deadline = self.now + timeout.unwrap_or(TIMEOUT);
        let mut waiter = Waiter { acquire: Box::pin(acquire), ticket: self.tickets, deadline };
        self.tickets += 1;
        // Those who have been served and have not looked yet no longer count.
        let somebody_waited = self.pool.stats().waiting > 0;
        if !self.poll(&mut waiter) {
            assert!(!self.closed);
            self.waiting.push_back(waiter);
        } else if somebody_waited && self.served.last() == Some(&waiter.ticket) {
            panic!("a newcomer was served before those who wait");
        }
    }

    /// Polls one; tells whether it is done.
    fn poll(&mut self, waiter: &mut Waiter<'p>) -> bool {
        match poll_once(waiter.acquire.as_mut()) {
            Poll::Pending => return false,
            Poll::Ready(Ok(lease)) => {
                assert!(!self.closed, "served by a closed pool");
                self.served.push(waiter.ticket);
                self.leases.push(lease);
            }
            Poll::Ready(Err(AcquireError::TimedOut { .. })) => {
                self.timed_out += 1;
                assert!(self.now >= waiter.deadline, "timed out at {} before {}", self.now, waiter.deadline);
            }
            Poll::Ready(Err(AcquireError::Closed)) => assert!(self.closed),
            Poll::Ready(Err(AcquireError::OpenFailed { .. })) => assert!(self.world.fail_open.load(SeqCst)),
            Poll::Ready(Err(other)) => panic!("{other}"),
        }
        true
    }

    /// Polls all who wait, beginning anywhere: who is polled first must not matter.
    fn poll_all(&mut self, start: usize) {
        let count = self.waiting.len();
        let mut waiting: Vec<Option<Waiter<'p>>> = std::mem::take(&mut self.waiting).into_iter().map(Some).collect();
        let served_before = self.served.len();
        for step in 0..count {
            let place = (start % count + step) % count;
            let mut waiter = waiting[place].take().expect("each is polled once");
            if !self.poll(&mut waiter) {
                waiting[place] = Some(waiter);
            }
        }
        // Nobody who still waits came before somebody who was served.
        let first_left = waiting.iter().flatten().map(|waiter| waiter.ticket).min().unwrap_or(u64::MAX);
        assert!(self.served[served_before..].iter().all(|&ticket| ticket < first_left), "out of order");
        self.waiting = waiting.into_iter().flatten().collect();
    }

    fn take(&mut self, choice: usize) -> Option<Lease<'p, Fake>> {
        (!self.leases.is_empty()).then(|| self.leases.swap_remove(choice % self.leases.len()))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Acquire => self.acquire(None),
            Action::AcquireFor(seconds) => self.acquire(Some(seconds)),
            Action::Try => {
                let somebody_waited = self.pool.stats().waiting > 0;
                let lease = self.pool.try_acquire();
                assert!(lease.is_none() || !somebody_waited && !self.closed);
                self.leases.extend(lease);
            }
            Action::Poll(start) => self.poll_all(start),
            Action::Cancel(choice) => {
                if !self.waiting.is_empty() {
                    self.waiting.remove(choice % self.waiting.len());
                }
            }
            Action::Release(choice) => drop(self.take(choice)),
            Action::Break(choice) => {
                if let Some(mut lease) = self.take(choice) {
                    lease.broken = true;
                }
            }
            Action::Discard(choice) => {
                if let Some(lease) = self.take(choice) {
                    lease.discard();
                }
            }
            Action::Detach(choice) => {
                if let Some(lease) = self.take(choice) {
                    drop(lease.detach());
                }
            }
            Action::PanicWhileHolding(choice) => {
                if let Some(lease) = self.take(choice) {
                    // Without the message: thousands of them would bury the one that matters.
                    let panicking = AssertUnwindSafe(move || {
                        let _lease = lease;
                        std::panic::resume_unwind(Box::new(()));
                    });
                    assert!(catch_unwind(panicking).is_err());
                }
            }
            Action::Advance(seconds) => {
                self.now += seconds;
                self.time.advance(Duration::from_secs(seconds));
            }
            Action::Maintain => self.pool.maintain(),
            Action::Resize(maximum) => {
                let minimum = self.pool.options().min_connections.min(maximum);
                let options = self.pool.options().max_connections(maximum).min_connections(minimum);
                if self.pool.reconfigure(options).is_ok() {
                    self.maximum = maximum;
                } else {
                    assert!(self.closed);
                }
            }
            Action::FailOpens(fail) => self.world.fail_open.store(fail, SeqCst),
            Action::FailResets(fail) => self.world.fail_reset.store(fail, SeqCst),
            Action::Close => {
                self.pool.close_blocking(Duration::ZERO);
                self.closed = true;
            }
        }
    }

    fn check(&mut self) {
        let numbers: HashSet<usize> = self.leases.iter().map(|lease| lease.number).collect();
        assert_eq!(numbers.len(), self.leases.len(), "two holders of one connection");
        let stats = self.pool.stats();
        assert_eq!(stats.leased, self.leases.len(), "{stats:?}");
        assert_eq!(stats.total, stats.leased + stats.idle, "{stats:?}");
        assert_eq!(stats.total, self.world.open.load(SeqCst), "{stats:?}");
        assert_eq!(stats.acquired, stats.released + stats.leased as u64, "{stats:?}");
        assert_eq!(stats.created, stats.total as u64 + stats.closed.total() + stats.detached, "{stats:?}");
        assert_eq!(stats.timed_out, self.timed_out, "{stats:?}");
        // Served and not looked since: some of the idle ones may be theirs.
        let in_transit = self.waiting.len() - stats.waiting;
        assert!(stats.total <= self.maximum || stats.idle <= in_transit, "{stats:?}");
        if self.closed {
            assert!(stats.waiting == 0 && stats.idle <= in_transit, "{stats:?}");
        }
        // Nobody is in the queue while there is something to be had.
        let room = stats.total + stats.opening < self.maximum;
        assert!(stats.waiting == 0 || !room && stats.idle <= in_transit, "{stats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_actions_keeps_every_promise(
        maximum in 1..5_usize,
        minimum in 0..3_usize,
        validate in proptest::option::of(0..10_u64),
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        let manager = Fake::default();
        let world = Arc::clone(&manager.0);
        let time = ManualClock::new();
        let pool = Pool::builder(manager)
            .max_connections(maximum)
            .min_connections(minimum.min(maximum))
            .acquire_timeout(Duration::from_secs(TIMEOUT))
            .idle_timeout(Some(Duration::from_secs(15)))
            .max_connection_age(Some(Duration::from_secs(40)))
            .validate_after_idle(validate.map(Duration::from_secs))
            .clock(time.clock())
            .build()
            .unwrap();
        let mut clients = Clients {
            pool: &pool,
            world: &world,
            time: &time,
            leases: Vec::new(),
            waiting: VecDeque::new(),
            tickets: 0,
            served: Vec::new(),
            now: 0,
            maximum,
            timed_out: 0,
            closed: false,
        };
        for action in actions {
            let open = world.open.load(SeqCst);
            world.most_open.store(open, SeqCst);
            let under_way = open + pool.stats().opening;
            clients.act(action);
            // Nothing is begun beyond the maximum; a lowered one is reached as connections come back.
            prop_assert!(world.most_open.load(SeqCst) <= under_way.max(clients.maximum));
            clients.check();
        }
        // At rest: everybody gives back, then everything is polled until nobody waits any more.
        world.fail_open.store(false, SeqCst);
        while !clients.waiting.is_empty() || !clients.leases.is_empty() {
            clients.leases.clear();
            clients.poll_all(0);
            clients.check();
        }
        let stats = pool.stats();
        prop_assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0));
        drop(clients);
        drop(pool);
        prop_assert_eq!(world.open.load(SeqCst), 0);
    }
}
