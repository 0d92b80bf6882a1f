//! One look at everything: in each scenario, how many times better or worse ours is than the best of the others.
//!
//! Must not know what was measured.

use maud::{Markup, html};

use crate::{
    report::Report,
    standing::{Standing, standings},
};

const WIDTH: f64 = 880.0;
const MIDDLE: f64 = 500.0;
/// Room for the longest bar to either side: to the left it must leave the scenarios' names theirs, to the right the competitors'.
const ROOM: f64 = 170.0;
const HEIGHT: f64 = 22.0;

/// The plot; nothing where ours was measured alone.
#[must_use]
pub fn plot(report: &Report) -> Markup {
    let all = standings(report);
    if all.is_empty() {
        return html! {};
    }
    let most = all.iter().map(|one| one.times.ln().abs()).fold(2_f64.ln(), f64::max);
    let height = all.len() as f64 * HEIGHT + 4.0;
    html! {
        section {
            h2 { "Ours against the best of the others" }
            p.note { "To the right: how many times better ours is than the best of the others; to the left: how many times worse. On a logarithmic scale." }
            figure.bars {
                svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="ours against the best of the others" {
                    @for (number, one) in all.iter().enumerate() { (bar(one, number as f64 * HEIGHT + 3.0, most)) }
                    path.axis d=(format!("M{MIDDLE} 0V{height}")) {}
                }
            }
        }
    }
}

fn bar(one: &Standing<'_>, y: f64, most: f64) -> Markup {
    let (scenario, metric, other) = (&one.ours.figure.scenario, &one.ours.figure.metric, &one.other.figure.competitor);
    let long = (one.times.ln().abs() / most * ROOM).max(1.0);
    let ahead = one.times >= 1.0;
    let shown = if ahead { one.times } else { 1.0 / one.times };
    let shown = if shown < 100.0 { format!("{shown:.2}×") } else { format!("{shown:.0}×") };
    html! {
        g class=(if ahead { "bar ours" } else { "bar behind" }) {
            title { (scenario) ", " (metric) ": " (shown) (if ahead { " better than " } else { " worse than " }) (other) }
            a href=(format!("#{scenario}")) {
                text.name x="0" y=(y + 13.0) { (scenario) @if !["time", "throughput", "memory"].contains(&metric.as_str()) { " · " (metric) } }
            }
            rect x=(if ahead { MIDDLE } else { MIDDLE - long }) y=(y) width=(long) height="16" rx="3" {}
            @if ahead {
                text.value x=(MIDDLE + long + 8.0) y=(y + 13.0) { (shown) tspan.worse dx="6" { (other) } }
            } @else {
                text.value x=(MIDDLE + 8.0) y=(y + 13.0) { "−" (shown) tspan.worse dx="6" { (other) } }
            }
        }
    }
}
