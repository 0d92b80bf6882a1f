//! Lines: a curve with a line a competitor, and the key to the lines.
//!
//! Must not know what was measured. Invariant: places stand at equal distances, whatever they are; their numbers say how far apart they
//! are.

use maud::{Markup, html};

use super::{axis::Axis, colour};
use crate::{
    curves::Curve,
    units::{human, scaled},
};

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

/// Who is worth a line: variants that only test their connections in other ways lie on one another.
#[must_use]
pub fn drawn(curve: &Curve) -> Curve {
    let lines = curve.lines.iter().filter(|line| !line.competitor.contains("tested")).cloned().collect();
    Curve { lines, ..curve.clone() }
}

/// The plot of a curve; over decades where what differs is how many times as long.
#[must_use]
pub fn plot(curve: &Curve, decades: bool) -> Markup {
    let places = curve.places();
    let values = curve.lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let axis = if decades { Axis::decades(values) } else { Axis::linear(values) };
    let gaps = (places.len().max(2) - 1) as f64;
    let across = |at: f64| {
        let number = places.iter().position(|place| *place == at).unwrap_or_default() as f64;
        LEFT + number / gaps * (WIDTH - LEFT - RIGHT)
    };
    let up = |value: f64| TOP + (1.0 - axis.place(value)) * (HEIGHT - TOP - BOTTOM);
    let names: Vec<&str> = curve.lines.iter().map(|line| line.competitor.as_str()).collect();
    html! {
        figure.line {
            figcaption { b { (curve.name) } @if decades { " · on a logarithmic scale" } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{} over {}", curve.name, curve.over)) {
                @for tick in axis.ticks() {
                    path.grid d=(format!("M{LEFT} {:.1}H{:.1}", up(tick), WIDTH - RIGHT)) {}
                    text.tick x=(LEFT - 8.0) y=(up(tick) + 4.0) text-anchor="end" { (human(tick, &curve.unit)) }
                }
                @for place in &places {
                    text.tick x=(across(*place)) y=(HEIGHT - BOTTOM + 17.0) text-anchor="middle" { (scaled(*place)) }
                }
                text.tick x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 5.0) text-anchor="middle" { (curve.over) }
                // Ours last, so that it lies on top.
                @for line in curve.lines.iter().rev() {
                    @let points: Vec<String> =
                        line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", across(*at), up(*value))).collect();
                    g class=(format!("{} {}", colour::class(&line.competitor), colour::stroke(&names, &line.competitor))) {
                        polyline points=(points.join(" ")) {}
                        @for (at, value) in &line.points {
                            circle cx=(format!("{:.1}", across(*at))) cy=(format!("{:.1}", up(*value))) r="3.5" {
                                title { (line.competitor) ", " (curve.over) " " (scaled(*at)) ": " (human(*value, &curve.unit)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the lines of these curves mean.
#[must_use]
pub fn key(curves: &[Curve]) -> Markup {
    let mut names: Vec<&str> = Vec::new();
    for line in curves.iter().flat_map(|curve| &curve.lines) {
        if !names.contains(&line.competitor.as_str()) {
            names.push(&line.competitor);
        }
    }
    html! {
        ul.key {
            @for name in &names {
                li {
                    svg viewBox="0 0 40 10" width="40" height="10" aria-hidden="true" {
                        g class=(format!("{} {}", colour::class(name), colour::stroke(&names, name))) {
                            polyline points="1,5 39,5" {}
                            circle cx="20" cy="5" r="3.5" {}
                        }
                    }
                    (name)
                }
            }
        }
    }
}
