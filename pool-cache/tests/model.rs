//! Every operation against a simple model: a map with times, kept in step by the listener.
//!
//! Properties: what is found is what the model holds and has not expired; what leaves was there, and for the reason
//! given; the bounds hold after every call; the counts add up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_cache::{EntryOptions, Load, LoadError, ManualClock, RemovalReason, TtlCache};
use proptest::prelude::*;

const TAGS: [&str; 3] = ["red", "green", "blue"];

#[derive(Clone, Debug)]
struct Traits {
    ttl: Option<Option<u64>>,
    weight: u64,
    tags: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Store,
    StoreWith,
    Pass,
    Fail,
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, Traits),
    Get(u8),
    GetIf(u8, u32),
    Peek(u8),
    Load(u8, Traits, Ending, u32),
    /// Reserve, invalidate in the given way, store.
    Reserve(u8, Traits, u8),
    Invalidate(u8),
    InvalidateTags(Vec<usize>),
    InvalidateAll,
    Purge,
    Advance(u64),
    MaxEntries(usize),
    MaxWeight(u64),
    DefaultTtl(Option<u64>),
}

fn traits() -> impl Strategy<Value = Traits> {
    let ttl = prop_oneof![
        3 => Just(None),
        1 => Just(Some(None)),
        4 => (0_u64..50).prop_map(|ms| Some(Some(ms))),
        1 => Just(Some(Some(1_000_000_000))),
    ];
    (ttl, 0_u64..12, prop::collection::vec(0..TAGS.len(), 0..3)).prop_map(|(ttl, weight, tags)| Traits {
        ttl,
        weight,
        tags,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0_u8..24;
    let ending = prop_oneof![Just(Ending::Store), Just(Ending::StoreWith), Just(Ending::Pass), Just(Ending::Fail)];
    prop_oneof![
        12 => (key(), traits()).prop_map(|(k, t)| Op::Insert(k, t)),
        10 => key().prop_map(Op::Get),
        2 => (key(), 0_u32..200).prop_map(|(k, least)| Op::GetIf(k, least)),
        2 => key().prop_map(Op::Peek),
        6 => (key(), traits(), ending, 0_u32..200).prop_map(|(k, t, e, least)| Op::Load(k, t, e, least)),
        2 => (key(), traits(), 0_u8..6).prop_map(|(k, t, way)| Op::Reserve(k, t, way)),
        3 => key().prop_map(Op::Invalidate),
        2 => prop::collection::vec(0..TAGS.len(), 1..3).prop_map(Op::InvalidateTags),
        1 => Just(Op::InvalidateAll),
        2 => Just(Op::Purge),
        5 => prop_oneof![0_u64..3, 0_u64..60, Just(2_000_000_000)].prop_map(Op::Advance),
        1 => (0_usize..20).prop_map(Op::MaxEntries),
        1 => (0_u64..80).prop_map(Op::MaxWeight),
        1 => prop::option::of(0_u64..50).prop_map(Op::DefaultTtl),
    ]
}

#[derive(Clone, Debug)]
struct Kept {
    value: u32,
    weight: u64,
    expires_ms: Option<u64>,
    tags: Vec<usize>,
}

#[derive(Default)]
struct Model {
    kept: HashMap<u8, Kept>,
    now_ms: u64,
    default_ttl: Option<u64>,
    left: HashMap<RemovalReason, u64>,
    insertions: u64,
    hits: u64,
    misses: u64,
}

impl Model {
    fn alive(&self, key: u8) -> Option<u32> {
        self.kept.get(&key).filter(|kept| kept.expires_ms.is_none_or(|t| t > self.now_ms)).map(|kept| kept.value)
    }

    fn put(&mut self, key: u8, value: u32, traits: &Traits) {
        self.insertions += 1;
        let expires_ms = traits.ttl.unwrap_or(self.default_ttl).map(|ttl| self.now_ms + ttl);
        let kept = Kept { value, weight: traits.weight, expires_ms, tags: traits.tags.clone() };
        assert!(self.kept.insert(key, kept).is_none(), "the listener was told of what was replaced");
    }

    fn asked(&mut self, found: bool) {
        *if found { &mut self.hits } else { &mut self.misses } += 1;
    }
}

fn options(traits: &Traits) -> EntryOptions {
    let options = EntryOptions::new().weight(traits.weight).tags(traits.tags.iter().map(|&tag| TAGS[tag]));
    match traits.ttl {
        None => options,
        Some(None) => options.never_expires(),
        Some(Some(ms)) => options.ttl(Duration::from_millis(ms)),
    }
}

/// Whether an entry like this could ever be kept.
fn admitted(cache: &TtlCache<u8, u32>, model: &Model, traits: &Traits) -> bool {
    let ttl = traits.ttl.unwrap_or(model.default_ttl);
    ttl != Some(0) && cache.max_entries() > 0 && traits.weight <= cache.max_weight()
}

fn run(ops: Vec<Op>, shards: usize, max_entries: usize, max_weight: u64) {
    let time = ManualClock::new();
    let model = Arc::new(Mutex::new(Model::default()));
    let told = Arc::clone(&model);
    let cache = TtlCache::<u8, u32>::builder()
        .shards(shards)
        .max_entries(max_entries)
        .max_weight(max_weight)
        .clock(time.clock())
        .listener(move |key, value: &Arc<u32>, reason| {
            let mut model = told.lock().expect("no test thread has panicked");
            let kept = model.kept.remove(key).expect("only what was there can leave");
            assert_eq!(kept.value, **value);
            let over = kept.expires_ms.is_some_and(|t| t <= model.now_ms);
            assert_eq!(over, reason == RemovalReason::Expired, "{reason:?} at {}", model.now_ms);
            *model.left.entry(reason).or_default() += 1;
        })
        .build()
        .expect("the settings are valid");
    let model = || model.lock().expect("the listener has not panicked");
    let mut value = 0_u32;
    for op in ops {
        value += 1;
        let evicted = model().left.get(&RemovalReason::Evicted).copied().unwrap_or(0);
        let had_room = {
            let model = model();
            move |cache: &TtlCache<u8, u32>, weight: u64| {
                model.kept.len() < cache.max_entries()
                    && model.kept.values().map(|kept| kept.weight).sum::<u64>() + weight <= cache.max_weight()
            }
        };
        match op {
            Op::Insert(key, traits) => {
                let fits = had_room(&cache, traits.weight);
                drop(had_room);
                let stored = cache.insert_with(key, value, options(&traits));
                assert_eq!(stored, admitted(&cache, &model(), &traits));
                if stored {
                    model().put(key, value, &traits);
                } else {
                    assert!(!model().kept.contains_key(&key), "the old value is gone as well");
                }
                let evictions = model().left.get(&RemovalReason::Evicted).copied().unwrap_or(0);
                assert!(!fits || evictions == evicted, "evicted although there was room");
            }
            op => {
                drop(had_room);
                apply(op, value, &cache, &time, &model);
            }
        }
        let model = model();
        assert_eq!(cache.len(), model.kept.len());
        assert_eq!(cache.weight(), model.kept.values().map(|kept| kept.weight).sum::<u64>());
        assert!(cache.len() <= cache.max_entries() && cache.weight() <= cache.max_weight());
        let stats = cache.stats();
        let left = |reason| model.left.get(&reason).copied().unwrap_or(0);
        assert_eq!((stats.hits, stats.misses, stats.insertions), (model.hits, model.misses, model.insertions));
        assert_eq!(stats.evictions, left(RemovalReason::Evicted));
        assert_eq!(stats.expirations, left(RemovalReason::Expired));
        assert_eq!(stats.replacements, left(RemovalReason::Replaced));
        assert_eq!(stats.invalidations, left(RemovalReason::Invalidated));
        let mut found: Vec<(u8, u32)> = cache.snapshot().into_iter().map(|(key, value)| (key, *value)).collect();
        let mut alive: Vec<(u8, u32)> = model.kept.keys().filter_map(|&key| Some((key, model.alive(key)?))).collect();
        found.sort_unstable();
        alive.sort_unstable();
        assert_eq!(found, alive);
    }
}

fn apply<'a>(
    op: Op,
    value: u32,
    cache: &TtlCache<u8, u32>,
    time: &ManualClock,
    model: &impl Fn() -> std::sync::MutexGuard<'a, Model>,
) {
    match op {
        Op::Insert(..) => unreachable!("done by the caller"),
        Op::Get(key) => {
            let expected = model().alive(key);
            assert_eq!(cache.get(&key).as_deref().copied(), expected);
            model().asked(expected.is_some());
        }
        Op::GetIf(key, least) => {
            let expected = model().alive(key).filter(|value| *value >= least);
            assert_eq!(cache.get_if(&key, |value| *value >= least).as_deref().copied(), expected);
            model().asked(expected.is_some());
        }
        Op::Peek(key) => {
            let expected = model().alive(key);
            assert_eq!(cache.peek(&key).as_deref().copied(), expected);
        }
        Op::Load(key, traits, ending, least) => {
            let before = model().alive(key).filter(|value| *value >= least);
            model().asked(before.is_some());
            let keeps = matches!(ending, Ending::Store | Ending::StoreWith) && admitted(cache, &model(), &traits);
            let given = if matches!(ending, Ending::StoreWith) { EntryOptions::new() } else { options(&traits) };
            let valid = |value: &u32| *value >= least;
            let loaded = cache.get_or_load_if_blocking(&key, given, valid, || match ending {
                Ending::Store => Ok(Load::Store(value)),
                Ending::StoreWith => Ok(Load::StoreWith(value, options(&traits))),
                Ending::Pass => Ok(Load::Pass(value)),
                Ending::Fail => Err("failed"),
            });
            match (before, loaded) {
                (Some(before), loaded) => assert_eq!(loaded.ok().as_deref(), Some(&before)),
                (None, Err(LoadError::Failed { .. })) => assert!(matches!(ending, Ending::Fail)),
                (None, loaded) => {
                    assert_eq!(loaded.ok().as_deref(), Some(&value));
                    if keeps {
                        model().put(key, value, &traits);
                    }
                }
            }
        }
        Op::Reserve(key, traits, way) => {
            let reservation = cache.reserve(&key, options(&traits));
            let tag = usize::from(way) % TAGS.len();
            let spoiled = match way {
                0 => {
                    cache.invalidate(&key);
                    true
                }
                1 => {
                    cache.invalidate_all();
                    true
                }
                2 | 3 => {
                    cache.invalidate_tag(TAGS[tag]);
                    traits.tags.contains(&tag)
                }
                4 => {
                    cache.invalidate(&(key + 100));
                    false
                }
                _ => false,
            };
            let keeps = !spoiled && admitted(cache, &model(), &traits);
            assert_eq!(reservation.store(value), keeps);
            if keeps {
                model().put(key, value, &traits);
            }
        }
        Op::Invalidate(key) => {
            let expected = model().alive(key).is_some();
            assert_eq!(cache.invalidate(&key), expected);
            assert!(!model().kept.contains_key(&key));
        }
        Op::InvalidateTags(tags) => {
            cache.invalidate_tags(tags.iter().map(|&tag| TAGS[tag]));
            assert!(model().kept.values().all(|kept| kept.tags.iter().all(|tag| !tags.contains(tag))));
        }
        Op::InvalidateAll => {
            let expected = {
                let model = model();
                model.kept.keys().filter(|&&key| model.alive(key).is_some()).count()
            };
            assert_eq!(cache.invalidate_all(), expected);
            assert!(cache.is_empty());
        }
        Op::Purge => {
            let expected = {
                let model = model();
                model.kept.keys().filter(|&&key| model.alive(key).is_none()).count()
            };
            assert_eq!(cache.purge_expired(), expected);
            let model = model();
            assert!(model.kept.keys().all(|&key| model.alive(key).is_some()));
        }
        Op::Advance(ms) => {
            time.advance(Duration::from_millis(ms));
            model().now_ms += ms;
        }
        Op::MaxEntries(entries) => cache.set_max_entries(entries),
        Op::MaxWeight(weight) => cache.set_max_weight(weight),
        Op::DefaultTtl(ttl) => {
            cache.set_default_ttl(ttl.map(Duration::from_millis));
            model().default_ttl = ttl;
        }
    }
}

proptest! {
    #[test]
    fn cache_does_what_the_model_does(
        ops in prop::collection::vec(op(), 1..120),
        shards in prop::sample::select(vec![1_usize, 2, 4]),
        max_entries in 0_usize..20,
        max_weight in 0_u64..80,
    ) {
        run(ops, shards, max_entries, max_weight);
    }

    #[test]
    fn cache_with_room_for_all_never_evicts(ops in prop::collection::vec(op(), 1..120)) {
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::MaxEntries(_) | Op::MaxWeight(_))).collect();
        run(ops, 4, 1000, 10_000);
    }
}
