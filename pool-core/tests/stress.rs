//! Thousands of tasks and threads on one pool, all kinds of callers at once.
//!
//! Run with `cargo test -p pool-core --release --test stress`; `POOL_STRESS` scales the work (default 1, some seconds).
//!
//! Every connection is a cell that its holder marks, so two holders at once are caught in the act.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pool_core::{AcquireError, Manager, Options, Pool};

#[derive(Clone, Default)]
struct Marked {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Connection {
    holders: AtomicUsize,
    uses: usize,
    open: Arc<AtomicUsize>,
}

impl Connection {
    /// Marks the connection as held while something is done with it.
    fn hold(&mut self) {
        assert_eq!(self.holders.fetch_add(1, SeqCst), 0, "two holders");
        self.uses += 1;
        std::hint::spin_loop();
        assert_eq!(self.holders.fetch_sub(1, SeqCst), 1, "two holders");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, SeqCst);
    }
}

impl Manager for Marked {
    type Connection = Connection;
    type Error = Infallible;

    async fn open(&self) -> Result<Connection, Infallible> {
        let open = self.open.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(open, SeqCst);
        Ok(Connection { holders: AtomicUsize::new(0), uses: 0, open: Arc::clone(&self.open) })
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        connection.uses >= 500
    }
}

fn scale() -> usize {
    std::env::var("POOL_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn check_rest(pool: &Pool<Marked>, limit: usize) {
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.acquired, stats.released, "{stats:?}");
    assert_eq!(stats.created, stats.total as u64 + stats.closed.total() + stats.detached, "{stats:?}");
    let most = pool.manager().most.load(SeqCst);
    assert!(most <= limit, "{most} connections at once where {limit} are allowed");
}

#[test]
fn threads_tasks_quitters_and_maintenance_share_one_pool() {
    const LIMIT: usize = 8;
    let rounds = 200 * scale();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let pool = Pool::builder(Marked::default())
        .max_connections(LIMIT)
        .min_connections(2)
        .acquire_timeout(Duration::from_secs(60))
        .reap_interval(Duration::from_millis(1))
        .idle_timeout(Some(Duration::from_millis(2)))
        .max_connection_age(Some(Duration::from_millis(5)))
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for round in 0..rounds * 20 {
                    match round % 10 {
                        0 => drop(pool.try_acquire()),
                        1 => drop(pool.acquire_blocking_timeout(Duration::from_micros(50))),
                        2 => pool.acquire_owned_blocking().unwrap().discard(),
                        _ => pool.acquire_blocking().unwrap().hold(),
                    }
                }
            });
        }
        runtime.block_on(async {
            let tasks: Vec<_> = (0..2000)
                .map(|task| {
                    let pool = pool.clone();
                    tokio::spawn(async move {
                        for round in 0..rounds {
                            match (task + round) % 8 {
                                0 => {
                                    // A caller with a timeout of its own, which drops the future.
                                    let own = Duration::from_micros(100);
                                    drop(tokio::time::timeout(own, pool.acquire()).await);
                                }
                                1 => {
                                    let mut lease = pool.acquire_owned().await.unwrap();
                                    tokio::task::yield_now().await;
                                    lease.hold();
                                }
                                2 => match pool.acquire_timeout(Duration::from_micros(200)).await {
                                    Ok(mut lease) => lease.hold(),
                                    Err(error) => assert!(matches!(error, AcquireError::TimedOut { .. })),
                                },
                                _ => pool.acquire().await.unwrap().hold(),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    // Maintenance goes on closing and refilling until the pool is closed: only then it is at rest.
    assert!(pool.close_blocking(Duration::from_secs(60)).is_complete());
    check_rest(&pool, LIMIT);
    assert_eq!(pool.manager().open.load(SeqCst), 0);
}

#[test]
fn ten_thousand_waiters_are_served_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = Options::default().max_connections(1).min_connections(0);
        let pool = Pool::builder(Marked::default()).options(options).build().unwrap();
        let lease = pool.acquire().await.unwrap();
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..10_000)
            .map(|turn| {
                let (pool, next) = (pool.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    let _lease = pool.acquire().await.unwrap();
                    assert_eq!(next.fetch_add(1, SeqCst), turn);
                })
            })
            .collect();
        while pool.stats().waiting < 10_000 {
            tokio::task::yield_now().await;
        }
        drop(lease);
        for task in tasks {
            task.await.unwrap();
        }
        check_rest(&pool, 1);
    });
}

#[test]
fn resizing_under_load_ends_within_the_last_limit() {
    let rounds = 2000 * scale();
    let pool = Pool::builder(Marked::default()).max_connections(16).min_connections(0).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..rounds * 20).for_each(|_| pool.acquire_blocking().unwrap().hold()));
        }
        for round in 0..rounds {
            let maximum = [1, 100, 3, 16][round % 4];
            pool.reconfigure(pool.options().max_connections(maximum)).unwrap();
            std::thread::yield_now();
        }
        pool.reconfigure(pool.options().max_connections(2)).unwrap();
    });
    check_rest(&pool, 100);
    assert!(pool.stats().total <= 2);
}

#[test]
fn closing_under_load_answers_everybody_and_leaves_nothing() {
    for _ in 0..200 * scale() {
        let pool = Pool::builder(Marked::default()).max_connections(4).min_connections(1).build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        match pool.acquire_blocking() {
                            Ok(mut lease) => lease.hold(),
                            Err(AcquireError::Closed) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            while pool.stats().acquired < 100 {
                std::thread::yield_now();
            }
            pool.close_blocking(Duration::from_secs(60));
        });
        assert_eq!(pool.stats().total, 0);
        assert_eq!(pool.manager().open.load(SeqCst), 0);
    }
}

/// Runs a task that never has to wait until the others of its worker have run: they alone end it.
fn greedy_among_others(pool: Pool<Marked>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let others = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&others);
        let greedy = tokio::spawn(async move {
            while seen.load(SeqCst) < 10 {
                pool.acquire().await.unwrap().hold();
            }
        });
        for _ in 0..10 {
            let others = Arc::clone(&others);
            tokio::spawn(async move {
                others.fetch_add(1, SeqCst);
            });
        }
        greedy.await.unwrap();
    });
}

#[test]
fn tasks_that_never_wait_do_not_starve_each_other() {
    greedy_among_others(Pool::builder(Marked::default()).max_connections(4).min_connections(0).build().unwrap());
}

#[test]
fn tasks_whose_connections_are_validated_each_time_do_not_starve_each_other() {
    let builder = Pool::builder(Marked::default()).max_connections(4).min_connections(0);
    greedy_among_others(builder.validate_after_idle(Some(Duration::ZERO)).build().unwrap());
}
