//! All interleavings of loads, invalidations and insertions, up to a bound on preemptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p pool-cache --test loom --release`.
#![cfg(loom)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use pool_cache::{EntryOptions, Load, TtlCache};

type Cache = TtlCache<u32, u32>;

fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    // LOOM_MAX_PREEMPTIONS says otherwise.
    model.preemption_bound.get_or_insert(3);
    model.check(test);
}

fn cache(max_entries: usize) -> Cache {
    TtlCache::builder().max_entries(max_entries).build().expect("the settings are valid")
}

fn load(cache: &Cache, loader: impl FnOnce() -> u32) -> u32 {
    let loaded = cache.get_or_load_blocking(&1, || Ok::<_, ()>(loader()));
    *loaded.expect("the loader does not fail")
}

#[test]
fn two_callers_cause_one_load() {
    explore(|| {
        let (cache, loads) = (cache(4), Arc::new(AtomicU32::new(0)));
        let other = {
            let (cache, loads) = (cache.clone(), loads.clone());
            thread::spawn(move || load(&cache, || loads.fetch_add(1, Ordering::Relaxed) + 1))
        };
        let mine = load(&cache, || loads.fetch_add(1, Ordering::Relaxed) + 1);
        assert_eq!((mine, other.join().unwrap(), loads.load(Ordering::Relaxed)), (1, 1, 1));
    });
}

/// A loader reads a source; the source changes and then `invalidate` is called: the old value must not stay.
fn nothing_old_stays(options: fn() -> EntryOptions, late: bool, invalidate: fn(&Cache)) {
    explore(move || {
        // The source is read and written without any ordering of its own.
        let (cache, source) = (cache(4), Arc::new(AtomicU32::new(1)));
        let loader = {
            let (cache, source) = (cache.clone(), source.clone());
            thread::spawn(move || {
                let given = if late { EntryOptions::new() } else { options() };
                let loaded = cache.get_or_load_if_blocking(
                    &1,
                    given,
                    |_| true,
                    || {
                        let value = source.load(Ordering::Relaxed);
                        Ok::<_, ()>(if late { Load::StoreWith(value, options()) } else { Load::Store(value) })
                    },
                );
                *loaded.expect("the loader does not fail")
            })
        };
        source.store(2, Ordering::Relaxed);
        invalidate(&cache);
        let after = cache.peek(&1).map(|value| *value);
        assert!(after.is_none_or(|value| value == 2), "an old value after the invalidation");
        let seen = load(&cache, || source.load(Ordering::Relaxed));
        assert_eq!(seen, 2, "who asks after the invalidation gets no old value");
        loader.join().unwrap();
        assert!(cache.peek(&1).is_none_or(|value| *value == 2));
    });
}

#[test]
fn nothing_old_stays_after_invalidation_by_key() {
    nothing_old_stays(EntryOptions::new, false, |cache| _ = cache.invalidate(&1));
}

#[test]
fn nothing_old_stays_after_invalidation_by_tag() {
    nothing_old_stays(|| EntryOptions::new().tag("t"), false, |cache| _ = cache.invalidate_tag("t"));
}

#[test]
fn nothing_old_stays_after_invalidation_by_a_tag_found_out_late() {
    nothing_old_stays(|| EntryOptions::new().tag("t"), true, |cache| _ = cache.invalidate_tag("t"));
}

#[test]
fn nothing_old_stays_after_invalidation_of_all() {
    nothing_old_stays(EntryOptions::new, false, |cache| _ = cache.invalidate_all());
}

#[test]
fn an_insertion_is_not_overwritten_by_what_was_loaded_before_it() {
    explore(|| {
        let (cache, source) = (cache(4), Arc::new(AtomicU32::new(1)));
        let loader = {
            let (cache, source) = (cache.clone(), source.clone());
            thread::spawn(move || load(&cache, || source.load(Ordering::Relaxed)))
        };
        source.store(2, Ordering::Relaxed);
        cache.insert(1, 2);
        loader.join().unwrap();
        assert_eq!(cache.peek(&1).map(|value| *value), Some(2));
    });
}

#[test]
fn a_dropped_load_lets_the_other_caller_go_on() {
    explore(|| {
        let cache = cache(4);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || load(&cache, || 7))
        };
        {
            let never = pin!(cache.get_or_load(&1, std::future::pending::<Result<u32, ()>>()));
            let _ = never.poll(&mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(other.join().unwrap(), 7);
    });
}

#[test]
fn a_failed_load_reaches_or_frees_the_other_caller() {
    explore(|| {
        let cache = cache(4);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || cache.get_or_load_blocking(&1, || Err::<u32, u32>(1)).is_err())
        };
        let mine = cache.get_or_load_blocking(&1, || Err::<u32, u32>(2)).is_err();
        assert!(mine && other.join().unwrap() && cache.is_empty());
    });
}

#[test]
fn two_insertions_never_exceed_the_bound() {
    explore(|| {
        let cache = cache(1);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.insert(1, 1);
                assert!(cache.len() <= 1);
            })
        };
        cache.insert(2, 2);
        assert!(cache.len() <= 1);
        other.join().unwrap();
        assert_eq!((cache.len(), cache.snapshot().len()), (1, 1));
    });
}

#[test]
fn eviction_and_invalidation_of_one_entry_free_its_room_once() {
    explore(|| {
        let cache = cache(1);
        cache.insert(1, 1);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || cache.invalidate(&1))
        };
        cache.insert(2, 2);
        other.join().unwrap();
        assert_eq!((cache.len(), cache.peek(&2).map(|value| *value)), (1, Some(2)));
        let stats = cache.stats();
        assert_eq!(stats.evictions + stats.invalidations, 1);
    });
}

#[test]
fn a_load_and_an_eviction_leave_one_entry_and_lose_no_room() {
    explore(|| {
        let cache = cache(1);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || load(&cache, || 7))
        };
        cache.insert(2, 2);
        assert_eq!(other.join().unwrap(), 7, "whatever became of the entry");
        assert_eq!((cache.len(), cache.snapshot().len()), (1, 1));
        assert!(cache.insert(3, 3) && cache.peek(&3).is_some());
        assert_eq!((cache.len(), cache.stats().evictions), (1, 2));
    });
}

#[test]
fn an_invalidation_during_a_load_and_an_eviction_keeps_the_old_value_out() {
    explore(|| {
        let (cache, source) = (cache(1), Arc::new(AtomicU32::new(1)));
        cache.insert(2, 2);
        let loader = {
            let (cache, source) = (cache.clone(), source.clone());
            thread::spawn(move || load(&cache, || source.load(Ordering::Relaxed)))
        };
        source.store(2, Ordering::Relaxed);
        cache.invalidate(&1);
        cache.insert(3, 3);
        loader.join().unwrap();
        assert!(cache.peek(&1).is_none_or(|value| *value == 2));
        assert_eq!((cache.len(), cache.snapshot().len()), (1, 1));
    });
}
