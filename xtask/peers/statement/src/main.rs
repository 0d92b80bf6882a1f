//! Measures pool-stmt against rusqlite alone: a statement held for ever, rusqlite's own cache, preparing each time.
//!
//! `cargo xtask bench statement` builds this program and calls it once for each scenario of each round. rusqlite is linked anyway; with
//! the feature `peers` it is named among those who take part.

mod scenario;
mod stage;

use peers_figures::{Built, Round, Row};
use scenario::{SCENARIOS, WARMED, WARMING};
use stage::Stage;

type Measure = fn(&Stage, &mut Round);

fn measure(stage: &Stage, round: &mut Round) {
    if let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == round.scenario()) {
        scenario.measure(stage, round);
    }
}

fn main() {
    let mut rows: Vec<Row<Measure>> = Vec::new();
    for scenario in SCENARIOS {
        rows.extend(scenario.names().map(|name| (scenario.name, name, measure as Measure)));
    }
    rows.extend(WARMED.map(|name| (WARMING, name, scenario::warming as Measure)));
    rows.retain(|(_, name, _)| cfg!(feature = "peers") || name.starts_with("ours"));
    let versions = peers_figures::versions(include_str!("../Cargo.lock"), &["pool-stmt", "rusqlite"]);
    let stage = Stage::new();
    let built = Built {
        built: format!("{versions}, SQLite {}", rusqlite::version()),
        facts: stage.compile_options(),
        together: true,
        ..Built::default()
    };
    print!("{}", peers_figures::serve(built, &rows, |measure, round| measure(&stage, round)));
}
