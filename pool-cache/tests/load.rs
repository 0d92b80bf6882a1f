//! Loads: one for all who ask, whatever happens to it, and nothing outdated stored.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use pool_cache::{EntryOptions, Load, LoadError, TtlCache};
use tokio::sync::oneshot;

type Cache = TtlCache<String, u32>;

fn cache() -> Cache {
    TtlCache::builder().build().expect("the defaults are valid")
}

fn ok<V>(value: V) -> Result<V, io::Error> {
    Ok(value)
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn expect_ready<T>(future: impl Future<Output = T>) -> T {
    match poll(std::pin::pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future had to wait"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_and_threads_that_miss_one_key_cause_one_load() {
    let (cache, loads) = (cache(), Arc::new(AtomicUsize::new(0)));
    let (release, released) = mpsc::channel::<()>();
    let leader = {
        let (cache, loads) = (cache.clone(), loads.clone());
        let (led, leading) = oneshot::channel();
        let thread = thread::spawn(move || {
            cache.get_or_load_blocking("k", || {
                led.send(()).unwrap();
                released.recv().unwrap();
                loads.fetch_add(1, Ordering::Relaxed);
                ok(7)
            })
        });
        leading.await.unwrap();
        thread
    };
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (cache, loads) = (cache.clone(), loads.clone());
            tokio::spawn(async move {
                let load = async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    ok(8)
                };
                cache.get_or_load("k", load).await
            })
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let cache = cache.clone();
            thread::spawn(move || cache.get_or_load_blocking("k", || ok(9)))
        })
        .collect();
    while cache.stats().load_waits < 68 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    for task in tasks {
        assert_eq!(*task.await.unwrap().unwrap(), 7);
    }
    for thread in threads.into_iter().chain([leader]) {
        assert_eq!(*thread.join().unwrap().unwrap(), 7);
    }
    let stats = cache.stats();
    assert_eq!((loads.load(Ordering::Relaxed), stats.loads, stats.load_failures, stats.misses), (1, 1, 0, 69));
    assert_eq!(cache.get("k").as_deref(), Some(&7));
}

#[tokio::test]
async fn a_failed_load_is_told_to_all_who_wait_and_not_stored() {
    let cache = cache();
    let (fail, failed) = oneshot::channel::<()>();
    let mut leader = Box::pin(cache.get_or_load("k", async {
        failed.await.unwrap();
        Err(io::Error::other("no"))
    }));
    assert!(poll(leader.as_mut()).is_pending());
    let mut waiter = Box::pin(cache.get_or_load("k", async { ok(1) }));
    assert!(poll(waiter.as_mut()).is_pending());
    fail.send(()).unwrap();
    let (one, two) = (leader.await.unwrap_err(), waiter.await.unwrap_err());
    assert!(Arc::ptr_eq(one.failure().unwrap(), two.failure().unwrap()));
    assert_eq!(std::error::Error::source(&one).unwrap().to_string(), "no");
    assert!(cache.is_empty());
    assert_eq!(*expect_ready(cache.get_or_load("k", async { ok(2) })).unwrap(), 2, "nothing is left of it");
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
}

#[test]
fn waiter_with_another_error_type_loads_for_itself() {
    let cache = cache();
    let (fail, failed) = oneshot::channel::<()>();
    let mut leader = Box::pin(cache.get_or_load("k", async {
        failed.await.unwrap();
        Err(io::Error::other("no"))
    }));
    assert!(poll(leader.as_mut()).is_pending());
    let mut waiter = Box::pin(cache.get_or_load("k", async { Ok::<_, String>(5) }));
    assert!(poll(waiter.as_mut()).is_pending());
    fail.send(()).unwrap();
    assert!(expect_ready(leader).is_err());
    assert_eq!(*expect_ready(waiter).unwrap(), 5);
}

#[test]
fn a_cancelled_load_hands_over_to_one_who_waits() {
    let cache = cache();
    let mut leader = Box::pin(cache.get_or_load("k", std::future::pending::<io::Result<u32>>()));
    assert!(poll(leader.as_mut()).is_pending());
    let mut waiters: Vec<_> = (0..3).map(|i| Box::pin(cache.get_or_load("k", async move { ok(i) }))).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_pending());
    }
    drop(leader);
    drop(waiters.remove(0));
    assert_eq!(*expect_ready(waiters.remove(0)).unwrap(), 1);
    assert_eq!(*expect_ready(waiters.remove(0)).unwrap(), 1);
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
}

#[test]
fn a_panicking_load_hands_over_to_one_who_waits() {
    let cache = cache();
    let (led, leading) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.get_or_load_blocking("k", || -> io::Result<u32> {
                led.send(()).unwrap();
                released.recv().unwrap();
                panic!("expected")
            })
        });
        leading.recv().unwrap();
        let waiters = [1, 2, 3].map(|i| scope.spawn(move || cache.get_or_load_blocking("k", || ok(i)).unwrap()));
        while cache.stats().load_waits < 3 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        assert!(leader.join().is_err());
        let values = waiters.map(|waiter| *waiter.join().unwrap());
        assert!(values.iter().all(|v| *v == values[0]), "{values:?}");
    });
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
}

#[test]
fn an_async_loader_that_panics_lets_go_even_if_its_future_is_kept() {
    let cache = cache();
    let mut leader = Box::pin(cache.get_or_load("k", async {
        tokio::task::yield_now().await;
        if true {
            panic!("expected");
        }
        ok(1)
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    assert!(poll(leader.as_mut()).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(leader.as_mut()))).is_err());
    assert_eq!(*expect_ready(cache.get_or_load("k", async { ok(2) })).unwrap(), 2);
}

#[test]
fn what_invalidates_during_a_load_keeps_the_value_out_and_away_from_later_callers() {
    type Invalidate = fn(&Cache);
    let invalidations: [(&str, Invalidate); 5] = [
        ("key", |cache| _ = cache.invalidate("k")),
        ("tag", |cache| _ = cache.invalidate_tag("t")),
        ("tags", |cache| _ = cache.invalidate_tags(["other", "t"])),
        ("all", |cache| _ = cache.invalidate_all()),
        ("insert", |cache| {
            _ = cache.insert_with("k".to_owned(), 9, EntryOptions::new().ttl(std::time::Duration::ZERO))
        }),
    ];
    for (name, invalidate) in invalidations {
        let cache = cache();
        let (send, sent) = oneshot::channel::<u32>();
        let options = || EntryOptions::new().tag("t");
        let mut old = Box::pin(cache.get_or_load_with("k", options(), async { ok(sent.await.unwrap()) }));
        assert!(poll(old.as_mut()).is_pending());
        let mut early = Box::pin(cache.get_or_load_with("k", options(), async { ok(3) }));
        assert!(poll(early.as_mut()).is_pending());
        invalidate(&cache);
        let late = cache.get_or_load_with("k", options(), async { ok(2) });
        assert_eq!(*expect_ready(late).unwrap(), 2, "{name}: asked after it");
        send.send(1).unwrap();
        assert_eq!(*expect_ready(old).unwrap(), 1, "{name}");
        assert_eq!(*expect_ready(early).unwrap(), 1, "{name}: asked before it");
        assert_eq!(cache.peek("k").as_deref(), Some(&2), "{name}");
        assert_eq!(cache.stats().loads_outdated, 1, "{name}");
    }
}

#[test]
fn a_tag_found_out_by_the_loader_counts_from_the_start_of_the_load() {
    let cache = cache();
    let (send, sent) = oneshot::channel::<()>();
    let load = |value| Load::StoreWith(value, EntryOptions::new().tag("t"));
    let mut old = Box::pin(cache.get_or_load_if("k", EntryOptions::new(), |_| true, async {
        sent.await.unwrap();
        ok(load(1))
    }));
    assert!(poll(old.as_mut()).is_pending());
    cache.invalidate_tag("t");
    let mut late = Box::pin(cache.get_or_load_if("k", EntryOptions::new(), |_| true, async { ok(load(2)) }));
    assert!(poll(late.as_mut()).is_pending(), "nobody knows yet that the load is outdated");
    send.send(()).unwrap();
    assert_eq!(*expect_ready(old).unwrap(), 1);
    assert_eq!(*expect_ready(late).unwrap(), 2);
    assert_eq!(cache.invalidate_tag("t"), 1);
}

#[test]
fn predicate_is_asked_of_stored_and_awaited_values_but_not_of_own_ones() {
    let cache = cache();
    cache.insert("k".to_owned(), 1);
    assert_eq!(cache.get_if("k", |v| *v > 1), None);
    assert_eq!(cache.peek("k").as_deref(), Some(&1), "a refused value stays");
    let (send, sent) = oneshot::channel::<u32>();
    let options = EntryOptions::new;
    let mut leader =
        Box::pin(cache.get_or_load_if("k", options(), |v| *v > 1, async { ok(Load::Store(sent.await.unwrap())) }));
    assert!(poll(leader.as_mut()).is_pending());
    let mut picky = Box::pin(cache.get_or_load_if("k", options(), |v| *v > 2, async { ok(Load::Store(3)) }));
    assert!(poll(picky.as_mut()).is_pending());
    send.send(2).unwrap();
    assert_eq!(*expect_ready(leader).unwrap(), 2);
    assert_eq!(*expect_ready(picky).unwrap(), 3);
    let own = cache.get_or_load_if_blocking("k", options(), |v| *v > 9, || ok(Load::Store(4)));
    assert_eq!(*own.unwrap(), 4, "own values are not asked");
    assert_eq!(cache.get_if("k", |v| *v == 4).as_deref(), Some(&4));
}

#[test]
fn a_passed_value_is_for_its_caller_alone_and_the_others_load_at_once() {
    let cache = cache();
    let (send, sent) = oneshot::channel::<()>();
    let mut leader = Box::pin(cache.get_or_load_if("k", EntryOptions::new(), |_| true, async {
        sent.await.unwrap();
        ok(Load::Pass(1))
    }));
    assert!(poll(leader.as_mut()).is_pending());
    let gates: Vec<_> = (0..3).map(|_| oneshot::channel::<()>()).collect();
    let (opens, waits): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
    let started = AtomicUsize::new(0);
    let started = &started;
    let mut waiters: Vec<_> = waits
        .into_iter()
        .map(|gate| {
            Box::pin(cache.get_or_load_if("k", EntryOptions::new(), |_| true, async move {
                started.fetch_add(1, Ordering::Relaxed);
                gate.await.unwrap();
                ok(Load::Pass(2))
            }))
        })
        .collect();
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_pending());
    }
    send.send(()).unwrap();
    assert_eq!(*expect_ready(leader).unwrap(), 1);
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_pending());
    }
    assert_eq!(started.load(Ordering::Relaxed), 3, "side by side, not one after the other");
    for open in opens {
        open.send(()).unwrap();
    }
    for waiter in waiters {
        assert_eq!(*expect_ready(waiter).unwrap(), 2);
    }
    assert!(cache.is_empty());
}

#[test]
fn a_load_that_waits_for_itself_is_told() {
    let cache = cache();
    let outcome = cache.get_or_load_blocking("k", || {
        let within = cache.get_or_load_blocking("k", || ok(1));
        assert!(matches!(within, Err(LoadError::Recursive)));
        ok(2)
    });
    assert_eq!(*outcome.unwrap(), 2);
    let outcome = expect_ready(cache.get_or_load("a", async {
        let middle = cache.get_or_load("b", async {
            let within = cache.get_or_load("a", async { ok(1) }).await;
            assert!(matches!(within, Err(LoadError::Recursive)));
            ok(2)
        });
        ok(*middle.await.unwrap() + 1)
    }));
    assert_eq!(*outcome.unwrap(), 3);
}

#[test]
fn two_threads_whose_loads_need_each_other_do_not_hang() {
    let (cache, both) = (cache(), Barrier::new(2));
    let load = |own: &str, other: &str| {
        cache.get_or_load_blocking(own, || {
            both.wait();
            match cache.get_or_load_blocking(other, || ok(0)) {
                Ok(value) => ok(*value + 1),
                Err(LoadError::Recursive) => ok(10),
                Err(other) => panic!("{other}"),
            }
        })
    };
    let values = thread::scope(|scope| {
        let (one, two) = (scope.spawn(|| load("a", "b")), scope.spawn(|| load("b", "a")));
        [*one.join().unwrap().unwrap(), *two.join().unwrap().unwrap()]
    });
    assert!(values == [10, 11] || values == [11, 10], "{values:?}");
}

#[test]
fn a_load_may_use_other_loads() {
    let cache = cache();
    let value = cache.get_or_load_blocking("sum", || {
        let a = cache.get_or_load_blocking("a", || ok(1)).unwrap();
        let b = cache.get_or_load_blocking("b", || ok(2)).unwrap();
        ok(*a + *b)
    });
    assert_eq!((*value.unwrap(), cache.len()), (3, 3));
}

#[test]
fn reservation_stores_only_what_is_still_current() {
    let cache = cache();
    let key = "k".to_owned();
    assert!(cache.reserve(&key, EntryOptions::new()).store(1));
    assert_eq!(cache.peek("k").as_deref(), Some(&1));
    drop(cache.reserve(&key, EntryOptions::new()));
    let spoil: [fn(&Cache); 4] = [
        |cache| _ = cache.invalidate("k"),
        |cache| _ = cache.insert("k".to_owned(), 5),
        |cache| _ = cache.invalidate_tag("t"),
        |cache| _ = cache.invalidate_all(),
    ];
    for spoil in spoil {
        let reservation = cache.reserve(&key, EntryOptions::new().tag("t"));
        spoil(&cache);
        assert!(!reservation.store(2));
        assert_ne!(cache.peek("k").as_deref(), Some(&2));
    }
}

#[test]
fn futures_of_loads_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let cache = cache();
    is_send(&cache.get_or_load("k", async { ok(1) }));
    is_send(&cache.get_or_load_if("k", EntryOptions::new(), |_| true, async { ok(Load::Store(1)) }));
}
