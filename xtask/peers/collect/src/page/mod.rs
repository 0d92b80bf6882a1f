//! The page of a run: what was measured on what, the claims, a plot for everything that is better seen than read, the tables behind them.
//!
//! Must not know how figures were measured. Invariant: one file that needs nothing else, readable in the light and in the dark.

mod axis;
mod bars;
mod colour;
mod lines;
mod overview;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    curves::{Curve, curves, percentiles},
    headline::Measured,
    report::Report,
    run::Run,
    standing::metrics,
    table,
};

/// The page.
#[must_use]
pub fn page(run: &Run<'_>) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Side by side" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { "Side by side" }
                    p.note { (run.date()) " · took " (run.took()) " · " (run.rounds()) }
                    @if !run.typed.is_empty() { pre { (run.typed) } }
                    dl { @for (name, value) in &run.facts { div { dt { (name) } dd { (value) } } } }
                    details {
                        summary { "Who is built on what" }
                        ul.built { @for runner in run.runners { li { b { (runner.built_on()) } br; (runner.names().join(", "))
                            @if !runner.built.facts.is_empty() { br; small { "SQLite compiled with " (runner.built.facts.join(" ")) } } } } }
                    }
                }
                @if !run.claims.is_empty() { (claims(&run.claims)) }
                (overview::plot(run.report))
                @for scenario in run.report.scenarios() { (section(run.report, scenario)) }
            }
        }
    };
    markup.into_string()
}

fn claims(measured: &[Measured]) -> Markup {
    html! {
        section {
            h2 { "The description's claims, here and now" }
            div.tiles {
                @for group in measured.chunk_by(|one, next| one.claim == next.claim) {
                    div.tile {
                        h3 { (group[0].claim) }
                        @for row in group { p { strong { (row.here) } br; (row.what) } }
                        p.note { "described: " (group[0].described) br; "the original, when run: " (group[0].original) }
                    }
                }
            }
        }
    }
}

fn section(report: &Report, scenario: &str) -> Markup {
    let curves: Vec<Curve> = curves(report, scenario).iter().map(lines::drawn).collect();
    let latency = percentiles(report, scenario).as_ref().map(lines::drawn);
    html! {
        section id=(scenario) {
            h2 { a href=(format!("#{scenario}")) { (scenario) } }
            @for (competitor, why) in report.failed_in(scenario) {
                p.failed { b { (competitor) } " failed: " (why) }
            }
            @for (metric, rows) in metrics(report, scenario) { (bars::plot(report, metric, &rows)) }
            @if !curves.is_empty() {
                div.lines { @for curve in &curves { (lines::plot(curve, false)) } (lines::key(&curves)) }
            }
            @if let Some(latency) = latency {
                div.lines { (lines::plot(&latency, true)) (lines::key(&[latency])) }
            }
            details { summary { "All figures" } pre { (table::table(report, scenario).trim_start()) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use peers_figures::{Competitor, Figure, Point};

    use super::*;
    use crate::{drive::Effort, report::tests::figure};

    fn shown(report: &Report) -> String {
        page(&Run {
            report,
            runners: &[],
            facts: vec![("system", "a <machine>".into())],
            claims: Vec::new(),
            effort: Effort { rounds: 3, time: Duration::from_millis(100), mib: 64 },
            began: SystemTime::UNIX_EPOCH,
            took: Duration::from_secs(61),
            typed: "cargo xtask bench",
        })
    }

    #[test]
    fn a_page_shows_everybody_and_names_who_failed() {
        let mut report = Report::default();
        for (competitor, value) in [("ours (async)", 20.0), ("r2d2", 80.0)] {
            report.add(figure(competitor, value));
            for metric in ["p50", "p99"] {
                report.add(Figure { metric: metric.into(), unit: "us".into(), ..figure(competitor, value) });
            }
            let point = Some(Point { curve: "throughput".into(), over: "tasks".into(), at: 64.0 });
            report.add(Figure { metric: "throughput_64".into(), point, ..figure(competitor, value) });
        }
        report.add(Figure { metric: "fairness".into(), unit: "ratio".into(), ..figure("r2d2", 0.01) });
        report.fail(Competitor { scenario: "read".into(), competitor: "liar".into() }, "other rows".into());
        let page = shown(&report);
        for text in [
            "1970-01-01 00:00 UTC",
            "a &lt;machine&gt;",
            "<b>liar</b> failed: other rows",
            "4.00×",
            "logarithmic",
            "starves: fairness 0.01",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
    }

    #[test]
    fn a_page_needs_no_other_file() {
        let mut report = Report::default();
        report.add(figure("ours", 20.0));
        let page = shown(&report);
        for other in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(other), "{other}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
    }
}
