//! Single calls: what is found, what is gone, and what the counts say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_cache::{EntryOptions, ManualClock, RemovalReason, SettingError, TtlCache};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_glance_by_a_time_asked_before_finds_what_is_alive_then() {
    let time = ManualClock::new();
    let clock = time.clock();
    let cache = TtlCache::<u32, u32>::builder().default_ttl(SECOND).clock(clock.clone()).build().unwrap();
    cache.insert(1, 7);
    let glance = || cache.glance_since(clock.lately(), &1, |key| *key == 1, |value| Some(*value));
    time.advance(SECOND - Duration::from_nanos(1));
    assert_eq!((clock.lately().nanos(), glance()), (999_999_999, Some(7)));
    time.advance(Duration::from_nanos(1));
    assert_eq!((glance(), cache.stats().hits), (None, 1));
}

#[test]
fn own_time_to_live_beats_the_default() {
    let time = ManualClock::new();
    let cache = TtlCache::<&str, u32>::builder().default_ttl(10 * SECOND).clock(time.clock()).build().unwrap();
    cache.insert("default", 1);
    cache.insert_with("short", 2, EntryOptions::new().ttl(SECOND));
    cache.insert_with("ever", 3, EntryOptions::new().never_expires());
    time.advance(SECOND - Duration::from_nanos(1));
    assert!(cache.get("short").is_some());
    time.advance(Duration::from_nanos(1));
    assert!(cache.get("short").is_none() && cache.peek("default").is_some());
    time.advance(9 * SECOND);
    assert!(!cache.contains_key("default") && cache.contains_key("ever"));
    cache.set_default_ttl(None);
    cache.insert("default", 1);
    time.advance(1_000_000 * SECOND);
    assert_eq!(cache.snapshot().len(), 2);
}

#[test]
fn purge_frees_all_that_expired_and_nothing_else() {
    let time = ManualClock::new();
    let cache = TtlCache::<u64, u64>::builder().max_entries(100_000).clock(time.clock()).build().unwrap();
    for i in 0..10_000 {
        cache.insert_with(i, i, EntryOptions::new().ttl(Duration::from_micros(i + 1)));
    }
    let mut shown = 0;
    for micros in [1, 3, 1000, 1024, 1025, 5000, 9999, 10_000] {
        time.advance(Duration::from_micros(micros - shown));
        shown = micros;
        cache.purge_expired();
        assert_eq!(cache.len() as u64, 10_000 - micros);
    }
    assert_eq!((cache.purge_expired(), cache.stats().expirations), (0, 10_000));
}

#[test]
fn a_glance_that_takes_something_is_a_hit_and_another_leaves_no_trace() {
    let time = ManualClock::new();
    let cache = TtlCache::<String, u32>::builder().default_ttl(SECOND).clock(time.clock()).build().unwrap();
    cache.insert("a".to_owned(), 7);
    let before = cache.stats();
    let glance =
        |key: &str, least: u32| cache.glance(key, |known| known == key, |value| (*value >= least).then_some(*value));
    assert_eq!((glance("a", 8), glance("b", 0)), (None, None));
    assert_eq!(cache.glance("a", |_| false, |value| Some(*value)), None, "it is another key");
    assert_eq!(cache.stats(), before);
    assert_eq!((glance("a", 7), cache.stats().hits), (Some(7), 1));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.glance("a", |_| true, |_| -> Option<u32> { panic!("no") })
    }));
    assert!(panicked.is_err() && glance("a", 0) == Some(7), "the lock is free");
    time.advance(SECOND);
    assert_eq!((glance("a", 0), cache.stats().hits, cache.stats().misses, cache.len()), (None, 2, 0, 1));
}

#[test]
fn glances_keep_an_entry_that_a_scan_would_push_out() {
    let cache = TtlCache::<u32, u32>::builder().max_entries(100).shards(1).build().unwrap();
    cache.insert(0, 0);
    for key in 1..10_000 {
        assert_eq!(cache.glance(&0, |known| *known == 0, |value| Some(*value)), Some(0));
        cache.insert(key, key);
    }
}

#[test]
fn tags_remove_their_entries_alone() {
    let cache = TtlCache::<u32, u32>::builder().build().unwrap();
    for i in 0..1000 {
        cache.insert_with(i, i, EntryOptions::new().tag(["even", "odd"][i as usize % 2]).tags(["all", "all"]));
    }
    cache.insert(5000, 0);
    assert_eq!(cache.invalidate_tag("even"), 500);
    assert_eq!(cache.invalidate_tag("even"), 0);
    cache.insert(1, 0);
    assert_eq!(cache.invalidate_tags(["none", "odd", "all"]), 499, "the new value of 1 has no tag");
    assert_eq!(cache.len(), 2);
}

#[test]
fn listener_learns_every_reason() {
    let (time, seen) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
    let record = Arc::clone(&seen);
    let cache = TtlCache::<u32, &str>::builder()
        .max_entries(2)
        .clock(time.clock())
        .listener(move |key, value: &Arc<&str>, reason| record.lock().unwrap().push((*key, **value, reason)))
        .build()
        .unwrap();
    let take = || std::mem::take(&mut *seen.lock().unwrap());
    cache.insert(1, "a");
    cache.insert(1, "b");
    assert_eq!(take(), [(1, "a", RemovalReason::Replaced)]);
    cache.insert_with(2, "c", EntryOptions::new().ttl(SECOND).tag("t"));
    cache.invalidate(&1);
    assert_eq!(take(), [(1, "b", RemovalReason::Invalidated)]);
    time.advance(SECOND);
    assert!(cache.get(&2).is_none());
    assert_eq!(take(), [(2, "c", RemovalReason::Expired)]);
    cache.insert(3, "d");
    cache.insert(4, "e");
    cache.set_max_entries(1);
    assert_eq!(take().iter().map(|t| t.2).collect::<Vec<_>>(), [RemovalReason::Evicted]);
    cache.insert(5, "f");
    assert_eq!(take().len(), 1);
    cache.invalidate_all();
    assert_eq!(take(), [(5, "f", RemovalReason::Invalidated)]);
    let stats = cache.stats();
    assert_eq!(stats.insertions, 6);
    assert_eq!((stats.replacements, stats.invalidations, stats.expirations, stats.evictions), (1, 2, 1, 2));
}

#[test]
fn jitter_outside_zero_to_one_is_refused() {
    for jitter in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let built = TtlCache::<u32, u32>::builder().ttl_jitter(jitter).build();
        assert!(matches!(built, Err(SettingError::InvalidJitter { .. })), "{jitter}");
        let cache = TtlCache::<u32, u32>::builder().build().unwrap();
        assert!(matches!(cache.set_ttl_jitter(jitter), Err(SettingError::InvalidJitter { .. })), "{jitter}");
    }
}

#[test]
fn jitter_that_is_changed_holds_for_what_comes_in_afterwards() {
    let time = ManualClock::new();
    let cache = TtlCache::<u32, u32>::builder().default_ttl(10 * SECOND).clock(time.clock()).build().unwrap();
    let fill = |keys: std::ops::Range<u32>| keys.for_each(|i| _ = cache.insert(i, i));
    fill(0..200);
    cache.set_ttl_jitter(0.5).unwrap();
    fill(200..400);
    cache.set_ttl_jitter(0.0).unwrap();
    fill(400..600);
    let alive = |keys: std::ops::Range<u32>| keys.filter(|i| cache.contains_key(i)).count();
    time.advance(5 * SECOND - Duration::from_nanos(1));
    assert_eq!(alive(0..600), 600, "half of the time is left to all");
    time.advance(5 * SECOND);
    assert_eq!((alive(0..200), alive(400..600)), (200, 200));
    assert!(alive(200..400) < 200, "they got less than all of it");
}

#[test]
fn counts_tell_hits_from_misses_and_peek_counts_neither() {
    let cache = TtlCache::<u32, u32>::builder().build().unwrap();
    assert_eq!(cache.stats().hit_ratio(), 0.0);
    cache.insert(1, 1);
    (0..3).for_each(|_| _ = cache.get(&1));
    cache.get(&2);
    cache.peek(&1);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.hit_ratio()), (3, 1, 0.75));
}

#[test]
fn clones_share_one_cache() {
    let cache = TtlCache::<u32, u32>::builder().build().unwrap();
    cache.clone().insert(1, 2);
    assert_eq!(cache.get(&1).as_deref(), Some(&2));
}
