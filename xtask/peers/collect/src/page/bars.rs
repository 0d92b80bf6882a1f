//! Bars: one a competitor, the best on top, with the span from the lowest to the highest round.
//!
//! Must not know what was measured. Invariant: bars begin at zero.

use maud::{Markup, html};
use peers_figures::Better;

use crate::{
    report::{Report, Row, times_worse},
    standing::{is_ours, starving},
    units::human,
};

const WIDTH: f64 = 880.0;
const LABELS: f64 = 250.0;
/// Room for the longest bar; the values stand to the right of it.
const ROOM: f64 = 360.0;
const HEIGHT: f64 = 24.0;

/// The plot of one metric.
#[must_use]
pub fn plot(report: &Report, metric: &str, rows: &[&Row]) -> Markup {
    let mut rows: Vec<&Row> = rows.to_vec();
    rows.sort_by(|one, other| one.spread().median.total_cmp(&other.spread().median));
    let Some(first) = rows.first() else { return html! {} };
    let (better, unit) = (first.figure.better, first.figure.unit.clone());
    if better == Better::Higher {
        rows.reverse();
    }
    let best = rows[0].spread().median;
    let most = rows.iter().map(|row| row.spread().max).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let long = |value: f64| (value / most).max(0.0) * ROOM;
    let height = rows.len() as f64 * HEIGHT + 4.0;
    let hint = if better == Better::Lower { "less is better" } else { "more is better" };
    html! {
        figure.bars {
            figcaption { b { (metric) } " · " (hint) }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(format!("{metric}, {hint}")) {
                @for (number, row) in rows.iter().enumerate() {
                    @let spread = row.spread();
                    @let name = &row.figure.competitor;
                    @let y = number as f64 * HEIGHT + 3.0;
                    @let middle = y + 9.0;
                    @let who = if is_ours(name) { "bar ours" } else { "bar" };
                    @let worse = times_worse(better, spread.median, best);
                    g class=(who) {
                        title {
                            (name) ": " (human(spread.median, &unit)) ", from " (human(spread.min, &unit)) " to "
                            (human(spread.max, &unit))
                        }
                        text.name x=(LABELS - 10.0) y=(middle + 4.5) text-anchor="end" { (name) }
                        rect x=(LABELS) y=(y) width=(long(spread.median).max(1.0)) height="18" rx="3" {}
                        path.span d=(format!(
                            "M{:.1} {middle:.1}H{:.1}", LABELS + long(spread.min), LABELS + long(spread.max)
                        )) {}
                        text.value x=(LABELS + long(spread.max) + 10.0) y=(middle + 4.5) {
                            (human(spread.median, &unit))
                            @if let Some(fairness) = starving(report, row) {
                                tspan.starves dx="8" { "starves: fairness " (format!("{fairness:.2}")) }
                            }
                            @if let Some(worse) = worse.filter(|worse| *worse >= 1.005) {
                                tspan.worse dx="8" { (if worse < 100.0 { format!("{worse:.2}×") } else { format!("{worse:.0}×") }) }
                            }
                        }
                    }
                }
            }
        }
    }
}
