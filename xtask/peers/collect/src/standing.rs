//! Who is ours, which metrics are compared, and how many times better or worse ours is than the best of the others.
//!
//! Must not know how that is shown. Invariant: every scenario that somebody else took part in is there, also where ours is behind; the
//! optimum, which no cache can be, is nobody's other.

use peers_figures::Better;

use crate::report::{Report, Row, Spread};

/// What hit ratios are compared with and no cache can reach.
pub const OPTIMUM: &str = "optimum";

/// The name without the variant in brackets.
#[must_use]
pub fn base(competitor: &str) -> &str {
    competitor.split(" (").next().unwrap_or(competitor)
}

/// Tells whether it is ours.
#[must_use]
pub fn is_ours(competitor: &str) -> bool {
    base(competitor) == "ours"
}

/// The metrics that a scenario is about, each with its rows, points of curves left out.
#[must_use]
pub fn metrics<'r>(report: &'r Report, scenario: &str) -> Vec<(&'r str, Vec<&'r Row>)> {
    let main = |row: &&Row| row.figure.point.is_none() && is_main(&row.figure.metric, &row.figure.unit);
    grouped(report.of(scenario).filter(main))
}

/// All other metrics of a scenario, points of curves left out.
#[must_use]
pub fn further<'r>(report: &'r Report, scenario: &str) -> Vec<(&'r str, Vec<&'r Row>)> {
    let further = |row: &&Row| row.figure.point.is_none() && !is_main(&row.figure.metric, &row.figure.unit);
    grouped(report.of(scenario).filter(further))
}

fn is_main(metric: &str, unit: &str) -> bool {
    const MAIN: [&str; 4] = ["time", "throughput", "memory", "hit_ratio"];
    let variant = |rest: &str| rest.is_empty() || rest.starts_with('_');
    unit != "ratio" && MAIN.iter().any(|name| metric.strip_prefix(name).is_some_and(variant))
}

fn grouped<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<(&'r str, Vec<&'r Row>)> {
    let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|(name, _)| *name == row.figure.metric) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((&row.figure.metric, vec![row])),
        }
    }
    groups
}

/// The best of these rows.
#[must_use]
pub fn best<'r>(rows: impl Iterator<Item = &'r Row>) -> Option<&'r Row> {
    let median = |row: &Row| row.spread().median;
    rows.reduce(|best, row| {
        let better = match row.figure.better {
            Better::Lower => median(row) < median(best),
            Better::Higher => median(row) > median(best),
        };
        if better { row } else { best }
    })
}

/// What the least served caller got done, as a share of what the most served one did, where somebody leaves some of its callers waiting
/// for so long that its other figures are those of a few: below a tenth.
#[must_use]
pub fn starving(report: &Report, row: &Row) -> Option<f64> {
    let figure = &row.figure;
    starves(report, &figure.scenario, &figure.competitor).filter(|_| figure.metric != "fairness")
}

/// The same of a competitor in a scenario.
#[must_use]
pub fn starves(report: &Report, scenario: &str, competitor: &str) -> Option<f64> {
    let fairness = report.find(scenario, competitor, "fairness")?.median;
    (fairness < 0.1).then_some(fairness)
}

/// The best of ours beside the best of the others.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'r> {
    pub ours: &'r Row,
    pub other: &'r Row,
    /// How many times better ours is; below one it is behind.
    pub times: f64,
}

impl Standing<'_> {
    /// Of rows of one metric; nothing where one side has none or there is no ratio.
    fn of<'r>(rows: &[&'r Row]) -> Option<Standing<'r>> {
        let of = |ours: bool| {
            let side = |row: &&Row| {
                let name = &row.figure.competitor;
                is_ours(name) == ours && name != OPTIMUM
            };
            best(rows.iter().copied().filter(side))
        };
        let (ours, other) = (of(true)?, of(false)?);
        let (here, there) = (ours.spread().median, other.spread().median);
        let times = if ours.figure.better == Better::Lower { there / here } else { here / there };
        (times.is_finite() && times > 0.0).then_some(Standing { ours, other, times })
    }

    /// Tells whether every round of one was better than every round of the other.
    #[must_use]
    pub fn is_beyond_noise(&self) -> bool {
        let (ours, other): (Spread, Spread) = (self.ours.spread(), self.other.spread());
        ours.max < other.min || other.max < ours.min
    }
}

/// How ours stands in the metrics that scenarios are about.
#[must_use]
pub fn standings(report: &Report) -> Vec<Standing<'_>> {
    let scenarios = report.scenarios().into_iter();
    scenarios.flat_map(|scenario| metrics(report, scenario)).filter_map(|(_, rows)| Standing::of(&rows)).collect()
}

/// How ours stands in every metric and at every point of a curve.
#[must_use]
pub fn everywhere(report: &Report) -> Vec<Standing<'_>> {
    let scenarios = report.scenarios().into_iter();
    scenarios.flat_map(|scenario| grouped(report.of(scenario))).filter_map(|(_, rows)| Standing::of(&rows)).collect()
}

/// Those of these in which ours is behind by more than the noise; the furthest behind first.
#[must_use]
pub fn losses<'r>(all: &[Standing<'r>]) -> Vec<Standing<'r>> {
    let mut losses: Vec<Standing<'r>> =
        all.iter().filter(|one| one.times < 0.995 && one.is_beyond_noise()).copied().collect();
    losses.sort_by(|one, next| one.times.total_cmp(&next.times));
    losses
}

#[cfg(test)]
mod tests {
    use peers_figures::Figure;

    use super::*;
    use crate::report::tests::figure;

    fn report(all: &[(&str, &str, &[f64])]) -> Report {
        let mut report = Report::default();
        for (competitor, metric, values) in all {
            for value in *values {
                report.add(Figure { metric: (*metric).into(), ..figure(competitor, *value) });
            }
        }
        report
    }

    #[test]
    fn the_best_of_ours_is_compared_with_the_best_of_the_others() {
        let report = report(&[
            ("ours (async)", "time", &[20.0]),
            ("ours (blocking)", "time", &[10.0]),
            ("r2d2", "time", &[40.0]),
            ("optimum", "time", &[1.0]),
            ("bb8", "time", &[80.0]),
        ]);
        let [one] = standings(&report)[..] else { panic!("one metric") };
        assert_eq!(
            (one.ours.figure.competitor.as_str(), one.other.figure.competitor.as_str()),
            ("ours (blocking)", "r2d2")
        );
        assert_eq!(one.times, 4.0);
        assert!(losses(&everywhere(&report)).is_empty());
    }

    #[test]
    fn who_is_behind_by_no_more_than_the_noise_has_not_lost() {
        let within = report(&[("ours", "p99", &[10.0, 14.0]), ("r2d2", "p99", &[9.0, 11.0])]);
        assert!(losses(&everywhere(&within)).is_empty());
        let beyond = report(&[
            ("ours", "p99", &[12.0, 14.0]),
            ("r2d2", "p99", &[9.0, 11.0]),
            ("ours", "time", &[90.0]),
            ("r2d2", "time", &[10.0]),
        ]);
        let metrics: Vec<&str> =
            losses(&everywhere(&beyond)).iter().map(|one| one.ours.figure.metric.as_str()).collect();
        assert_eq!(metrics, ["time", "p99"], "the furthest behind first");
    }

    #[test]
    fn what_a_scenario_is_about_is_told_from_what_is_noted_beside_it() {
        let report = report(&[("a", "time_1000_rows", &[1.0]), ("a", "timeouts", &[1.0]), ("a", "p99", &[1.0])]);
        let names =
            |groups: Vec<(&str, Vec<&Row>)>| groups.into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(metrics(&report, "read")), ["time_1000_rows"]);
        assert_eq!(names(further(&report, "read")), ["timeouts", "p99"]);
    }

    #[test]
    fn who_serves_a_few_callers_only_is_told() {
        let report = report(&[
            ("a", "p99", &[1.0]),
            ("a", "fairness", &[0.02]),
            ("b", "p99", &[1.0]),
            ("b", "fairness", &[0.9]),
            ("c", "p99", &[1.0]),
        ]);
        let starving: Vec<_> =
            report.of("read").filter_map(|row| Some((&*row.figure.metric, starving(&report, row)?))).collect();
        assert_eq!(starving, [("p99", 0.02)]);
    }

    #[test]
    fn variants_of_ours_are_ours() {
        assert!(is_ours("ours (async)") && is_ours("ours") && !is_ours("oursin"));
        assert_eq!(base("raw-rusqlite (one, mutex)"), "raw-rusqlite");
    }
}
