//! One figure of one round, and the lines in which a program that measures says what it found.
//!
//! Must not know how figures are collected. Invariant: a line is one JSON object, so that programs that cannot be linked together can
//! still report to one.

use serde::{Deserialize, Serialize};

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    Higher,
}

/// Where a figure lies on a curve: the hit ratio of a trace at a capacity, the throughput of so many tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What the curve is of.
    pub curve: String,
    /// What it goes over.
    pub over: String,
    /// How much of that.
    pub at: f64,
}

/// One figure of one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub scenario: String,
    pub competitor: String,
    pub metric: String,
    pub unit: String,
    pub better: Better,
    pub value: f64,
    /// There where the metric is one point of a curve; each point is a metric of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
}

/// Somebody who takes part in a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Competitor {
    pub scenario: String,
    pub competitor: String,
}

/// What a program that measures is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// What it is built on, with versions.
    pub built: String,
    /// Options of the SQLite it is built on.
    pub facts: Vec<String>,
    /// It can make what the others measure on.
    pub fills: bool,
    /// One call measures all competitors of a scenario, who take turns in it.
    pub together: bool,
    /// Scenarios that no noise touches: one round is enough.
    #[serde(default)]
    pub once: Vec<String>,
}

/// One line of a program that measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// What was measured.
    Figure(Figure),
    /// Nothing was measured, or what was measured does not count.
    Failed {
        #[serde(flatten)]
        who: Competitor,
        failed: String,
    },
    /// What it can measure.
    Competitor(Competitor),
    /// What it is.
    Built(Built),
}

impl Line {
    /// The line as it is written.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("BUG: a line is text and numbers")
    }

    /// Reads a line; other text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_read_back_as_what_it_was() {
        let who = Competitor { scenario: "s".into(), competitor: "c".into() };
        let figure = Figure {
            scenario: "s".into(),
            competitor: "c".into(),
            metric: "time".into(),
            unit: "ns".into(),
            better: Better::Lower,
            value: 1.5,
            point: None,
        };
        let point = Some(Point { curve: "zipf".into(), over: "entries".into(), at: 10.0 });
        let lines = [
            Line::Figure(Figure { point, ..figure.clone() }),
            Line::Figure(figure),
            Line::Failed { who: who.clone(), failed: "wrong rows".into() },
            Line::Competitor(who),
            Line::Built(Built { built: "x".into(), facts: vec!["y".into()], fills: true, ..Built::default() }),
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_json()), Some(line));
        }
        assert_eq!(Line::parse("not a line"), None);
    }
}
