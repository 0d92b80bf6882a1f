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

/// One figure of one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub scenario: String,
    pub competitor: String,
    pub metric: String,
    pub unit: String,
    pub better: Better,
    pub value: f64,
}

/// Somebody who takes part in a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Competitor {
    pub scenario: String,
    pub competitor: String,
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
    /// What it is built on, and whether it can make what the others measure on.
    Built { built: String, facts: Vec<String>, fills: bool },
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
        };
        let lines = [
            Line::Figure(figure),
            Line::Failed { who: who.clone(), failed: "wrong rows".into() },
            Line::Competitor(who),
            Line::Built { built: "x".into(), facts: vec!["y".into()], fills: true },
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_json()), Some(line));
        }
        assert_eq!(Line::parse("not a line"), None);
    }
}
