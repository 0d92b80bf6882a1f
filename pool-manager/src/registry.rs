//! All open databases of this process.
//!
//! Owns "one pool per canonical path", the lane that everybody on one file shares, and the calls that concern all pools. Invariant:
//! its lock is never held while a database is opened or closed; two callers that open one path at the same time get one pool.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pool_config::PoolConfig;

use crate::engine::{Engine, Plan};
use crate::error::{Error, Result};
use crate::fork::{self, PerProcess};
use crate::inherited;
use crate::lane::Lane;
use crate::location::Location;
use crate::stats::GlobalPoolStats;

/// The place of one path.
#[derive(Debug, Default)]
struct Slot {
    /// Held while the database is opened, so that others wait only for their own path.
    opening: Mutex<()>,
    engine: Mutex<Weak<Engine>>,
}

impl Slot {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().upgrade()
    }
}

#[derive(Debug, Default)]
struct Registry {
    pools: HashMap<Location, Arc<Slot>>,
    /// A lane lives as long as a connection that uses it, which may outlive its pool.
    lanes: HashMap<Location, Weak<Lane>>,
    /// Direct connections, which are nobody's but their manager's; listed so that a shutdown reaches them.
    direct: Vec<Weak<Engine>>,
}

/// A child begins with an empty one: what its parent has open is not open to it.
static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

/// Opens a database, or joins the pool that is open on it already.
pub(crate) fn open(location: Location, plan: Plan) -> Result<Arc<Engine>> {
    fork::watch();
    if !inherited::let_go() {
        return Err(Error::Forked { database: location.to_string() });
    }
    refuse_second_name(&location)?;
    if !plan.pooled {
        let engine = Engine::open(location.clone(), plan, lane(&location))?;
        let mut registry = REGISTRY.get().lock();
        registry.direct.retain(|engine| engine.strong_count() > 0);
        registry.direct.push(Arc::downgrade(&engine));
        return Ok(engine);
    }
    let slot = Arc::clone(REGISTRY.get().lock().pools.entry(location.clone()).or_default());
    let opening = slot.opening.lock();
    if let Some(engine) = slot.engine().filter(|engine| !engine.is_closed()) {
        agree(&engine, &plan)?;
        engine.query_cache().scales().learn(plan.weights);
        return Ok(engine);
    }
    let engine = Engine::open(location.clone(), plan, lane(&location))?;
    *slot.engine.lock() = Arc::downgrade(&engine);
    drop(opening);
    forget_dropped();
    Ok(engine)
}

/// SQLite names the log after the file it opens, so one file under two names would have two logs
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.5).
fn refuse_second_name(location: &Location) -> Result<()> {
    if !location.has_other_names() {
        return Ok(());
    }
    let Some(open) = engines().into_iter().find(|engine| location.is_another_name_of(engine.location())) else {
        return Ok(());
    };
    let reason = format!(
        "it is a hard link to {}, which is open; a database has one log for each name, and two logs damage it: use that name",
        open.location()
    );
    Err(Error::InvalidPath { path: location.path(), reason })
}

fn lane(location: &Location) -> Arc<Lane> {
    let mut registry = REGISTRY.get().lock();
    let known = registry.lanes.get(location).and_then(Weak::upgrade);
    known.unwrap_or_else(|| {
        let lane = Arc::new(Lane::new());
        registry.lanes.insert(location.clone(), Arc::downgrade(&lane));
        lane
    })
}

/// Removes what stands for pools that are gone. A slot that somebody else holds is being opened: it stays.
fn forget_dropped() {
    let mut registry = REGISTRY.get().lock();
    registry.pools.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.engine.lock().strong_count() > 0);
    registry.lanes.retain(|_, lane| lane.strong_count() > 0);
}

/// Joining a pool with other settings than it has would silently ignore what the caller asked for. Keys left at their defaults ask
/// for nothing.
fn agree(engine: &Engine, plan: &Plan) -> Result<()> {
    let (theirs, wanted) = (engine.config(), &plan.config);
    let mut differences: Vec<String> = PoolConfig::keys()
        .filter(|key| !wanted.is_default(*key) && wanted.value(*key) != theirs.value(*key))
        .map(|key| format!("{key} is {}, asked for {}", theirs.value(key), wanted.value(key)))
        .collect();
    if engine.plan().read_only != plan.read_only {
        differences.push(format!("read_only is {}, asked for {}", engine.plan().read_only, plan.read_only));
    }
    if plan.on_connect.is_some() {
        differences.push("on_connect was not given to the manager that opened it first".to_owned());
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::PoolExists { path: engine.location().path(), differences: differences.join(", ") })
}

/// All that are open, or closing.
fn engines() -> Vec<Arc<Engine>> {
    let registry = REGISTRY.get().lock();
    let pooled = registry.pools.values().filter_map(|slot| slot.engine());
    let direct = registry.direct.iter().filter_map(Weak::upgrade);
    pooled.chain(direct).filter(|engine| !engine.has_finished_closing()).collect()
}

/// The figures of all pools, in the order of their paths.
pub(crate) fn stats() -> GlobalPoolStats {
    let mut all = GlobalPoolStats::default();
    for engine in engines().iter().filter(|engine| engine.plan().pooled && !engine.is_closed()) {
        let stats = engine.stats();
        all.total.add(&stats);
        all.pools.push((engine.location().path(), stats));
    }
    all.pools.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Closes every database of the process. All are asked to; the first error is returned.
pub(crate) async fn close_all(deadline: Option<Duration>) -> Result<usize> {
    let engines = engines();
    // Together: the deadline is for all of them, and a slow close must not hold up the others.
    let closing: Vec<_> = engines
        .iter()
        .map(|engine| {
            let engine = Arc::clone(engine);
            let deadline = deadline.unwrap_or(engine.config().close_timeout());
            spawn_close(engine, deadline)
        })
        .collect();
    let mut outcome = Ok(engines.len());
    for closed in closing {
        if let Err(error) = closed.await {
            outcome = outcome.and(Err(error));
        }
    }
    forget_dropped();
    outcome
}

fn spawn_close(engine: Arc<Engine>, deadline: Duration) -> impl Future<Output = Result<()>> {
    let task = tokio::runtime::Handle::try_current().map(|runtime| {
        runtime.spawn_blocking({
            let engine = Arc::clone(&engine);
            move || engine.close_blocking(deadline)
        })
    });
    async move {
        match task {
            Ok(task) => match task.await {
                Ok(closed) => closed,
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                Err(_) => engine.close_blocking(deadline),
            },
            Err(_) => engine.close(deadline).await,
        }
    }
}

/// The same on the calling thread.
pub(crate) fn close_all_blocking(deadline: Option<Duration>) -> Result<usize> {
    let engines = engines();
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let closing: Vec<_> = engines
            .iter()
            .map(|engine| {
                let deadline = deadline.unwrap_or(engine.config().close_timeout());
                scope.spawn(move || engine.close_blocking(deadline))
            })
            .collect();
        let joined = closing.into_iter().map(|thread| match thread.join() {
            Ok(closed) => closed,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    forget_dropped();
    outcomes.into_iter().collect::<Result<Vec<()>>>().map(|closed| closed.len())
}
