//! The four claims of the description, as figures of this run: what it says, what the original did when it was run, what is measured here
//! and now.
//!
//! Must not know how figures are measured.

use std::fmt::Write as _;

use crate::{
    report::{Report, Spread},
    standing::starves,
};

/// One figure by name.
#[derive(Clone, Copy, Debug)]
struct Named(&'static str, &'static str, &'static str);

/// What two figures make.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// How much less the first is than the second, in percent.
    Less,
    /// How many times the second the first is.
    Times,
}

/// A comparison that bears on a claim.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    what: &'static str,
    ours: Named,
    with: Named,
    shown: Shown,
}

/// A claim of the description.
#[derive(Debug)]
struct Claim {
    claim: &'static str,
    /// What the description says.
    described: &'static str,
    /// What the original does, measured with Bun.
    original: &'static str,
    comparisons: &'static [Comparison],
}

const OPENING: &str = "open-per-operation";
const HIT: &str = "query-cache-hit";
const READS: &str = "read-point-64-tasks";
const MIXED: &str = "mixed-90-10";
const MEMORY: &str = "memory-10-connections";
const TASKS: &str = "ours (async)";
const THREADS: &str = "ours (blocking)";
const UNCACHED: &str = "ours (no query cache)";
const OPENS: &str = "raw-rusqlite (opens)";
const SHARED: &str = "raw-rusqlite (one, mutex)";
const SHARED_TASKS: &str = "raw-rusqlite (one, mutex, tasks)";

const fn less(what: &'static str, ours: Named, with: Named) -> Comparison {
    Comparison { what, ours, with, shown: Shown::Less }
}

const fn times(what: &'static str, ours: Named, with: Named) -> Comparison {
    Comparison { what, ours, with, shown: Shown::Times }
}

const fn rate(scenario: &'static str, competitor: &'static str) -> Named {
    Named(scenario, competitor, "throughput")
}

const CLAIMS: &[Claim] = &[
    Claim {
        claim: "connection overhead",
        described: "60-80 % less",
        original: "86..94 % less",
        comparisons: &[
            less(
                "point read, pooled (async), to opening each time",
                Named(OPENING, TASKS, "time"),
                Named(OPENING, OPENS, "time"),
            ),
            less(
                "point read, pooled (blocking), to opening each time",
                Named(OPENING, THREADS, "time"),
                Named(OPENING, OPENS, "time"),
            ),
        ],
    },
    Claim {
        claim: "query time on cache hits",
        described: "40-90 % less",
        original: "96..99.9 % less, stale after every write",
        comparisons: &[
            less("one row, cached, to running the query", Named(HIT, TASKS, "time"), Named(HIT, UNCACHED, "time")),
            less(
                "1,000 rows, cached, to running the query",
                Named(HIT, TASKS, "time_1000_rows"),
                Named(HIT, UNCACHED, "time_1000_rows"),
            ),
        ],
    },
    Claim {
        claim: "throughput of 64 tasks",
        described: "3-5 times",
        original: "0.65 times one connection",
        comparisons: &[
            times("point reads, to one connection (64 threads)", rate(READS, TASKS), rate(READS, SHARED)),
            times("point reads, to one connection (64 tasks)", rate(READS, TASKS), rate(READS, SHARED_TASKS)),
            times("point reads, to opening each time", rate(READS, TASKS), rate(READS, OPENS)),
            times("90 % reads, to one connection (64 threads)", rate(MIXED, TASKS), rate(MIXED, SHARED)),
            times("90 % reads, to one connection (64 tasks)", rate(MIXED, TASKS), rate(MIXED, SHARED_TASKS)),
            times("90 % reads, to opening each time", rate(MIXED, TASKS), rate(MIXED, OPENS)),
        ],
    },
    Claim {
        claim: "memory of ten connections",
        described: "30-50 % less",
        original: "2.9 times one connection",
        comparisons: &[
            times("ten of ours, to one of ours", Named(MEMORY, TASKS, "memory"), Named(MEMORY, TASKS, "memory_one")),
            less(
                "ten of ours, to ten plain ones",
                Named(MEMORY, TASKS, "memory"),
                Named(MEMORY, "raw-rusqlite", "memory"),
            ),
        ],
    },
];

/// The scenarios and competitors that the claims need.
#[must_use]
pub fn needed() -> Vec<(&'static str, &'static str)> {
    let mut needed = Vec::new();
    for comparison in CLAIMS.iter().flat_map(|claim| claim.comparisons) {
        for Named(scenario, competitor, _) in [comparison.ours, comparison.with] {
            if !needed.contains(&(scenario, competitor)) {
                needed.push((scenario, competitor));
            }
        }
    }
    needed
}

/// A claim beside what was measured.
#[derive(Debug)]
pub struct Measured {
    pub claim: &'static str,
    pub described: &'static str,
    pub original: &'static str,
    pub what: &'static str,
    /// Median, and what it is from round to round at worst and at best.
    pub here: String,
}

/// What this run says of the claims; nothing where it did not measure what they need.
#[must_use]
pub fn measured(report: &Report) -> Vec<Measured> {
    let find = |Named(scenario, competitor, metric)| report.find(scenario, competitor, metric);
    let mut all = Vec::new();
    for claim in CLAIMS {
        for comparison in claim.comparisons {
            let (Some(ours), Some(with)) = (find(comparison.ours), find(comparison.with)) else { continue };
            all.push(Measured {
                claim: claim.claim,
                described: claim.described,
                original: claim.original,
                what: comparison.what,
                here: comparison.shown.text(ours, with) + &unfair(report, comparison.with),
            });
        }
    }
    all
}

/// A remark on somebody who serves a few callers and lets the others wait: what those few get done is no throughput of 64.
fn unfair(report: &Report, Named(scenario, competitor, _): Named) -> String {
    let fairness = starves(report, scenario, competitor);
    fairness.map_or(String::new(), |fairness| format!("; that one starves its callers, fairness {fairness:.2}"))
}

impl Shown {
    fn text(self, ours: Spread, with: Spread) -> String {
        let show = |ours: f64, with: f64| match self {
            Self::Less => (1.0 - ours / with) * 100.0,
            Self::Times => ours / with,
        };
        let (one, other) = (show(ours.min, with.max), show(ours.max, with.min));
        let (least, most) = (one.min(other), one.max(other));
        let median = show(ours.median, with.median);
        match self {
            Self::Less if median < 0.0 => format!("{:.1} % more ({:.1}..{:.1})", -median, -most, -least),
            Self::Less => format!("{median:.1} % less ({least:.1}..{most:.1})"),
            Self::Times if !most.is_finite() => format!("{median:.2} times (from {least:.2})"),
            Self::Times => format!("{median:.2} times ({least:.2}..{most:.2})"),
        }
    }
}

/// The table.
#[must_use]
pub fn table(measured: &[Measured]) -> String {
    let mut text = String::from("\nthe description's claims, here and now: median (worst and best of all rounds)\n");
    let mut last = "";
    for row in measured {
        if row.claim != last {
            last = row.claim;
            let _ = writeln!(
                text,
                "\n  {}; described: {}; the original when run: {}",
                row.claim, row.described, row.original
            );
        }
        let _ = writeln!(text, "    {:<52} {}", row.what, row.here);
    }
    text
}

#[cfg(test)]
mod tests {
    use peers_figures::Figure;

    use super::*;
    use crate::report::tests::figure;

    #[test]
    fn a_claim_is_shown_with_the_worst_and_the_best_of_all_rounds() {
        let mut report = Report::default();
        for (competitor, values) in [(TASKS, [8.0, 10.0, 12.0]), (OPENS, [80.0, 100.0, 120.0])] {
            for value in values {
                report.add(Figure { scenario: OPENING.into(), ..figure(competitor, value) });
            }
        }
        let [row] = &measured(&report)[..] else { panic!("one comparison can be made") };
        assert_eq!(row.here, "90.0 % less (85.0..93.3)");
        assert!(table(&measured(&report)).contains("the original when run: 86..94 % less"));
    }

    #[test]
    fn who_is_ahead_by_starving_its_callers_is_told() {
        let mut report = Report::default();
        for (competitor, fairness) in [(TASKS, 0.9), (SHARED, 0.01), (OPENS, 0.4)] {
            for (metric, value) in [("throughput", 10.0), ("fairness", fairness)] {
                report.add(Figure { scenario: MIXED.into(), metric: metric.into(), ..figure(competitor, value) });
            }
        }
        let here: Vec<String> = measured(&report).into_iter().map(|row| row.here).collect();
        assert_eq!(
            here,
            ["1.00 times (1.00..1.00); that one starves its callers, fairness 0.01", "1.00 times (1.00..1.00)"]
        );
    }

    #[test]
    fn what_is_more_is_not_called_less() {
        let spread = |median: f64| Spread { min: median, median, max: median };
        assert_eq!(Shown::Less.text(spread(110.0), spread(100.0)), "10.0 % more (10.0..10.0)");
        let stalled = Spread { min: 0.0, ..spread(2.0) };
        assert_eq!(Shown::Times.text(spread(8.0), stalled), "4.00 times (from 4.00)");
    }

    #[test]
    fn what_the_claims_need_is_each_named_once() {
        let needed = needed();
        assert!(needed.contains(&(MEMORY, "raw-rusqlite")));
        assert_eq!(needed.iter().filter(|who| **who == (OPENING, OPENS)).count(), 1);
    }
}
