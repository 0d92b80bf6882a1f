//! Owns the figures: collects them round by round, prints the table, writes the JSON.
//!
//! Must not know how they were measured.

use std::fmt::Write as _;

/// One figure of one round.
#[derive(Clone, Debug)]
pub struct Figure {
    pub scenario: &'static str,
    pub competitor: &'static str,
    pub metric: &'static str,
    pub unit: &'static str,
    /// `"lower"` or `"higher"`.
    pub better: &'static str,
    pub value: f64,
}

/// All rounds of one figure.
#[derive(Clone, Debug)]
struct Row {
    figure: Figure,
    values: Vec<f64>,
}

impl Row {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
    }
}

/// Everything measured.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<Row>);

impl Report {
    pub fn add(&mut self, figure: Figure) {
        let same = |row: &&mut Row| {
            let known = &row.figure;
            (known.scenario, known.competitor, known.metric) == (figure.scenario, figure.competitor, figure.metric)
        };
        match self.0.iter_mut().find(same) {
            Some(row) => row.values.push(figure.value),
            None => self.0.push(Row { values: vec![figure.value], figure }),
        }
    }

    /// The table; the ratio is ours to theirs.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut scenario = "";
        for row in &self.0 {
            let figure = &row.figure;
            if figure.scenario != scenario {
                scenario = figure.scenario;
                let _ = writeln!(
                    text,
                    "\n{scenario}\n  {:<16} {:<22} {:>12} {:>12} {:>12} {:>10}",
                    "competitor", "metric", "median", "min", "max", "ours/this"
                );
            }
            let values = row.sorted();
            let ours = self.0.iter().find(|other| {
                other.figure.scenario == figure.scenario
                    && other.figure.metric == figure.metric
                    && other.figure.competitor.starts_with("ours")
            });
            let ratio = ours.map_or(f64::NAN, |ours| ours.median() / row.median());
            let _ = writeln!(
                text,
                "  {:<16} {:<22} {:>12} {:>12} {:>12} {:>10.2}",
                figure.competitor,
                format!("{} [{}]", figure.metric, figure.unit),
                short(row.median()),
                short(values[0]),
                short(values[values.len() - 1]),
                ratio
            );
        }
        text
    }

    pub fn json(&self) -> serde_json::Value {
        let row = |row: &Row| {
            let values = row.sorted();
            serde_json::json!({
                "scenario": row.figure.scenario,
                "competitor": row.figure.competitor,
                "metric": row.figure.metric,
                "unit": row.figure.unit,
                "better": row.figure.better,
                "median": row.median(),
                "min": values[0],
                "max": values[values.len() - 1],
                "rounds": values.len(),
            })
        };
        self.0.iter().map(row).collect()
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
