//! Figures that are points of curves, put together again.
//!
//! Must not know how curves are shown. Invariant: the points of a line stand in the order of their places.

use crate::report::Report;

/// What one competitor has on a curve: places and medians.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub competitor: String,
    pub points: Vec<(f64, f64)>,
}

/// One curve with all its competitors.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: String,
    pub over: String,
    pub unit: String,
    pub lines: Vec<Line>,
}

impl Curve {
    /// All places anybody has a point at.
    #[must_use]
    pub fn places(&self) -> Vec<f64> {
        let mut places: Vec<f64> = self.lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        places
    }
}

/// The curves of a scenario.
#[must_use]
pub fn curves(report: &Report, scenario: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in report.of(scenario) {
        let Some(point) = &row.figure.point else { continue };
        let curve = match curves.iter().position(|curve| curve.name == point.curve) {
            Some(place) => &mut curves[place],
            None => {
                let (name, over, unit) = (point.curve.clone(), point.over.clone(), row.figure.unit.clone());
                curves.push(Curve { name, over, unit, lines: Vec::new() });
                curves.last_mut().expect("BUG: it was just added")
            }
        };
        let competitor = &row.figure.competitor;
        let line = match curve.lines.iter().position(|line| line.competitor == *competitor) {
            Some(place) => &mut curve.lines[place],
            None => {
                curve.lines.push(Line { competitor: competitor.clone(), points: Vec::new() });
                curve.lines.last_mut().expect("BUG: it was just added")
            }
        };
        line.points.push((point.at, row.spread().median));
        line.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    curves
}

/// The percentiles of how long operations took, as a curve over the share of operations; none where nobody measured them.
#[must_use]
pub fn percentiles(report: &Report, scenario: &str) -> Option<Curve> {
    let mut lines: Vec<Line> = Vec::new();
    let mut unit = String::new();
    for row in report.of(scenario) {
        let Some(share) = row.figure.metric.strip_prefix('p').and_then(|share| share.parse::<f64>().ok()) else {
            continue;
        };
        unit.clone_from(&row.figure.unit);
        let competitor = &row.figure.competitor;
        match lines.iter_mut().find(|line| line.competitor == *competitor) {
            Some(line) => line.points.push((share, row.spread().median)),
            None => {
                lines.push(Line { competitor: competitor.clone(), points: vec![(share, row.spread().median)] });
            }
        }
    }
    let curve = Curve { name: "latency".into(), over: "percentile".into(), unit, lines };
    (!curve.lines.is_empty()).then_some(curve)
}

#[cfg(test)]
mod tests {
    use peers_figures::{Figure, Point};

    use super::*;
    use crate::report::tests::figure;

    #[test]
    fn points_become_lines_in_order() {
        let mut report = Report::default();
        for (competitor, at) in [("a", 8.0), ("b", 1.0), ("a", 1.0)] {
            let point = Some(Point { curve: "rate".into(), over: "tasks".into(), at });
            report.add(Figure { metric: format!("rate_{at}"), point, ..figure(competitor, at * 2.0) });
        }
        let [curve] = &curves(&report, "read")[..] else { panic!("one curve") };
        assert_eq!(curve.places(), [1.0, 8.0]);
        assert_eq!(curve.lines[0].points, [(1.0, 2.0), (8.0, 16.0)]);
        assert_eq!(percentiles(&report, "read"), None);
    }

    #[test]
    fn percentiles_are_read_from_their_names() {
        let mut report = Report::default();
        for metric in ["throughput", "p50", "p99.9", "purge"] {
            report.add(Figure { metric: metric.into(), ..figure("a", 1.0) });
        }
        let curve = percentiles(&report, "read").unwrap();
        assert_eq!(curve.places(), [50.0, 99.9]);
    }
}
