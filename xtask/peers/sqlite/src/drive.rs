//! The order of measuring: scenario by scenario, round by round, competitor by competitor, each in a process and a folder of its own.
//!
//! Must not know what is measured. Invariant: who failed once in a scenario is not asked there again.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use peers_figures::{Line, Options, Report};

use crate::runners::{Entry, Runners};

/// The scenario that reads the large table instead of the cities.
const MEMORY: &str = "memory-10-connections";

/// Measures all chosen; databases come below this folder.
pub fn drive(
    runners: &Runners,
    chosen: &[Entry],
    options: &Options,
    mib: u64,
    folder: &Path,
) -> Result<Report, String> {
    let cities = folder.join("cities.sqlite");
    let bulk = folder.join("bulk.sqlite");
    if chosen.iter().any(|entry| entry.who.scenario != MEMORY) {
        runners.fill(cities.as_os_str(), None)?;
    }
    if chosen.iter().any(|entry| entry.who.scenario == MEMORY) {
        eprintln!("filling a table of {mib} MiB");
        runners.fill(bulk.as_os_str(), Some(mib))?;
    }
    let mut report = Report::default();
    let began = Instant::now();
    let (mut done, all) = (0, chosen.len() as u64 * options.rounds);
    for scenario in chosen.chunk_by(|one, next| one.who.scenario == next.who.scenario) {
        for round in 1..=options.rounds {
            for entry in scenario {
                done += 1;
                if report.has_failed(&entry.who.scenario, &entry.who.competitor) {
                    continue;
                }
                let template = if entry.who.scenario == MEMORY { &bulk } else { &cities };
                let place = folder.join("measured");
                fs::create_dir(&place).map_err(|error| error.to_string())?;
                let measured = entry.measure(options.time, round, template.as_os_str(), place.as_os_str());
                fs::remove_dir_all(&place).map_err(|error| error.to_string())?;
                note(&mut report, entry, measured);
            }
        }
        let remaining = began.elapsed().as_secs_f64() / done as f64 * (all - done) as f64;
        let remaining = Duration::from_secs(remaining as u64);
        eprintln!("measured: {} ({done} of {all}, about {remaining:?} left)", scenario[0].who.scenario);
    }
    Ok(report)
}

fn note(report: &mut Report, entry: &Entry, measured: Result<Vec<Line>, String>) {
    match measured {
        Ok(lines) => {
            for line in lines {
                match line {
                    Line::Figure(figure) => report.add(figure),
                    Line::Failed { who, failed } => report.fail(who, failed),
                    other => report.fail(entry.who.clone(), format!("it said {other:?}")),
                }
            }
        }
        Err(why) => report.fail(entry.who.clone(), why),
    }
}
