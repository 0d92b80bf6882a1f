//! The bounds that hold always: entries, weight, and nobody blocked or broken by foreign code.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use pool_cache::{EntryOptions, ManualClock, TtlCache};

#[test]
fn max_entries_zero_keeps_nothing_and_still_loads() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(0).build().unwrap();
    assert!(!cache.insert(1, 1));
    assert_eq!(*cache.get_or_load_blocking(&1, || Ok::<_, ()>(7)).unwrap(), 7);
    assert_eq!((cache.len(), cache.get(&1)), (0, None));
    cache.set_max_entries(1);
    assert!(cache.insert(1, 1));
}

#[test]
fn max_entries_one_keeps_the_last() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(1).build().unwrap();
    for i in 0..100 {
        assert!(cache.insert(i, i));
        assert_eq!((cache.len(), cache.get(&i).as_deref()), (1, Some(&i)));
    }
}

#[test]
fn the_whole_of_max_entries_is_usable_with_any_number_of_shards() {
    for shards in [1, 4, 16, 64] {
        for max_entries in [1, 2, 3, 7, 33, 100, 1000, 4097] {
            let cache = TtlCache::<usize, usize>::builder().shards(shards).max_entries(max_entries).build().unwrap();
            for i in 0..max_entries {
                assert!(cache.insert(i, i));
            }
            assert_eq!((cache.len(), cache.stats().evictions), (max_entries, 0));
            for i in max_entries..3 * max_entries {
                cache.insert(i, i);
                assert_eq!(cache.len(), max_entries);
                assert!(cache.contains_key(&i), "{i} of {max_entries} in {shards}");
            }
        }
    }
}

#[test]
fn an_entry_may_weigh_as_much_as_the_bound_and_no_more() {
    for shards in [1, 8] {
        let cache = TtlCache::<u32, u64>::builder().shards(shards).max_weight(100).weigher(|_, w| *w).build().unwrap();
        (0..50).for_each(|i| assert!(cache.insert(i, 2)));
        assert_eq!((cache.len(), cache.weight()), (50, 100));
        assert!(cache.insert(1000, 100));
        assert_eq!((cache.len(), cache.weight()), (1, 100));
        assert!(!cache.insert(1000, 101), "and what was there is gone");
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}

#[test]
fn weightless_entries_are_bounded_by_number_and_can_be_evicted() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(10).max_weight(5).weigher(|_, _| 0).build().unwrap();
    (0..100).for_each(|i| assert!(cache.insert(i, i)));
    assert_eq!((cache.len(), cache.weight(), cache.stats().evictions), (10, 0, 90));
}

#[test]
fn both_bounds_are_usable_to_the_full() {
    let cache = TtlCache::<u32, u64>::builder().max_entries(10).max_weight(100).weigher(|_, w| *w).build().unwrap();
    (0..9).for_each(|i| assert!(cache.insert(i, 1)));
    assert!(cache.insert(9, 91));
    assert_eq!((cache.len(), cache.weight(), cache.stats().evictions), (10, 100, 0));
}

#[test]
fn lowered_bounds_hold_when_the_call_returns() {
    let cache = TtlCache::<u32, u64>::builder().shards(4).max_weight(10_000).weigher(|_, w| *w).build().unwrap();
    (0..1000).for_each(|i| assert!(cache.insert(i, 7)));
    cache.set_max_entries(500);
    assert_eq!(cache.len(), 500);
    cache.set_max_weight(700);
    assert_eq!((cache.len(), cache.weight()), (100, 700));
    cache.set_max_weight(6);
    assert!(cache.is_empty());
}

#[test]
fn bounds_hold_at_every_moment_under_many_writers() {
    for shards in [1, 4, 16] {
        let cache = TtlCache::<u64, u64>::builder()
            .shards(shards)
            .max_entries(50)
            .max_weight(300)
            .weigher(|_, w| *w % 20)
            .build()
            .unwrap();
        let (start, done) = (Barrier::new(5), AtomicUsize::new(0));
        thread::scope(|scope| {
            for writer in 0..4_u64 {
                let (cache, start, done) = (&cache, &start, &done);
                scope.spawn(move || {
                    start.wait();
                    let mut x = writer + 1;
                    for _ in 0..5_000 {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let key = (x >> 33) % 200;
                        match x >> 60 {
                            0 => _ = cache.invalidate(&key),
                            1 => _ = cache.get(&key),
                            2 if (x >> 50) % 64 == 0 => _ = cache.invalidate_all(),
                            _ => _ = cache.insert(key, x >> 20),
                        }
                    }
                    done.fetch_add(1, Ordering::Release);
                });
            }
            start.wait();
            while done.load(Ordering::Acquire) < 4 {
                assert!(cache.len() <= 50 && cache.weight() <= 300);
            }
        });
        let all = cache.snapshot();
        assert_eq!(all.len(), cache.len());
        assert_eq!(all.iter().map(|(_, w)| **w % 20).sum::<u64>(), cache.weight());
        let stats = cache.stats();
        let left = stats.evictions + stats.expirations + stats.replacements + stats.invalidations;
        assert_eq!(stats.insertions, stats.entries + left);
    }
}

#[test]
fn what_has_expired_leaves_before_what_is_alive() {
    let time = ManualClock::new();
    let cache = TtlCache::<u32, u32>::builder().max_entries(100).clock(time.clock()).build().unwrap();
    (0..50).for_each(|i| _ = cache.insert(i, i));
    (50..100).for_each(|i| _ = cache.insert_with(i, i, EntryOptions::new().ttl(Duration::from_secs(1))));
    time.advance(Duration::from_secs(2));
    (100..150).for_each(|i| _ = cache.insert(i, i));
    assert!((0..50).chain(100..150).all(|i| cache.contains_key(&i)));
    assert_eq!((cache.stats().expirations, cache.stats().evictions), (50, 0));
}

#[test]
fn a_scan_does_not_push_out_what_is_asked_for() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(100).build().unwrap();
    (0..90).for_each(|i| _ = cache.insert(i, i));
    (0..90).for_each(|i| _ = cache.get(&i));
    (1000..5000).for_each(|i| _ = cache.insert(i, i));
    let left = (0..90).filter(|i| cache.contains_key(i)).count();
    assert!(left >= 85, "{left}");
}

/// A value that asks the cache it lives in when it is dropped.
struct Nosy(TtlCache<u32, Nosy>, u32);

impl Drop for Nosy {
    fn drop(&mut self) {
        if self.1 > 0 {
            self.0.peek(&1);
            self.0.invalidate(&3);
            self.0.insert_with(99, Nosy(self.0.clone(), self.1 - 1), EntryOptions::new().ttl(Duration::ZERO));
        }
    }
}

#[test]
fn values_are_dropped_outside_all_locks() {
    let time = ManualClock::new();
    let cache = TtlCache::<u32, Nosy>::builder().max_entries(4).clock(time.clock()).build().unwrap();
    // Each way of leaving drops a value that uses the same shard.
    let fill = || (0..6).for_each(|i| _ = cache.insert_with(i, Nosy(cache.clone(), 2), EntryOptions::new().tag("t")));
    fill();
    cache.invalidate(&5);
    cache.invalidate_tag("t");
    fill();
    cache.invalidate_all();
    cache.insert_with(1, Nosy(cache.clone(), 2), EntryOptions::new().ttl(Duration::from_secs(1)));
    cache.insert_with(2, Nosy(cache.clone(), 2), EntryOptions::new().ttl(Duration::from_secs(1)));
    time.advance(Duration::from_secs(1));
    assert!(cache.get(&1).is_none());
    assert_eq!(cache.purge_expired(), 1);
    fill();
    cache.set_max_entries(1);
    let refused = cache.get_or_load_with_blocking(&7, EntryOptions::new().weight(u64::MAX).ttl(Duration::ZERO), || {
        Ok::<_, ()>(Nosy(cache.clone(), 2))
    });
    drop(refused);
    assert_eq!(cache.len(), 1);
    cache.invalidate_all();
}

#[test]
fn listener_may_use_the_cache() {
    let shared = Arc::new(Mutex::new(None::<TtlCache<u32, u32>>));
    let seen = Arc::clone(&shared);
    let cache = TtlCache::<u32, u32>::builder()
        .max_entries(2)
        .listener(move |key: &u32, value: &Arc<u32>, _| {
            let cache = seen.lock().unwrap().clone();
            if let (Some(cache), true) = (cache, **value < 3) {
                assert!(!cache.contains_key(key));
                cache.insert(*key, **value + 1);
            }
        })
        .build()
        .unwrap();
    *shared.lock().unwrap() = Some(cache.clone());
    (0..10).for_each(|i| _ = cache.insert(i, 1));
    assert_eq!(cache.len(), 2);
    *shared.lock().unwrap() = None;
}

/// A key or value whose code panics when told to.
#[derive(Clone, Debug)]
struct Fragile<'a>(u32, &'a Switches);

#[derive(Debug, Default)]
struct Switches {
    hash: AtomicBool,
    eq: AtomicBool,
    drop: AtomicUsize,
}

fn trip(switch: &AtomicBool) {
    if switch.load(Ordering::Relaxed) {
        panic!("expected");
    }
}

impl Hash for Fragile<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        trip(&self.1.hash);
        // All keys collide, so that `Eq` is asked.
        0.hash(state);
    }
}

impl PartialEq for Fragile<'_> {
    fn eq(&self, other: &Self) -> bool {
        trip(&self.1.eq);
        self.0 == other.0
    }
}

impl Eq for Fragile<'_> {}

impl Drop for Fragile<'_> {
    fn drop(&mut self) {
        if !thread::panicking() && self.1.drop.load(Ordering::Relaxed) > 0 {
            self.1.drop.fetch_sub(1, Ordering::Relaxed);
            panic!("expected");
        }
    }
}

#[test]
fn panics_of_foreign_code_leave_the_cache_whole() {
    let switches = Switches::default();
    let key = |i| Fragile(i, &switches);
    let cache = TtlCache::<Fragile<'_>, Fragile<'_>>::builder()
        .max_entries(5)
        .weigher(|_, value| if value.0 == 1000 { panic!("expected") } else { 1 })
        .listener(|_, value, _| assert!(value.0 != 2000, "expected"))
        .build()
        .unwrap();
    let panics = |call: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    let whole = || {
        assert_eq!(cache.snapshot().len(), cache.len());
        assert!(cache.len() <= 5);
        let stats = cache.stats();
        let left = stats.evictions + stats.expirations + stats.replacements + stats.invalidations;
        assert_eq!(stats.insertions, stats.entries + left);
    };
    (0..5).for_each(|i| _ = cache.insert(key(i), key(i)));
    for switch in [&switches.hash, &switches.eq] {
        switch.store(true, Ordering::Relaxed);
        panics(&|| _ = cache.get(&key(1)));
        panics(&|| _ = cache.insert(key(7), key(7)));
        panics(&|| _ = cache.invalidate(&key(1)));
        panics(&|| _ = cache.get_or_load_blocking(&key(7), || Ok::<_, ()>(key(7))));
        switch.store(false, Ordering::Relaxed);
        whole();
    }
    // A panic of `Eq` at the very end of a load, under both locks.
    panics(&|| {
        let load = cache.get_or_load_blocking(&key(8), || {
            switches.eq.store(true, Ordering::Relaxed);
            Ok::<_, ()>(key(8))
        });
        drop(load);
    });
    switches.eq.store(false, Ordering::Relaxed);
    assert_eq!(cache.get_or_load_blocking(&key(8), || Ok::<_, ()>(key(9))).unwrap().0, 9, "the load is over");
    panics(&|| _ = cache.insert(key(1), key(1000)));
    panics(&|| _ = cache.get_or_load_blocking(&key(11), || Ok::<_, ()>(key(1000))));
    assert_eq!(cache.get_or_load_blocking(&key(11), || Ok::<_, ()>(key(3))).unwrap().0, 3);
    whole();
    // Listeners, alone and among many.
    cache.insert(key(20), key(2000));
    panics(&|| _ = cache.invalidate(&key(20)));
    whole();
    cache.invalidate_all();
    (30..35).for_each(|i| _ = cache.insert(key(i), key(2000 * (i % 2))));
    panics(&|| _ = cache.invalidate_all());
    whole();
    assert!(cache.is_empty());
    // Destructors.
    (30..35).for_each(|i| _ = cache.insert(key(i), key(i)));
    switches.drop.store(3, Ordering::Relaxed);
    panics(&|| _ = cache.invalidate_all());
    switches.drop.store(0, Ordering::Relaxed);
    whole();
    assert!(cache.is_empty());
    (40..45).for_each(|i| _ = cache.insert(key(i), key(i)));
    assert_eq!(cache.len(), 5);
}

#[test]
fn nobody_waits_for_a_whole_purge() {
    // The purge stops in the listener after its first batch; everybody else can work then, in the same shard.
    let (time, stopped, go_on) = (ManualClock::new(), Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let first = AtomicBool::new(true);
    let (told, resume) = (Arc::clone(&stopped), Arc::clone(&go_on));
    let cache = TtlCache::<u32, u32>::builder()
        .shards(1)
        .max_entries(100_000)
        .default_ttl(Duration::from_secs(1))
        .clock(time.clock())
        .listener(move |_, _, _| {
            if first.swap(false, Ordering::Relaxed) {
                told.wait();
                resume.wait();
            }
        })
        .build()
        .unwrap();
    (0..10_000).for_each(|i| _ = cache.insert(i, i));
    time.advance(Duration::from_secs(2));
    thread::scope(|scope| {
        let purge = scope.spawn(|| cache.purge_expired());
        stopped.wait();
        assert!((9_900..10_000).contains(&cache.len()), "only a batch has left");
        cache.insert_with(1, 7, EntryOptions::new().never_expires());
        assert_eq!(cache.get(&1).as_deref(), Some(&7));
        go_on.wait();
        purge.join().unwrap();
    });
    assert_eq!(cache.len(), 1);
}

#[test]
fn the_greatest_weight_and_none_stand_side_by_side() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(10).shards(1).build().unwrap();
    for round in 0..20 {
        assert!(cache.insert_with(0, round, EntryOptions::new().weight(u64::MAX)));
        for key in 1..5 {
            assert!(cache.insert_with(key, round, EntryOptions::new().weight(0)));
        }
        assert_eq!((cache.len(), cache.weight()), (5, u64::MAX));
        assert!(!cache.insert_with(9, round, EntryOptions::new().weight(u64::MAX)) || cache.get(&0).is_none());
        cache.invalidate_all();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}
