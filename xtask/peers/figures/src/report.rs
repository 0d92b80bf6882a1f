//! Collects figures round by round, prints the table, writes the JSON.
//!
//! Must not know how they were measured. Invariants: rows stand in the order in which they came; a competitor that failed in a scenario
//! has no figures there, only the reason.

use std::fmt::Write as _;

use crate::figure::{Better, Competitor, Figure};

/// All rounds of one figure.
#[derive(Clone, Debug)]
struct Row {
    /// That of the first round; its value is one of `values`.
    figure: Figure,
    values: Vec<f64>,
}

/// What many rounds amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Row {
    fn spread(&self) -> Spread {
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

    fn valid(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !self.has_failed(&row.figure.scenario, &row.figure.competitor))
    }

    fn best(&self, row: &Row) -> f64 {
        let medians = self.valid().filter(|other| other.question() == row.question()).map(|row| row.spread().median);
        match row.figure.better {
            Better::Lower => medians.fold(f64::INFINITY, f64::min),
            Better::Higher => medians.fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// The table: medians, spread, and how many times worse than the best of the scenario.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut scenarios: Vec<&str> = Vec::new();
        let all = self.rows.iter().map(|row| &row.figure.scenario);
        for scenario in all.chain(self.failures.iter().map(|(who, _)| &who.scenario)) {
            if !scenarios.contains(&scenario.as_str()) {
                scenarios.push(scenario);
            }
        }
        for scenario in scenarios {
            let _ = writeln!(
                text,
                "\n{scenario}\n  {:<32} {:<22} {:>11} {:>11} {:>11} {:>8}",
                "competitor", "metric", "median", "min", "max", "to best"
            );
            for row in self.valid().filter(|row| row.figure.scenario == scenario) {
                let (spread, best) = (row.spread(), self.best(row));
                let worse = match row.figure.better {
                    Better::Lower => spread.median / best,
                    Better::Higher => best / spread.median,
                };
                let worse = if worse.is_finite() { format!("{worse:.2}") } else { "-".into() };
                let metric = format!("{} [{}]", row.figure.metric, row.figure.unit);
                let _ = writeln!(
                    text,
                    "  {:<32} {metric:<22} {:>11} {:>11} {:>11} {worse:>8}",
                    row.figure.competitor,
                    short(spread.median),
                    short(spread.min),
                    short(spread.max),
                );
            }
            for (who, why) in self.failures.iter().filter(|(who, _)| who.scenario == scenario) {
                let _ = writeln!(text, "  {:<32} FAILED: {why}", who.competitor);
            }
        }
        text
    }

    /// An array of objects, one a figure: scenario, competitor, metric, unit, better, median, min, max, rounds. A competitor that failed
    /// has one with scenario, competitor and failed.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let row = |row: &Row| {
            let (figure, spread) = (&row.figure, row.spread());
            serde_json::json!({
                "scenario": figure.scenario,
                "competitor": figure.competitor,
                "metric": figure.metric,
                "unit": figure.unit,
                "better": figure.better,
                "median": spread.median,
                "min": spread.min,
                "max": spread.max,
                "rounds": row.values.len(),
            })
        };
        let failure = |(who, why): &(Competitor, String)| serde_json::json!({ "scenario": who.scenario, "competitor": who.competitor, "failed": why });
        self.valid().map(row).chain(self.failures.iter().map(failure)).collect()
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(competitor: &str, value: f64) -> Figure {
        Figure {
            scenario: "read".into(),
            competitor: competitor.into(),
            metric: "time".into(),
            unit: "ns".into(),
            better: Better::Lower,
            value,
        }
    }

    #[test]
    fn rounds_become_median_least_and_most() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 2.0, 10.0] {
            report.add(figure("a", value));
        }
        let row = &report.json()[0];
        assert_eq!(
            (&row["min"], &row["median"], &row["max"], &row["rounds"]),
            (&1.0.into(), &2.5.into(), &10.0.into(), &4.into())
        );
        assert_eq!(row["better"], "lower");
    }

    #[test]
    fn whoever_failed_once_has_no_figures_and_is_nobodys_best() {
        let mut report = Report::default();
        report.add(figure("quick and wrong", 1.0));
        report.add(figure("right", 4.0));
        let who = Competitor { scenario: "read".into(), competitor: "quick and wrong".into() };
        report.fail(who, "other rows".into());
        let table = report.table();
        let right = table.lines().find(|line| line.contains("right")).unwrap();
        assert!(right.ends_with("1.00"), "{table}");
        assert!(table.contains("FAILED: other rows"), "{table}");
        assert_eq!(report.json().as_array().unwrap().len(), 2);
    }
}
