//! The scenarios: what each asks for, of how many callers, with which settings, and which figures it gives.
//!
//! Must not know who competes.

use crate::mix::Mix;

/// What a scenario's main figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figures {
    /// Nanoseconds an operation, of one caller.
    Time,
    /// Nanoseconds of the operations that are timed, of one caller, by their median.
    Median,
    /// Operations a second and how evenly they fell, of many callers.
    Throughput,
    /// Operations a second, as a point of a curve over the number of callers.
    Curve,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) mix: Mix,
    pub(crate) callers: usize,
    pub(crate) figures: Figures,
    /// `synchronous = FULL`.
    pub(crate) full: bool,
    /// Each operation is timed, for the percentiles; not where two looks at the clock would be a part of what is measured.
    pub(crate) timed: bool,
    /// The metric, where a scenario has several mixes.
    pub(crate) metric: &'static str,
}

const fn alone(name: &'static str, mix: Mix) -> Scenario {
    Scenario { name, mix, callers: 1, figures: Figures::Time, full: false, timed: false, metric: "time" }
}

const fn crowd(name: &'static str, mix: Mix, callers: usize) -> Scenario {
    Scenario { name, mix, callers, figures: Figures::Throughput, full: false, timed: true, metric: "throughput" }
}

const fn curve(name: &'static str, mix: Mix, callers: usize, metric: &'static str) -> Scenario {
    Scenario { name, mix, callers, figures: Figures::Curve, full: false, timed: false, metric }
}

/// In the order in which they are measured; rows of the same name are one scenario. `memory-10-connections` stands apart: it measures no
/// time.
pub(crate) const SCENARIOS: &[Scenario] = &[
    alone("read-point-sequential", Mix::Point),
    crowd("read-point-64-tasks", Mix::Point, 64),
    alone("read-range-1000", Mix::Range),
    alone("statement-reuse", Mix::Reuse),
    alone("open-per-operation", Mix::Point),
    crowd("write-64-normal", Mix::Insert, 64),
    Scenario { full: true, ..crowd("write-64-full", Mix::Insert, 64) },
    alone("write-single", Mix::Insert),
    crowd("mixed-90-10", Mix::Mixed, 64),
    crowd("read-modify-write", Mix::Increment, 16),
    alone("query-cache-hit", Mix::CachedPoint),
    Scenario { metric: "time_1000_rows", ..alone("query-cache-hit", Mix::CachedRange) },
    Scenario { timed: false, ..crowd("query-cache-read-mostly", Mix::ReadMostly, 64) },
    Scenario { figures: Figures::Median, timed: true, ..alone("query-cache-writes", Mix::Beside) },
    curve("read-point-scaling", Mix::Point, 1, "throughput_1"),
    curve("read-point-scaling", Mix::Point, 2, "throughput_2"),
    curve("read-point-scaling", Mix::Point, 4, "throughput_4"),
    curve("read-point-scaling", Mix::Point, 8, "throughput_8"),
    curve("read-point-scaling", Mix::Point, 16, "throughput_16"),
    curve("read-point-scaling", Mix::Point, 32, "throughput_32"),
    curve("read-point-scaling", Mix::Point, 64, "throughput_64"),
    curve("write-scaling", Mix::Insert, 1, "throughput_1"),
    curve("write-scaling", Mix::Insert, 2, "throughput_2"),
    curve("write-scaling", Mix::Insert, 4, "throughput_4"),
    curve("write-scaling", Mix::Insert, 8, "throughput_8"),
    curve("write-scaling", Mix::Insert, 16, "throughput_16"),
    curve("write-scaling", Mix::Insert, 32, "throughput_32"),
    curve("write-scaling", Mix::Insert, 64, "throughput_64"),
];

/// The scenario that measures memory.
pub(crate) const MEMORY: &str = "memory-10-connections";

/// Scenarios that only read.
pub const READS: &[&str] = &["read-point-sequential", "read-point-64-tasks", "read-range-1000", "read-point-scaling"];

/// The scenario of statements.
pub const REUSE: &[&str] = &["statement-reuse"];

/// The scenario of opening: pools take part with a pooled connection.
pub const OPENING: &[&str] = &["open-per-operation"];

/// Scenarios that write.
pub const WRITES: &[&str] =
    &["write-64-normal", "write-64-full", "write-single", "mixed-90-10", "read-modify-write", "write-scaling"];

/// Scenarios of the query cache; who has none runs the query.
pub const CACHED: &[&str] = &["query-cache-hit", "query-cache-read-mostly", "query-cache-writes"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_names_scenarios_there_are() {
        for name in [READS, REUSE, OPENING, WRITES, CACHED].concat() {
            assert!(SCENARIOS.iter().any(|scenario| scenario.name == name), "{name}");
        }
    }
}
