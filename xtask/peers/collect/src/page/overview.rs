//! One look at everything: in each scenario, how many times better or worse ours is than the best of the others.
//!
//! Must not know what was measured. Invariant: every scenario that somebody else took part in is there, also where ours is behind.

use maud::{Markup, html};
use peers_figures::Better;

use super::{bars::groups, colour};
use crate::report::Report;

const WIDTH: f64 = 880.0;
const MIDDLE: f64 = 560.0;
/// Room for the longest bar to either side; the longest to the left must leave the names theirs.
const ROOM: f64 = 200.0;
const HEIGHT: f64 = 22.0;

/// A scenario's metric, the best of the others in it, and how many times better ours is.
struct Standing<'r> {
    scenario: &'r str,
    metric: &'r str,
    other: &'r str,
    times: f64,
}

fn standings(report: &Report) -> Vec<Standing<'_>> {
    let mut all = Vec::new();
    for scenario in report.scenarios() {
        for (metric, rows) in groups(report, scenario) {
            let best = |ours: bool| {
                let rows = rows.iter().filter(|row| {
                    colour::is_ours(&row.figure.competitor) == ours && row.figure.competitor != "optimum"
                });
                let of = |row: &&&crate::report::Row| row.spread().median;
                match rows.clone().next()?.figure.better {
                    Better::Lower => rows.min_by(|one, other| of(one).total_cmp(&of(other))),
                    Better::Higher => rows.max_by(|one, other| of(one).total_cmp(&of(other))),
                }
            };
            let (Some(ours), Some(other)) = (best(true), best(false)) else { continue };
            let (here, there) = (ours.spread().median, other.spread().median);
            let times = if ours.figure.better == Better::Lower { there / here } else { here / there };
            if times.is_finite() && times > 0.0 {
                all.push(Standing { scenario, metric, other: &other.figure.competitor, times });
            }
        }
    }
    all
}

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
            figure {
                svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="ours against the best of the others" {
                    @for (number, one) in all.iter().enumerate() {
                        @let y = number as f64 * HEIGHT + 3.0;
                        @let long = (one.times.ln().abs() / most * ROOM).max(1.0);
                        @let ahead = one.times >= 1.0;
                        @let shown = if ahead { one.times } else { 1.0 / one.times };
                        @let shown = if shown < 100.0 { format!("{shown:.2}×") } else { format!("{shown:.0}×") };
                        g class=(if ahead { "bar ours" } else { "bar behind" }) {
                            title { (one.scenario) ", " (one.metric) ": " (shown) (if ahead { " better than " } else { " worse than " }) (one.other) }
                            a href=(format!("#{}", one.scenario)) {
                                text.name x="0" y=(y + 13.0) { (one.scenario) @if !["time", "throughput", "memory"].contains(&one.metric) { " · " (one.metric) } }
                            }
                            rect x=(if ahead { MIDDLE } else { MIDDLE - long }) y=(y) width=(long) height="16" rx="3" {}
                            @if ahead {
                                text.value x=(MIDDLE + long + 8.0) y=(y + 13.0) { (shown) tspan.worse dx="6" { (one.other) } }
                            } @else {
                                text.value x=(MIDDLE + 8.0) y=(y + 13.0) { "−" (shown) tspan.worse dx="6" { (one.other) } }
                            }
                        }
                    }
                    path.axis d=(format!("M{MIDDLE} 0V{height}")) {}
                }
            }
        }
    }
}
