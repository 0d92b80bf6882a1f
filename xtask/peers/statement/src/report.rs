//! Owns the figures: collects them round by round, prints the table, writes the JSON.
//!
//! Must not know how they were measured. Invariant: a ratio is one of two figures of the same round; the table shows the median
//! of the ratios, not the ratio of the medians.

use std::fmt::Write as _;

/// One figure of one round.
#[derive(Clone, Debug)]
pub struct Figure {
    pub scenario: &'static str,
    pub competitor: &'static str,
    pub metric: &'static str,
    pub unit: &'static str,
    pub value: f64,
    /// To the figure that everybody is compared with.
    pub ratio: f64,
}

#[derive(Clone, Debug)]
struct Row {
    figure: Figure,
    values: Vec<f64>,
    ratios: Vec<f64>,
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
            Some(row) => {
                row.values.push(figure.value);
                row.ratios.push(figure.ratio);
            }
            None => self.0.push(Row { values: vec![figure.value], ratios: vec![figure.ratio], figure }),
        }
    }

    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut scenario = "";
        for Row { figure, values, ratios } in &self.0 {
            if figure.scenario != scenario {
                scenario = figure.scenario;
                let _ = writeln!(
                    text,
                    "\n{scenario}\n  {:<26} {:<20} {:>9} {:>9} {:>9} {:>7}",
                    "competitor", "metric", "median", "min", "max", "ratio"
                );
            }
            let (low, middle, high) = spread(values);
            let (_, ratio, _) = spread(ratios);
            let metric = format!("{} [{}]", figure.metric, figure.unit);
            let _ = writeln!(
                text,
                "  {:<26} {metric:<20} {middle:>9.1} {low:>9.1} {high:>9.1} {ratio:>7.2}",
                figure.competitor
            );
        }
        text
    }

    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let row = |Row { figure, values, ratios }: &Row| {
            let (low, middle, high) = spread(values);
            serde_json::json!({
                "scenario": figure.scenario,
                "competitor": figure.competitor,
                "metric": figure.metric,
                "unit": figure.unit,
                "better": "lower",
                "median": middle,
                "min": low,
                "max": high,
                "ratio": spread(ratios).1,
                "rounds": values.len(),
            })
        };
        self.0.iter().map(row).collect()
    }
}

/// Lowest, median, highest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    (sorted[0], median, sorted[sorted.len() - 1])
}
