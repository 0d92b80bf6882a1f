//! The order of measuring: scenario by scenario, round by round, competitor by competitor, each in a process and a folder of its own.
//!
//! Must not know what is measured. Invariant: who failed once in a scenario is not asked there again.

use std::{fs, path::Path, time::Duration};

use peers_figures::{Competitor, Line, Order};

use crate::{
    interrupt,
    progress::Progress,
    report::Report,
    runners::{Entry, Runners},
};

/// The scenario that reads the large table instead of the cities.
const MEMORY: &str = "memory-10-connections";

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: u64,
    pub time: Duration,
    /// Size of the large table.
    pub mib: u64,
}

/// Measures all chosen; databases come below this folder. `after` is told when a scenario is done.
pub fn drive(
    runners: &Runners,
    chosen: &[Entry],
    effort: Effort,
    folder: &Path,
    mut after: impl FnMut(&Report, &str),
) -> Result<Report, String> {
    let cities = folder.join("cities.sqlite");
    let bulk = folder.join("bulk.sqlite");
    if chosen.iter().any(|entry| entry.scenario != MEMORY) {
        runners.fill(cities.as_os_str(), None)?;
    }
    if chosen.iter().any(|entry| entry.scenario == MEMORY) {
        runners.fill(bulk.as_os_str(), Some(effort.mib))?;
    }
    let times = |entry: &Entry| if entry.once { 1 } else { effort.rounds };
    let mut report = Report::default();
    let mut progress = Progress::new(chosen.iter().map(times).collect());
    let mut first = 0;
    for scenario in chosen.chunk_by(|one, next| one.scenario == next.scenario) {
        for round in 1..=effort.rounds {
            for (number, entry) in scenario.iter().enumerate().filter(|(_, entry)| round <= times(entry)) {
                progress.begin(format!("{}, round {round}: {}", entry.scenario, entry.competitors.join(", ")));
                if !entry.competitors.iter().all(|name| report.has_failed(&entry.scenario, name)) {
                    let place = folder.join("measured");
                    fs::create_dir(&place).map_err(|error| error.to_string())?;
                    let order = Order {
                        scenario: entry.scenario.clone(),
                        competitor: entry.competitors[0].clone(),
                        time: effort.time,
                        round,
                        folder: place.clone(),
                        template: if entry.scenario == MEMORY { bulk.clone() } else { cities.clone() },
                    };
                    let measured = entry.measure(&order);
                    fs::remove_dir_all(&place).map_err(|error| error.to_string())?;
                    if interrupt::asked() {
                        return Err(interrupt::WHY.into());
                    }
                    note(&mut report, entry, measured);
                }
                progress.done(first + number);
            }
        }
        first += scenario.len();
        progress.aside(|| after(&report, &scenario[0].scenario));
    }
    Ok(report)
}

fn note(report: &mut Report, entry: &Entry, measured: Result<Vec<Line>, String>) {
    let mut fail = |why: String| {
        for competitor in &entry.competitors {
            let who = Competitor { scenario: entry.scenario.clone(), competitor: competitor.clone() };
            report.fail(who, why.clone());
        }
    };
    let lines = match measured {
        Ok(lines) => lines,
        Err(why) => return fail(why),
    };
    if let Some(other) = lines.iter().find(|line| !matches!(line, Line::Figure(_) | Line::Failed { .. })) {
        return fail(format!("it said {other:?}"));
    }
    for line in lines {
        match line {
            Line::Failed { who, failed } => report.fail(who, failed),
            Line::Figure(figure) if entry.competitors.contains(&figure.competitor) => report.add(figure),
            _ => {}
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { rounds: 3, time: Duration::from_millis(1), mib: 1 };

    /// Lets a program measure that says what its competitors' names promise.
    fn driven(scenario: &str) -> Report {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runner.sh");
        let runners = Runners::ask(&[program.to_string_lossy().into_owned()]).unwrap();
        let chosen = runners.chosen(&[scenario.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        drive(&runners, &chosen, EFFORT, folder.path(), |_, _| ()).unwrap()
    }

    #[test]
    fn rounds_are_collected_in_turns() {
        let report = driven("read");
        let spread = report.find("read", "right", "time").unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
    }

    #[test]
    fn whoever_returned_wrong_rows_is_reported_as_failed_and_shows_no_figures() {
        let report = driven("read");
        assert_eq!(report.find("read", "wrong in round 2", "time"), None);
        let why = report.failed_in("read").find(|(who, _)| *who == "wrong in round 2").unwrap().1;
        assert_eq!(why, "other rows than those asked for");
        assert!(crate::table::table(&report, "read").contains("FAILED: other rows than those asked for"));
    }

    #[test]
    fn whoever_crashes_or_says_nothing_has_failed_alone() {
        let report = driven("read");
        let failed: Vec<_> = report.failed_in("read").collect();
        assert_eq!(failed[0], ("crashing", "exit status: 3: it hurts"));
        assert_eq!(failed[1], ("silent", "it said nothing"));
        assert!(!report.has_failed("read", "right"));
    }

    #[test]
    fn what_no_noise_touches_is_measured_once() {
        let report = driven("exact");
        assert_eq!(report.json()[0]["rounds"], 1);
    }
}
