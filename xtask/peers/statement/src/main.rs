//! Measures pool-stmt against rusqlite alone: a statement held for ever, rusqlite's own cache, preparing each time.
//!
//! Run with `cargo run --release` in this folder; `--rounds N` (default 15), `--millis N` of each measuring (default 40),
//! `--only TEXT` for scenarios whose name contains it, `--json FILE` to keep the figures. Competitors take turns round by round in
//! one process. `--count NAME N` does one competitor's work N times and nothing else, for tools that count instructions.

mod report;
mod scenario;
mod stage;

use report::Report;
use scenario::{COMPETITORS, SCENARIOS};
use stage::Stage;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, nth: usize| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + nth).cloned()
    };
    let number = |name: &str, nth: usize, default: u64| {
        option(name, nth).map_or(default, |text| text.parse().expect("a number"))
    };
    if let Some(name) = option("--count", 1) {
        let stage = Stage::new();
        stage.pin();
        let (_, competitor) = COMPETITORS.iter().find(|(known, _)| *known == name).expect("a competitor's name");
        competitor(&stage, 100);
        competitor(&stage, number("--count", 2, 10_000));
        return;
    }
    let rounds = number("--rounds", 1, 15);
    let time = Duration::from_millis(number("--millis", 1, 40));
    let only = option("--only", 1).unwrap_or_default();
    let mut report = Report::default();
    for (name, measure) in SCENARIOS.iter().filter(|(name, _)| name.contains(&only)) {
        let stage = Stage::new();
        // The first round warms up and does not count.
        measure(name, &stage, time, &mut Report::default());
        for _ in 0..rounds {
            measure(name, &stage, time, &mut report);
        }
        eprintln!("measured: {name}");
    }
    print!("{}", report.table());
    if let Some(file) = option("--json", 1) {
        std::fs::write(&file, format!("{:#}\n", report.json())).expect("the file can be written");
    }
}
