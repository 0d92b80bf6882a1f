//! Collects figures round by round, and what many rounds amount to.
//!
//! Must not know how they were measured, nor how they are shown. Invariants: rows stand in the order in which they came; a competitor
//! that failed in a scenario has no figures there, only the reason.

use peers_figures::{Better, Competitor, Figure};
use serde_json::{Value, json};

/// What many rounds amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// All rounds of one figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// That of the first round; its value is one of `values`.
    pub figure: Figure,
    values: Vec<f64>,
}

impl Row {
    /// Lowest, median, highest.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Spread { min: sorted[0], median, max: sorted[sorted.len() - 1] }
    }

    fn question(&self) -> (&str, &str) {
        (&self.figure.scenario, &self.figure.metric)
    }
}

/// How many times worse than the best this is.
#[must_use]
pub fn times_worse(better: Better, median: f64, best: f64) -> Option<f64> {
    let times = match better {
        Better::Lower => median / best,
        Better::Higher => best / median,
    };
    times.is_finite().then_some(times)
}

/// Everything measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    failures: Vec<(Competitor, String)>,
}

impl Report {
    /// Adds a figure of a round.
    pub fn add(&mut self, figure: Figure) {
        let same = |row: &&mut Row| {
            let known = &row.figure;
            (&known.scenario, &known.competitor, &known.metric)
                == (&figure.scenario, &figure.competitor, &figure.metric)
        };
        match self.rows.iter_mut().find(same) {
            Some(row) => row.values.push(figure.value),
            None => self.rows.push(Row { values: vec![figure.value], figure }),
        }
    }

    /// Notes that a competitor failed; the first reason stays.
    pub fn fail(&mut self, who: Competitor, why: String) {
        if !self.has_failed(&who.scenario, &who.competitor) {
            self.failures.push((who, why));
        }
    }

    /// Tells whether a competitor failed.
    #[must_use]
    pub fn has_failed(&self, scenario: &str, competitor: &str) -> bool {
        self.failures.iter().any(|(who, _)| who.scenario == scenario && who.competitor == competitor)
    }

    /// The rows that count.
    fn valid(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !self.has_failed(&row.figure.scenario, &row.figure.competitor))
    }

    /// All scenarios, in the order in which they were measured.
    #[must_use]
    pub fn scenarios(&self) -> Vec<&str> {
        let mut scenarios: Vec<&str> = Vec::new();
        let all = self.rows.iter().map(|row| &row.figure.scenario);
        for scenario in all.chain(self.failures.iter().map(|(who, _)| &who.scenario)) {
            if !scenarios.contains(&scenario.as_str()) {
                scenarios.push(scenario);
            }
        }
        scenarios
    }

    /// The rows of a scenario that count.
    pub fn of(&self, scenario: &str) -> impl Iterator<Item = &Row> {
        self.valid().filter(move |row| row.figure.scenario == scenario)
    }

    /// Who failed in a scenario, and why.
    pub fn failed_in(&self, scenario: &str) -> impl Iterator<Item = (&str, &str)> {
        let here = self.failures.iter().filter(move |(who, _)| who.scenario == scenario);
        here.map(|(who, why)| (who.competitor.as_str(), why.as_str()))
    }

    /// One figure.
    #[must_use]
    pub fn find(&self, scenario: &str, competitor: &str, metric: &str) -> Option<Spread> {
        let named = |row: &&Row| row.figure.competitor == competitor && row.figure.metric == metric;
        self.of(scenario).find(named).map(Row::spread)
    }

    /// How many times worse than the best of its scenario and metric a row is.
    #[must_use]
    pub fn to_best(&self, row: &Row) -> Option<f64> {
        let medians = self.valid().filter(|other| other.question() == row.question()).map(|row| row.spread().median);
        let best = match row.figure.better {
            Better::Lower => medians.fold(f64::INFINITY, f64::min),
            Better::Higher => medians.fold(f64::NEG_INFINITY, f64::max),
        };
        times_worse(row.figure.better, row.spread().median, best)
    }

    /// An array of objects, one a figure: scenario, competitor, metric, unit, better, median, min, max, rounds, and `point` where it is one
    /// of a curve. A competitor that failed has one with scenario, competitor and failed.
    #[must_use]
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let (figure, spread) = (&row.figure, row.spread());
            let mut object = json!({
                "scenario": figure.scenario,
                "competitor": figure.competitor,
                "metric": figure.metric,
                "unit": figure.unit,
                "better": figure.better,
                "median": spread.median,
                "min": spread.min,
                "max": spread.max,
                "rounds": row.values.len(),
            });
            if let Some(point) = &figure.point {
                object["point"] = json!(point);
            }
            object
        };
        let failure = |(who, why): &(Competitor, String)| json!({ "scenario": who.scenario, "competitor": who.competitor, "failed": why });
        self.valid().map(row).chain(self.failures.iter().map(failure)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn figure(competitor: &str, value: f64) -> Figure {
        Figure {
            scenario: "read".into(),
            competitor: competitor.into(),
            metric: "time".into(),
            unit: "ns".into(),
            better: Better::Lower,
            value,
            point: None,
        }
    }

    #[test]
    fn rounds_become_median_least_and_most() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 2.0, 10.0] {
            report.add(figure("a", value));
        }
        let row = &report.json()[0];
        let expected = json!({
            "scenario": "read", "competitor": "a", "metric": "time", "unit": "ns", "better": "lower",
            "median": 2.5, "min": 1.0, "max": 10.0, "rounds": 4,
        });
        assert_eq!(*row, expected);
    }

    #[test]
    fn whoever_failed_once_has_no_figures_and_is_nobodys_best() {
        let mut report = Report::default();
        report.add(figure("quick and wrong", 1.0));
        report.add(figure("right", 4.0));
        let who = Competitor { scenario: "read".into(), competitor: "quick and wrong".into() };
        report.fail(who.clone(), "other rows than those asked for".into());
        report.fail(who, "later".into());
        report.add(figure("quick and wrong", 1.0));
        let rows: Vec<&Row> = report.of("read").collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(report.to_best(rows[0]), Some(1.0));
        assert_eq!(
            report.failed_in("read").collect::<Vec<_>>(),
            [("quick and wrong", "other rows than those asked for")]
        );
        assert_eq!(report.json()[1]["failed"], "other rows than those asked for");
    }

    #[test]
    fn more_is_better_where_it_is_said_so() {
        let mut report = Report::default();
        for (competitor, value) in [("a", 10.0), ("b", 40.0)] {
            report.add(Figure { better: Better::Higher, ..figure(competitor, value) });
        }
        let times: Vec<_> = report.of("read").map(|row| report.to_best(row)).collect();
        assert_eq!(times, [Some(4.0), Some(1.0)]);
    }
}
