//! The figures of a run as a page of Markdown, to be kept beside the sources: what was run on what, where ours loses, a table for each
//! scenario.
//!
//! Must not know how figures were measured. Invariant: everything on the page comes from the run, so that no sentence of it can be older
//! than its figures; it names no folder and no machine, only what kind of machine that was.

use std::fmt::Write as _;

use crate::{
    curves::{Curve, curves},
    headline::Measured,
    report::{Report, Row, times_worse},
    run::Run,
    runners::Runner,
    standing::{OPTIMUM, Standing, best, everywhere, further, is_ours, losses, metrics, standings, starving},
    table::noise,
    units::{human, scaled},
};

/// The page.
#[must_use]
pub fn markdown(run: &Run<'_>) -> String {
    let mut text = String::from("# Figures of a run\n\n");
    let _ = writeln!(text, "Written by `{}`, not by hand; the next run writes it anew.\n", run.typed);
    text += &table(&["", ""], described(run).iter().map(|(name, value)| vec![(*name).into(), value.clone()]));
    text += "\n## What is built on what\n\n";
    for runner in run.runners {
        text += &built(runner);
    }
    if !run.claims.is_empty() {
        text +=
            "\n## The description's claims, here and now\n\nMedian, and in brackets worst and best of all rounds.\n\n";
        let head = ["claim", "described", "the original, when run", "compared", "measured"];
        text += &table(&head, run.claims.iter().map(claim));
    }
    let all = standings(run.report);
    if !all.is_empty() {
        text += "\n## Ours against the best of the others\n\n";
        text += &table(
            &["scenario", "metric", "ours", "the best other", "ours is"],
            all.iter().map(|one| standing(run.report, one)),
        );
    }
    let all = everywhere(run.report);
    if !all.is_empty() {
        text += "\n## Where ours loses\n\n";
        text += &lost(run.report, &losses(&all));
    }
    for scenario in run.report.scenarios() {
        text += &section(run.report, scenario);
    }
    text
}

fn described(run: &Run<'_>) -> Vec<(&'static str, String)> {
    let mut facts = vec![("command", format!("`{}`", run.typed)), ("date", run.date()), ("took", run.took())];
    facts.push(("measured", run.rounds()));
    facts.extend(run.facts.iter().cloned());
    facts
}

fn built(runner: &Runner) -> String {
    let mut text = format!("- **{}**: {}\n", runner.built_on(), runner.names().join(", "));
    if !runner.built.facts.is_empty() {
        let options: Vec<String> = runner.built.facts.iter().map(|option| format!("`{option}`")).collect();
        let _ = writeln!(text, "  <details><summary>SQLite compiled with</summary>{}</details>", options.join(" "));
    }
    text
}

fn claim(row: &Measured) -> Vec<String> {
    [row.claim, row.described, row.original, row.what, &row.here].map(String::from).to_vec()
}

fn standing(report: &Report, one: &Standing<'_>) -> Vec<String> {
    let figure = &one.ours.figure;
    let is = match one.times {
        times if times >= 1.0 => format!("{} better", ratio(times)),
        times => format!("**{} worse**", ratio(1.0 / times)),
    };
    let noise = if one.is_beyond_noise() { "" } else { ", within the noise" };
    vec![
        code(&figure.scenario),
        figure.metric.clone(),
        shown(report, one.ours),
        shown(report, one.other),
        format!("{is}{noise}"),
    ]
}

/// A figure with its owner.
fn shown(report: &Report, row: &Row) -> String {
    let starves = starving(report, row).map_or(String::new(), |fairness| format!(", fairness {fairness:.2}"));
    format!("{}, {}{starves}", human(row.spread().median, &row.figure.unit), row.figure.competitor)
}

fn lost(report: &Report, losses: &[Standing<'_>]) -> String {
    if losses.is_empty() {
        return "In nothing that was measured, by more than the noise.\n".into();
    }
    let text = "In everything that was measured, be it only noted beside what a scenario is about or a single point of a curve: the\n\
                best of ours behind the best of the others in every round. Whose fairness is named serves a few of its callers and leaves\n\
                the others waiting, so that its percentiles are those of the few.\n\n";
    let rows = losses.iter().map(|one| {
        let figure = &one.ours.figure;
        let worse = ratio(1.0 / one.times);
        vec![
            code(&figure.scenario),
            figure.metric.clone(),
            shown(report, one.ours),
            shown(report, one.other),
            format!("{worse} worse"),
        ]
    });
    format!("{text}{}", table(&["scenario", "metric", "ours", "the best other", "ours is"], rows))
}

fn section(report: &Report, scenario: &str) -> String {
    let mut text = format!("\n## {scenario}\n");
    for (competitor, why) in report.failed_in(scenario) {
        let _ = writeln!(text, "\n**{competitor} failed**: {why}");
    }
    for (metric, rows) in metrics(report, scenario) {
        let ours =
            best(rows.iter().copied().filter(|row| is_ours(&row.figure.competitor))).map(|row| row.spread().median);
        let head = [metric, "median", "lowest", "highest", "noise", "to ours"];
        let rows = sorted(rows);
        let rows = rows.iter().map(|row| {
            let (spread, unit) = (row.spread(), &row.figure.unit);
            let to_ours = ours.and_then(|ours| times_worse(row.figure.better, spread.median, ours));
            let mut cells = vec![row.figure.competitor.clone()];
            cells.extend([spread.median, spread.min, spread.max].map(|value| human(value, unit)));
            cells.push(noise(spread.min, spread.median, spread.max));
            cells.push(to_ours.map_or("-".into(), |times| {
                if times < 0.995 && row.figure.competitor != OPTIMUM {
                    format!("**{}**", ratio(times))
                } else {
                    ratio(times)
                }
            }));
            cells
        });
        let _ = write!(text, "\n{}", table(&head, rows));
    }
    text += &beside(report, scenario);
    for curve in curves(report, scenario) {
        let _ = write!(text, "\n{}", matrix(&curve));
    }
    text
}

/// The best first.
fn sorted(mut rows: Vec<&Row>) -> Vec<&Row> {
    rows.sort_by(|one, next| one.spread().median.total_cmp(&next.spread().median));
    if rows.first().is_some_and(|row| row.figure.better == peers_figures::Better::Higher) {
        rows.reverse();
    }
    rows
}

/// The medians of what is noted beside what a scenario is about: a line a competitor, a column a metric.
fn beside(report: &Report, scenario: &str) -> String {
    let groups = further(report, scenario);
    let mut names: Vec<&str> = Vec::new();
    for row in groups.iter().flat_map(|(_, rows)| rows) {
        if !names.contains(&row.figure.competitor.as_str()) {
            names.push(&row.figure.competitor);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let head: Vec<&str> = std::iter::once("beside it").chain(groups.iter().map(|(metric, _)| *metric)).collect();
    let rows = names.iter().map(|name| {
        let cell = |rows: &Vec<&Row>| {
            let found = rows.iter().find(|row| row.figure.competitor == **name);
            found.map_or("-".into(), |row| human(row.spread().median, &row.figure.unit))
        };
        std::iter::once((*name).to_owned()).chain(groups.iter().map(|(_, rows)| cell(rows))).collect()
    });
    format!("\n{}", table(&head, rows))
}

/// The medians of a curve: a line a competitor, a column a place.
fn matrix(curve: &Curve) -> String {
    let places = curve.places();
    let title = format!("{} over {}", curve.name, curve.over);
    let shown: Vec<String> = places.iter().map(|at| scaled(*at)).collect();
    let head: Vec<&str> = std::iter::once(title.as_str()).chain(shown.iter().map(String::as_str)).collect();
    let rows = curve.lines.iter().map(|line| {
        let cell = |at: &f64| {
            let found = line.points.iter().find(|(place, _)| place == at);
            found.map_or("-".into(), |(_, value)| human(*value, &curve.unit))
        };
        std::iter::once(line.competitor.clone()).chain(places.iter().map(cell)).collect()
    });
    table(&head, rows)
}

fn ratio(times: f64) -> String {
    if times < 100.0 { format!("{times:.2}×") } else { format!("{times:.0}×") }
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

/// A table: the first column to the left, numbers to the right where all of a column are.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rows: Vec<Vec<String>> = rows.collect();
    let numbers = |column: usize| {
        let number = |cell: &String| {
            cell == "-" || cell.trim_start_matches(['*', '±', '-']).starts_with(|c: char| c.is_ascii_digit())
        };
        let words = |cell: &String| cell.split_whitespace().count() > 2;
        column > 0 && rows.iter().all(|row| row.get(column).is_some_and(|cell| number(cell) && !words(cell)))
    };
    let lines: Vec<String> =
        (0..head.len()).map(|column| if numbers(column) { "---:" } else { "---" }.into()).collect();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    [row(&head), row(&lines)].into_iter().chain(rows.iter().map(|cells| row(cells))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use peers_figures::{Better, Competitor, Figure, Point};

    use super::*;
    use crate::{drive::Effort, report::tests::figure};

    fn page(report: &Report) -> String {
        markdown(&Run {
            report,
            runners: &[],
            facts: vec![("processor", "a processor, 2 cores to use".into())],
            claims: Vec::new(),
            effort: Effort { rounds: 3, time: Duration::from_millis(100), mib: 64 },
            began: SystemTime::UNIX_EPOCH,
            took: Duration::from_secs(61),
            typed: "cargo xtask bench --peers",
        })
    }

    fn lines(page: &str) -> Vec<&str> {
        page.lines().filter(|line| line.starts_with('|')).collect()
    }

    #[test]
    fn a_page_says_what_was_run_when_and_on_what() {
        let mut report = Report::default();
        report.add(figure("ours", 20.0));
        let page = page(&report);
        for line in [
            "| command | `cargo xtask bench --peers` |",
            "| date | 1970-01-01 00:00 UTC |",
            "| took | 1m 1s |",
            "| measured | 3 rounds of 100ms each, after a warm-up |",
            "| processor | a processor, 2 cores to use |",
        ] {
            assert!(lines(&page).contains(&line), "{line}: {page}");
        }
        assert!(!page.contains("Where ours loses"), "nobody else took part: {page}");
    }

    #[test]
    fn each_is_compared_with_the_best_of_ours_and_who_is_ahead_stands_out() {
        let mut report = Report::default();
        for (competitor, values) in [
            ("ours (async)", [20.0, 21.0, 22.0]),
            ("ours", [10.0, 10.0, 11.0]),
            ("r2d2", [5.0, 5.0, 6.0]),
            ("bb8", [40.0; 3]),
        ] {
            for value in values {
                report.add(figure(competitor, value));
            }
        }
        let page = page(&report);
        for line in [
            "| time | median | lowest | highest | noise | to ours |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            "| r2d2 | 5 ns | 5 ns | 6 ns | ±10% | **0.50×** |",
            "| ours | 10 ns | 10 ns | 11 ns | ±5% | 1.00× |",
            "| ours (async) | 21 ns | 20 ns | 22 ns | ±5% | 2.10× |",
            "| bb8 | 40 ns | 40 ns | 40 ns | ±0% | 4.00× |",
            "| `read` | time | 10 ns, ours | 5 ns, r2d2 | **2.00× worse** |",
            "| `read` | time | 10 ns, ours | 5 ns, r2d2 | 2.00× worse |",
        ] {
            assert!(lines(&page).contains(&line), "{line}: {page}");
        }
    }

    #[test]
    fn who_is_ahead_by_serving_a_few_is_shown_with_its_fairness() {
        let mut report = Report::default();
        for (competitor, value, fairness) in [("ours", 20.0, 0.9), ("bb8", 1.0, 0.0)] {
            report.add(Figure { metric: "p99".into(), ..figure(competitor, value) });
            report.add(Figure {
                metric: "fairness".into(),
                unit: "ratio".into(),
                better: Better::Higher,
                ..figure(competitor, fairness)
            });
        }
        let page = page(&report);
        assert!(page.contains("| `read` | p99 | 20 ns, ours | 1 ns, bb8, fairness 0.00 | 20.00× worse |"), "{page}");
    }

    #[test]
    fn where_nothing_is_lost_that_is_said_and_noise_is_not_a_loss() {
        let mut report = Report::default();
        for (competitor, values) in [("ours", [10.0, 14.0]), ("r2d2", [9.0, 11.0])] {
            for value in values {
                report.add(figure(competitor, value));
            }
        }
        let page = page(&report);
        assert!(page.contains("In nothing that was measured, by more than the noise."), "{page}");
        assert!(page.contains("| **1.20× worse**, within the noise |"), "{page}");
    }

    #[test]
    fn curves_and_what_is_noted_beside_are_tables_of_medians() {
        let mut report = Report::default();
        for (at, value) in [(1.0, 5.0), (64.0, 90_000.0)] {
            let point = Some(Point { curve: "throughput".into(), over: "tasks".into(), at });
            let metric = format!("throughput_{at}");
            report.add(Figure { metric, unit: "1/s".into(), better: Better::Higher, point, ..figure("a", value) });
        }
        report.add(Figure { metric: "p99".into(), unit: "us".into(), ..figure("a", 7.5) });
        report.fail(Competitor { scenario: "read".into(), competitor: "liar".into() }, "other | rows".into());
        let page = page(&report);
        assert!(lines(&page).contains(&"| throughput over tasks | 1 | 64 |"), "{page}");
        assert!(lines(&page).contains(&"| a | 5/s | 90 k/s |"), "{page}");
        assert!(page.contains("| beside it | p99 |\n| --- | ---: |\n| a | 7.50 µs |"), "{page}");
        assert!(page.contains("**liar failed**: other | rows"), "{page}");
    }
}
