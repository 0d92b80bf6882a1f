//! What becomes of connections: opening, health, age, idleness, the minimum, resetting, failing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use common::{fake, now, poll_once, until};
use pool_core::{AcquireError, CloseReason, ManualClock, SettingsError};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_minimum_is_opened_without_being_asked_for() {
    let (builder, world) = fake();
    let pool = builder.min_connections(3).build().unwrap();
    until(|| pool.stats().idle == 3);
    assert_eq!(world.opened.load(SeqCst), 3);
}

#[test]
fn the_minimum_is_restored_after_all_were_discarded() {
    let (builder, world) = fake();
    let pool = builder.min_connections(2).build().unwrap();
    until(|| pool.stats().idle == 2);
    let leases = (pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap());
    leases.0.discard();
    leases.1.discard();
    until(|| pool.stats().idle == 2);
    assert_eq!(world.reasons(), [CloseReason::Discarded; 2]);
}

#[test]
fn a_failing_refill_is_tried_again_at_the_next_pass() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.min_connections(2).clock(time.clock()).build().unwrap();
    world.fail_open.store(true, SeqCst);
    pool.maintain();
    assert_eq!((pool.stats().total, pool.stats().opening, pool.stats().errors), (0, 0, 1));
    world.fail_open.store(false, SeqCst);
    time.advance(10 * SECOND);
    assert_eq!(pool.stats().idle, 2);
}

#[test]
fn idle_connections_are_reaped_down_to_the_minimum_and_used_ones_spared() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.min_connections(1).max_connections(4).clock(time.clock()).build().unwrap();
    let leases: Vec<_> = (0..4).map(|_| now(pool.acquire()).unwrap()).collect();
    drop(leases);
    time.advance(20 * SECOND);
    let used = (now(pool.acquire()).unwrap(), now(pool.acquire()).unwrap());
    drop(used);
    time.advance(10 * SECOND);
    assert_eq!(pool.stats().idle, 2);
    time.advance(20 * SECOND);
    assert_eq!(pool.stats().idle, 1);
    assert_eq!(world.reasons(), [CloseReason::Idle; 3]);
    assert_eq!(now(pool.acquire()).unwrap().number, 0);
}

#[test]
fn an_aged_connection_is_replaced_before_hand_out_and_on_return() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).age_jitter(0.0).idle_timeout(None);
    let pool = builder.max_connection_age(Some(60 * SECOND)).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    time.advance(60 * SECOND);
    assert_eq!(pool.stats().leased, 1);
    drop(lease);
    assert_eq!(world.reasons(), [CloseReason::MaxAge]);
    drop(now(pool.acquire()).unwrap());
    time.advance(60 * SECOND);
    assert_eq!(world.reasons(), [CloseReason::MaxAge; 2]);
    assert_eq!(now(pool.acquire()).unwrap().number, 2);
}

#[test]
fn jitter_spreads_the_ages_of_connections_opened_together() {
    let (builder, _) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).age_jitter(1.0).idle_timeout(None).max_connections(100);
    let pool = builder.max_connection_age(Some(60 * SECOND)).build().unwrap();
    let leases: Vec<_> = (0..100).map(|_| now(pool.acquire()).unwrap()).collect();
    drop(leases);
    time.advance(30 * SECOND);
    let left = pool.stats().total;
    assert!((1..100).contains(&left), "{left} are left");
    time.advance(30 * SECOND);
    assert_eq!(pool.stats().total, 0);
}

#[test]
fn an_aged_connection_closed_while_somebody_waits_serves_the_waiter() {
    let (builder, _) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).max_connections(1).age_jitter(0.0);
    let pool = builder.max_connection_age(Some(SECOND)).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut waiter = pin!(pool.acquire());
    assert!(poll_once(waiter.as_mut()).is_pending());
    time.advance(SECOND);
    drop(lease);
    let Poll::Ready(Ok(lease)) = poll_once(waiter.as_mut()) else { panic!("the waiter was not served") };
    assert_eq!(lease.number, 1);
}

#[test]
fn a_stale_connection_is_validated_before_hand_out_and_replaced_if_unfit() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).validate_after_idle(Some(5 * SECOND)).build().unwrap();
    drop(now(pool.acquire()).unwrap());
    drop(now(pool.acquire()).unwrap());
    assert_eq!(world.validated.load(SeqCst), 0);
    time.advance(5 * SECOND);
    let mut lease = now(pool.acquire()).unwrap();
    assert_eq!((world.validated.load(SeqCst), lease.number), (1, 0));
    lease.invalid = true;
    drop(lease);
    time.advance(5 * SECOND);
    assert!(pool.try_acquire().is_none());
    assert_eq!(now(pool.acquire()).unwrap().number, 1);
    assert_eq!(world.reasons(), [CloseReason::Invalid]);
}

#[test]
fn no_lock_is_held_while_validating_or_opening() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).max_connections(2).validate_after_idle(Some(SECOND));
    let pool = builder.build().unwrap();
    drop(now(pool.acquire()).unwrap());
    time.advance(SECOND);
    world.hold.store(true, SeqCst);
    let mut validating = pin!(pool.acquire());
    let mut opening = pin!(pool.acquire());
    assert!(poll_once(validating.as_mut()).is_pending());
    assert!(poll_once(opening.as_mut()).is_pending());
    assert_eq!((pool.stats().total, pool.stats().opening), (1, 1));
    world.let_go();
    assert!(matches!(poll_once(opening.as_mut()), Poll::Ready(Ok(_))));
    assert!(matches!(poll_once(validating.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn a_validation_that_is_given_up_closes_the_connection_and_serves_the_next() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).max_connections(1).validate_after_idle(Some(SECOND));
    let pool = builder.build().unwrap();
    drop(now(pool.acquire()).unwrap());
    time.advance(SECOND);
    world.hold.store(true, SeqCst);
    let mut first = Box::pin(pool.acquire());
    let mut second = pin!(pool.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    drop(first);
    world.let_go();
    let Poll::Ready(Ok(lease)) = poll_once(second.as_mut()) else { panic!("the second was not served") };
    assert_eq!(lease.number, 1);
    assert_eq!(world.reasons(), [CloseReason::Interrupted]);
}

#[test]
fn background_health_checks_replace_what_fails() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).min_connections(2).health_checks(true);
    let pool = builder.build().unwrap();
    pool.maintain();
    now(pool.acquire()).unwrap().invalid = true;
    time.advance(10 * SECOND);
    assert_eq!(world.reasons(), [CloseReason::Invalid]);
    assert_eq!((pool.stats().idle, world.opened.load(SeqCst)), (2, 3));
}

#[test]
fn a_background_check_that_waits_is_finished_by_the_maintenance_thread() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).min_connections(1).build().unwrap();
    world.hold.store(true, SeqCst);
    pool.maintain();
    assert_eq!((pool.stats().opening, pool.stats().idle), (1, 0));
    world.let_go();
    until(|| pool.stats().idle == 1);
}

#[test]
fn a_broken_connection_is_discarded_and_does_not_starve_the_pool() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    for number in 0..10 {
        let mut lease = now(pool.acquire()).unwrap();
        assert_eq!(lease.number, number);
        lease.broken = true;
    }
    assert_eq!(world.reasons(), [CloseReason::Broken; 10]);
    assert_eq!(world.most_open.load(SeqCst), 1);
}

#[test]
fn a_failed_or_panicking_reset_closes_the_connection_and_harms_nobody() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    world.fail_reset.store(true, SeqCst);
    drop(now(pool.acquire()).unwrap());
    world.panic_reset.store(true, SeqCst);
    drop(now(pool.acquire()).unwrap());
    assert_eq!(world.reasons(), [CloseReason::ResetFailed; 2]);
    assert_eq!((pool.stats().errors, pool.stats().total), (2, 0));
}

#[test]
fn a_panicking_holder_costs_the_connection_and_nothing_else() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lease = pool.acquire_blocking().unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(world.reasons(), [CloseReason::HolderPanicked]);
    assert_eq!(now(pool.acquire()).unwrap().number, 1);
}

#[test]
fn a_panicking_open_or_validate_loses_nothing() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let builder = builder.clock(time.clock()).max_connections(1).validate_after_idle(Some(Duration::ZERO));
    let pool = builder.build().unwrap();
    world.panic_open.store(true, SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| now(pool.acquire()).map(drop))).is_err());
    world.panic_open.store(false, SeqCst);
    drop(now(pool.acquire()).unwrap());
    world.panic_validate.store(true, SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| now(pool.acquire()).map(drop))).is_err());
    world.panic_validate.store(false, SeqCst);
    assert_eq!(now(pool.acquire()).unwrap().number, 1);
    assert_eq!(world.reasons(), [CloseReason::Interrupted]);
}

#[test]
fn a_failing_open_is_told_at_once_and_the_waiters_try_for_themselves() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    world.fail_open.store(true, SeqCst);
    world.hold.store(true, SeqCst);
    let mut opener = pin!(pool.acquire());
    let mut waiter = pin!(pool.acquire());
    assert!(poll_once(opener.as_mut()).is_pending());
    assert!(poll_once(waiter.as_mut()).is_pending());
    world.let_go();
    let Poll::Ready(Err(error)) = poll_once(opener.as_mut()) else { panic!("the opener heard nothing") };
    assert!(matches!(error, AcquireError::OpenFailed { source: common::Told }));
    assert_eq!(error.to_string(), "opening a connection failed");
    world.fail_open.store(false, SeqCst);
    assert!(matches!(poll_once(waiter.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn an_open_that_outlasts_the_deadline_times_out_and_frees_its_slot() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).max_connections(1).build().unwrap();
    world.hold.store(true, SeqCst);
    let mut opener = pin!(pool.acquire_timeout(SECOND));
    assert!(poll_once(opener.as_mut()).is_pending());
    time.advance(SECOND);
    assert!(matches!(poll_once(opener.as_mut()), Poll::Ready(Err(AcquireError::TimedOut { .. }))));
    assert_eq!(pool.stats().opening, 0);
    world.let_go();
    assert!(now(pool.acquire()).is_ok());
}

#[test]
fn a_burst_does_not_overgrow_the_pool() {
    let (builder, world) = fake();
    let pool = builder.max_connections(4).build().unwrap();
    world.hold.store(true, SeqCst);
    let mut burst: Vec<_> = (0..100).map(|_| Box::pin(pool.acquire())).collect();
    for acquire in &mut burst {
        assert!(poll_once(acquire.as_mut()).is_pending());
    }
    assert_eq!((pool.stats().opening, pool.stats().waiting), (4, 96));
    world.let_go();
    let mut served = 0;
    for acquire in &mut burst {
        served += usize::from(matches!(poll_once(acquire.as_mut()), Poll::Ready(Ok(lease)) if lease.number < 4));
    }
    assert_eq!((served, world.opened.load(SeqCst)), (100, 4));
}

#[test]
fn detaching_makes_room_for_another() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let connection = now(pool.acquire()).unwrap().detach();
    let other = now(pool.acquire()).unwrap();
    assert_ne!(connection.number, other.number);
    assert!(world.reasons().is_empty());
    assert_eq!((pool.stats().detached, pool.stats().created), (1, 2));
}

#[test]
fn shrinking_closes_idle_ones_at_once_and_others_on_return() {
    let (builder, world) = fake();
    let pool = builder.max_connections(4).build().unwrap();
    let mut leases: Vec<_> = (0..4).map(|_| now(pool.acquire()).unwrap()).collect();
    leases.truncate(2);
    pool.reconfigure(pool.options().max_connections(1)).unwrap();
    assert_eq!((pool.stats().total, pool.stats().leased), (2, 2));
    drop(leases.pop());
    assert_eq!(pool.stats().total, 1);
    drop(leases);
    assert_eq!((pool.stats().total, pool.stats().idle), (1, 1));
    assert_eq!(world.reasons(), [CloseReason::Shrunk; 3]);
}

#[test]
fn growing_wakes_the_waiters() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let _lease = now(pool.acquire()).unwrap();
    let mut waiter = pin!(pool.acquire());
    assert!(poll_once(waiter.as_mut()).is_pending());
    pool.reconfigure(pool.options().max_connections(100)).unwrap();
    assert!(matches!(poll_once(waiter.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn bad_settings_are_refused_with_key_value_and_what_is_allowed() {
    let (builder, _) = fake();
    let error = builder.max_connections(0).build().unwrap_err();
    assert_eq!(error.to_string(), "max_connections is 0, allowed is 1 to 4096");
    let (builder, _) = fake();
    let error = builder.max_connections(2).min_connections(3).build().unwrap_err();
    assert_eq!(error.to_string(), "min_connections is 3, allowed is 0 to max_connections, which is 2");
    let (builder, _) = fake();
    let error = builder.reap_interval(Duration::from_nanos(1)).build().unwrap_err();
    assert_eq!(error.to_string(), "reap_interval is 1ns, allowed is 1ms or more");
    let (builder, _) = fake();
    let error = builder.max_connection_age(Some(Duration::from_micros(999))).build().unwrap_err();
    assert_eq!(error.to_string(), "max_connection_age is 999µs, allowed is 1ms or more, or None for no limit");
    for options in [
        pool_core::Options::default().acquire_timeout(Duration::ZERO),
        pool_core::Options::default().idle_timeout(Some(Duration::ZERO)),
        pool_core::Options::default().max_connection_age(Some(Duration::ZERO)),
        pool_core::Options::default().reap_interval(Duration::ZERO),
        pool_core::Options::default().leak_threshold(Some(Duration::ZERO)),
        pool_core::Options::default().age_jitter(f64::NAN),
        pool_core::Options::default().max_connections(5000),
    ] {
        let (builder, _) = fake();
        let pool = builder.build().unwrap();
        let before = pool.options();
        assert!(matches!(pool.reconfigure(options), Err(SettingsError::InvalidSetting { .. })));
        assert_eq!(pool.options(), before);
    }
}

#[test]
fn a_maximum_below_the_default_minimum_needs_no_second_setting() {
    let pool = pool_core::Pool::builder(common::Fake::default()).max_connections(1).build().unwrap();
    assert_eq!(pool.options().min_connections, 1);
}

#[test]
fn idleness_is_noticed_by_the_maintenance_thread_without_a_stamp() {
    let (builder, world) = fake();
    let moment = Duration::from_millis(1);
    let pool = builder.reap_interval(moment).idle_timeout(Some(moment)).build().unwrap();
    drop(now(pool.acquire()).unwrap());
    until(|| pool.stats().total == 0);
    assert_eq!(world.reasons(), [CloseReason::Idle]);
}
