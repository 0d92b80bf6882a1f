//! The command line of a program that measures without a database: `list`, and `run` with an order.
//!
//! Must not know what is measured. Invariant: what is said are lines of JSON; a panic of a competitor ends the program and is its failure.

use std::{fmt::Write as _, time::Duration};

use crate::{
    figure::{Better, Built, Competitor, Figure, Line, Point},
    order::Order,
};

/// Somebody in a scenario and how that is measured. Rows of the same scenario and competitor are measured one after the other; where all
/// are measured together, the first row of a scenario measures them all.
pub type Row<M> = (&'static str, &'static str, M);

/// One measuring, and what comes of it.
#[derive(Debug)]
pub struct Round {
    pub time: Duration,
    scenario: String,
    competitor: String,
    figures: Vec<Figure>,
}

impl Round {
    /// What is to be measured.
    #[must_use]
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// A round whose figures do not count: it warms up.
    #[must_use]
    pub fn warming(&self, time: Duration) -> Self {
        Self { time, scenario: self.scenario.clone(), competitor: self.competitor.clone(), figures: Vec::new() }
    }

    /// Notes a figure.
    pub fn add(&mut self, metric: &str, unit: &str, better: Better, value: f64) {
        self.add_of(&self.competitor.clone(), metric, unit, better, value);
    }

    /// Notes a figure of one of several who are measured together.
    pub fn add_of(&mut self, competitor: &str, metric: &str, unit: &str, better: Better, value: f64) {
        self.figures.push(Figure {
            scenario: self.scenario.clone(),
            competitor: competitor.into(),
            metric: metric.into(),
            unit: unit.into(),
            better,
            value,
            point: None,
        });
    }

    /// Notes a point of a curve.
    pub fn add_point(&mut self, metric: &str, unit: &str, better: Better, value: f64, point: Point) {
        self.add(metric, unit, better, value);
        self.figures.last_mut().expect("BUG: it was just added").point = Some(point);
    }
}

/// Does what the command line says; returns what is to be written to the standard output.
///
/// # Panics
///
/// When the command line is wrong, or a competitor panics.
#[must_use]
pub fn serve<M: Copy>(built: Built, rows: &[Row<M>], mut measure: impl FnMut(M, &mut Round)) -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["list"] {
        let mut named: Vec<Line> = vec![Line::Built(built)];
        for (scenario, competitor, _) in rows {
            let line = Line::Competitor(Competitor { scenario: (*scenario).into(), competitor: (*competitor).into() });
            if !named.contains(&line) {
                named.push(line);
            }
        }
        return lines(named);
    }
    let order = Order::parse(&words).unwrap_or_else(|| panic!("list | run ..., not {words:?}"));
    let Order { scenario, competitor, time, .. } = order;
    let together = built.together;
    let mut round = Round { time, scenario, competitor, figures: Vec::new() };
    let here = |row: &&Row<M>| row.0 == round.scenario && (together || row.1 == round.competitor);
    let hows: Vec<M> = rows.iter().filter(here).map(|row| row.2).take(if together { 1 } else { rows.len() }).collect();
    for how in hows {
        measure(how, &mut round);
    }
    lines(round.figures.into_iter().map(Line::Figure))
}

/// Lines as they are written.
pub fn lines(lines: impl IntoIterator<Item = Line>) -> String {
    lines.into_iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.to_json());
        text
    })
}

/// The versions that a lock file gives to these packages: `r2d2 0.8.10, bb8 0.9.1`. Without a lock file's word for it, the name alone.
#[must_use]
pub fn versions(lock: &str, names: &[&str]) -> String {
    let version = |name: &str| {
        // Of several, the newest comes last.
        let (_, package) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", package.split('"').next()?))
    };
    let named: Vec<String> = names.iter().map(|name| version(name).unwrap_or_else(|| (*name).into())).collect();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock =
            "[[package]]\nname = \"bb8\"\nversion = \"0.9.1\"\n\n[[package]]\nname = \"r2d2\"\nversion = \"0.8.10\"\n";
        assert_eq!(versions(lock, &["r2d2", "bb8", "mobc"]), "r2d2 0.8.10, bb8 0.9.1, mobc");
    }
}
