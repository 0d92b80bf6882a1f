//! One measuring of one competitor in one scenario: opens, lets work, audits, says the figures.
//!
//! Must not know where the figures go. Invariant: no figure of a competitor whose rows were wrong or whose writes are missing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use peers_figures::{Better, Figure};
use tokio::runtime::{Builder, Runtime};

use crate::{
    city::Expected,
    competitor::{Competitor, Failure, Place, Quirks, Site},
    crowd::{self, Crowd},
    mix::{self, Caller, Mix},
    scenario::{Figures, SCENARIOS, Scenario},
    sql,
};

/// What to measure with.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) scenario: String,
    pub(crate) competitor: &'static str,
    pub(crate) quirks: Quirks,
    pub(crate) time: Duration,
    /// A filled database, which is copied.
    pub(crate) template: PathBuf,
    /// An empty folder.
    pub(crate) folder: PathBuf,
}

impl Order {
    pub(crate) fn figure(&self, metric: &str, unit: &str, better: Better, value: f64) -> Figure {
        Figure {
            scenario: self.scenario.clone(),
            competitor: self.competitor.into(),
            metric: metric.into(),
            unit: unit.into(),
            better,
            value,
        }
    }
}

/// A runtime as a small server has it: two workers.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::other)
}

/// Waits for something that needs a runtime, before anything is measured.
///
/// # Errors
///
/// When the system has no threads for a runtime.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    runtime().map(|runtime| runtime.block_on(work))
}

/// Measures.
pub(crate) fn measure<C: Competitor>(order: &Order) -> Result<Vec<Figure>, Failure> {
    let expected = Arc::new(Expected::new());
    let texts: &'static [String] = Vec::leak((0..sql::TEXTS).map(sql::text).collect());
    let runtime = runtime()?;
    // Some close their connections on the runtime's threads, whenever they are dropped.
    let _inside = runtime.enter();
    let mut figures = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name == order.scenario) {
        let path = order.folder.join(format!("{}.sqlite", scenario.metric));
        std::fs::copy(&order.template, &path).map_err(Failure::other)?;
        let site = Site { path, full: scenario.full, connections: sql::CONNECTIONS, quirks: order.quirks };
        let mut first = runtime.block_on(C::open(&site))?;
        let seats = if C::PLACE == Place::TwoThreads { scenario.callers.min(2) } else { scenario.callers };
        let callers: Result<Vec<_>, _> =
            (0..seats).map(|number| Ok(Caller::new(first.another()?, scenario.mix, number as u64, texts))).collect();
        let timed = scenario.mix == Mix::Mixed;
        let crowd = crowd::work(&runtime, callers?, &expected, order.time, timed)?;
        runtime.block_on(mix::audit(&mut first, scenario.mix, crowd.written))?;
        if crowd.done == 0 && scenario.figures == Figures::Time {
            return Err(Failure::Other("nothing was done in the time".into()));
        }
        figures.extend(said(order, scenario, &crowd));
    }
    Ok(figures)
}

fn said(order: &Order, scenario: &Scenario, crowd: &Crowd) -> Vec<Figure> {
    let mut figures = Vec::new();
    if scenario.figures == Figures::Time {
        let time = crowd.elapsed.as_nanos() as f64 / crowd.done as f64;
        figures.push(order.figure(scenario.metric, "ns", Better::Lower, time));
    } else {
        let rate = crowd.done as f64 / crowd.elapsed.as_secs_f64();
        figures.push(order.figure(scenario.metric, "1/s", Better::Higher, rate));
        let fairness = crowd.least as f64 / crowd.most.max(1) as f64;
        figures.push(order.figure("fairness", "ratio", Better::Higher, fairness));
    }
    if let Some(reads) = &crowd.reads {
        let micros = |share| reads.value_at_quantile(share) as f64 / 1_000.0;
        figures.push(order.figure("p50", "us", Better::Lower, micros(0.5)));
        figures.push(order.figure("p99", "us", Better::Lower, micros(0.99)));
    }
    if matches!(scenario.mix, Mix::Insert | Mix::Mixed | Mix::Increment | Mix::ReadMostly) {
        let asked = (crowd.done + crowd.busy).max(1);
        figures.push(order.figure("errors_busy", "%", Better::Lower, 100.0 * crowd.busy as f64 / asked as f64));
    }
    figures
}
