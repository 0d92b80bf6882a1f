//! Text for a terminal: a table for each scenario, and numbers short enough to be read.
//!
//! Must not know how figures were measured.

use std::fmt::Write as _;

use crate::{
    curves::{Curve, curves},
    report::Report,
};

/// The table of a scenario: medians, spread, how many times worse than the best; who failed, and why.
#[must_use]
pub fn table(report: &Report, scenario: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{scenario}\n  {:<32} {:<22} {:>10} {:>10} {:>10} {:>7} {:>8}",
        "competitor", "metric", "median", "min", "max", "spread", "to best"
    );
    for row in report.of(scenario).filter(|row| row.figure.point.is_none()) {
        let spread = row.spread();
        let metric = format!("{} [{}]", row.figure.metric, row.figure.unit);
        let _ = writeln!(
            text,
            "  {:<32} {metric:<22} {:>10} {:>10} {:>10} {:>7} {:>8}",
            row.figure.competitor,
            short(spread.median),
            short(spread.min),
            short(spread.max),
            noise(spread.min, spread.median, spread.max),
            report.to_best(row).map_or("-".into(), |times| format!("{times:.2}")),
        );
    }
    for curve in curves(report, scenario) {
        text += &matrix(&curve);
    }
    for (competitor, why) in report.failed_in(scenario) {
        let _ = writeln!(text, "  {competitor:<32} FAILED: {why}");
    }
    text
}

/// The medians of a curve: a line a competitor, a column a place.
fn matrix(curve: &Curve) -> String {
    let places = curve.places();
    let mut text = format!("  {:<32}", format!("{} [{}] over {}", curve.name, curve.unit, curve.over));
    for at in &places {
        let _ = write!(text, " {:>9}", short(*at));
    }
    text.push('\n');
    for line in &curve.lines {
        let _ = write!(text, "  {:<32}", line.competitor);
        for at in &places {
            let found = line.points.iter().find(|(place, _)| place == at);
            let _ = write!(text, " {:>9}", found.map_or("-".into(), |(_, value)| short(*value)));
        }
        text.push('\n');
    }
    text
}

/// Half of what lies between the lowest and the highest round, as a share of the median.
#[must_use]
pub fn noise(min: f64, median: f64, max: f64) -> String {
    let share = (max - min) / 2.0 / median.abs() * 100.0;
    if share.is_finite() { format!("±{share:.0}%") } else { "-".into() }
}

/// A number in three digits or so.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 9_999_500.0 => format!("{:.1}M", value / 1e6),
        size if size >= 99_950.0 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use peers_figures::{Competitor, Figure, Point};

    use super::*;
    use crate::report::tests::figure;

    #[test]
    fn a_table_shows_the_noise_who_is_best_and_who_failed() {
        let mut report = Report::default();
        for (competitor, value) in [("slow", 30.0), ("fast", 10.0), ("slow", 40.0), ("fast", 10.0)] {
            report.add(figure(competitor, value));
        }
        let who = Competitor { scenario: "read".into(), competitor: "wrong".into() };
        report.fail(who, "other rows".into());
        let table = table(&report, "read");
        let line = |name: &str| table.lines().find(|line| line.trim().starts_with(name)).unwrap().to_owned();
        assert!(line("slow").ends_with("±14%     3.50"), "{table}");
        assert!(line("fast").ends_with("±0%     1.00"), "{table}");
        assert!(line("wrong").ends_with("FAILED: other rows"), "{table}");
    }

    #[test]
    fn points_of_a_curve_stand_side_by_side() {
        let mut report = Report::default();
        for (at, value) in [(1.0, 5.0), (64.0, 9.0)] {
            let point = Some(Point { curve: "rate".into(), over: "tasks".into(), at });
            report.add(Figure { metric: format!("rate_{at}"), point, ..figure("a", value) });
        }
        let table = table(&report, "read");
        let line = table.lines().find(|line| line.trim().starts_with("a ")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["a", "5", "9"]);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 7.0, 7.25, 123.4, 12_345.6, 123_456.0, 12_345_678.0].map(short);
        assert_eq!(all, ["0", "7", "7.25", "123", "12346", "123k", "12.3M"]);
    }
}
