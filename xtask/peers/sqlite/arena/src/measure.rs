//! One measuring of one competitor in one scenario: opens, lets work, audits, says the figures.
//!
//! Must not know where the figures go. Invariant: no figure of a competitor whose rows were wrong or whose writes are missing.

use std::sync::Arc;

use peers_figures::{Better, Figure, Order, Point};
use tokio::runtime::{Builder, Runtime};

use crate::{
    city::Expected,
    competitor::{Competitor, Failure, Place, Quirks, Site},
    crowd::{self, Crowd},
    mix::{self, Caller, Mix},
    scenario::{Figures, SCENARIOS, Scenario},
    sql,
};

/// A figure of what is measured.
pub(crate) fn figure(order: &Order, metric: &str, unit: &str, better: Better, value: f64) -> Figure {
    Figure {
        scenario: order.scenario.clone(),
        competitor: order.competitor.clone(),
        metric: metric.into(),
        unit: unit.into(),
        better,
        value,
        point: None,
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
pub(crate) fn measure<C: Competitor>(order: &Order, quirks: Quirks) -> Result<Vec<Figure>, Failure> {
    let expected = Arc::new(Expected::new());
    let texts: &'static [String] = Vec::leak((0..sql::TEXTS).map(sql::text).collect());
    let runtime = runtime()?;
    // Some close their connections on the runtime's threads, whenever they are dropped.
    let _inside = runtime.enter();
    let mut figures = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name == order.scenario) {
        let path = order.folder.join(format!("{}.sqlite", scenario.metric));
        std::fs::copy(&order.template, &path).map_err(Failure::other)?;
        let site = Site { path, full: scenario.full, connections: sql::CONNECTIONS, quirks };
        let mut first = runtime.block_on(C::open(&site))?;
        let seats = if C::PLACE == Place::TwoThreads { scenario.callers.min(2) } else { scenario.callers };
        let callers: Result<Vec<_>, _> =
            (0..seats).map(|number| Ok(Caller::new(first.another()?, scenario.mix, number as u64, texts))).collect();

        let crowd = crowd::work(&runtime, callers?, &expected, order.time, scenario.timed)?;
        runtime.block_on(mix::audit(&mut first, scenario.mix, crowd.written))?;
        if crowd.done == 0 && matches!(scenario.figures, Figures::Time | Figures::Median) {
            return Err(Failure::Other("nothing was done in the time".into()));
        }
        figures.extend(said(order, scenario, &crowd));
    }
    Ok(figures)
}

fn said(order: &Order, scenario: &Scenario, crowd: &Crowd) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut say = |metric: &str, unit, better, value| figures.push(figure(order, metric, unit, better, value));
    if scenario.figures == Figures::Time {
        let time = crowd.elapsed.as_nanos() as f64 / crowd.done as f64;
        say(scenario.metric, "ns", Better::Lower, time);
    } else if scenario.figures == Figures::Median {
        let median = crowd.waits.as_ref().map(|waits| waits.value_at_quantile(0.5));
        say(scenario.metric, "ns", Better::Lower, median.unwrap_or(0) as f64);
    } else {
        let rate = crowd.done as f64 / crowd.elapsed.as_secs_f64();
        say(scenario.metric, "1/s", Better::Higher, rate);
        if scenario.figures == Figures::Curve {
            let point = Point { curve: "throughput".into(), over: "tasks".into(), at: scenario.callers as f64 };
            return figures.into_iter().map(|figure| Figure { point: Some(point.clone()), ..figure }).collect();
        }
        let fairness = crowd.least as f64 / crowd.most.max(1) as f64;
        say("fairness", "ratio", Better::Higher, fairness);
    }
    if let Some(waits) = &crowd.waits {
        for (metric, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            say(metric, "us", Better::Lower, waits.value_at_quantile(share) as f64 / 1_000.0);
        }
    }
    if matches!(scenario.mix, Mix::Insert | Mix::Mixed | Mix::Increment | Mix::ReadMostly | Mix::Beside) {
        let asked = (crowd.done + crowd.busy).max(1);
        say("errors_busy", "%", Better::Lower, 100.0 * crowd.busy as f64 / asked as f64);
    }
    figures
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fake::{CACHE, Fake, NOTHING, ROWS, WRITES};

    /// What a competitor is told that does this wrong; nothing where its figures count.
    fn failure<const WRONG: u8>(scenario: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        std::fs::write(&template, "").unwrap();
        let order = Order {
            scenario: scenario.into(),
            competitor: "fake".into(),
            time: Duration::from_millis(50),
            round: 1,
            folder: folder.path().into(),
            template,
        };
        match measure::<Fake<WRONG>>(&order, Quirks::default()) {
            Ok(figures) => {
                assert!(!figures.is_empty());
                None
            }
            Err(Failure::Other(why)) => Some(why),
            Err(Failure::Busy) => panic!("nobody locks"),
        }
    }

    #[test]
    fn whoever_answers_and_writes_as_asked_has_figures() {
        for scenario in [
            "read-point-sequential",
            "read-range-1000",
            "write-64-normal",
            "mixed-90-10",
            "query-cache-read-mostly",
            "query-cache-writes",
        ] {
            assert_eq!(failure::<NOTHING>(scenario), None, "{scenario}");
        }
    }

    #[test]
    fn a_wrong_row_among_a_thousand_fails_the_competitor() {
        for scenario in
            ["read-point-sequential", "read-point-64-tasks", "read-range-1000", "statement-reuse", "mixed-90-10"]
        {
            assert_eq!(failure::<ROWS>(scenario).as_deref(), Some("other rows than those asked for"), "{scenario}");
        }
    }

    #[test]
    fn a_write_that_was_acknowledged_and_is_not_there_fails_the_competitor() {
        let why = failure::<WRITES>("write-64-normal").unwrap();
        assert!(why.starts_with("acknowledged Totals"), "{why}");
    }

    #[test]
    fn a_stale_cache_fails_the_competitor() {
        let why = failure::<CACHE>("query-cache-read-mostly").unwrap();
        assert!(why.starts_with("the cache is stale: 0 visits of "), "{why}");
    }

    #[test]
    fn whoever_is_always_locked_out_has_figures_that_say_so() {
        assert_eq!(failure::<NOTHING>("read-modify-write"), None);
    }
}
