//! The programs that measure: what they are built on, who takes part in what, one call of one of them.
//!
//! Must not know in which order they are called. Invariant: a program that hangs, crashes or says nothing is a failure of the competitor,
//! with a reason, and never of the whole comparison.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use peers_figures::{Built, Competitor, Line, Order};

use crate::interrupt;

/// How long one call may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(300);

/// Builds of SQLite with this option share one mutex among the page caches of all connections
/// (<https://www.sqlite.org/compile.html#enable_memory_management>).
const SHARED_MUTEX: &str = "ENABLE_MEMORY_MANAGEMENT";

/// One program.
#[derive(Clone, Debug)]
pub struct Runner {
    program: String,
    pub built: Built,
    takes_part: Vec<Competitor>,
}

/// All programs.
#[derive(Debug)]
pub struct Runners(Vec<Runner>);

/// One call: a scenario, and the competitor it measures, or all who are measured together.
#[derive(Clone, Debug)]
pub struct Entry {
    pub scenario: String,
    pub competitors: Vec<String>,
    /// No noise touches it.
    pub once: bool,
    program: String,
}

impl Runner {
    fn ask(program: &str) -> Result<Self, String> {
        let mut runner = Self { program: program.into(), built: Built::default(), takes_part: Vec::new() };
        for line in call(Command::new(program).arg("list"))? {
            match line {
                Line::Built(built) => runner.built = built,
                Line::Competitor(who) => runner.takes_part.push(who),
                other => return Err(format!("{program} lists {other:?}")),
            }
        }
        Ok(runner)
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for who in &self.takes_part {
            match entries.iter_mut().find(|entry| self.built.together && entry.scenario == who.scenario) {
                Some(entry) => entry.competitors.push(who.competitor.clone()),
                None => entries.push(Entry {
                    scenario: who.scenario.clone(),
                    competitors: vec![who.competitor.clone()],
                    once: self.built.once.contains(&who.scenario),
                    program: self.program.clone(),
                }),
            }
        }
        entries
    }

    /// Who takes part, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for who in &self.takes_part {
            if !names.contains(&who.competitor.as_str()) {
                names.push(&who.competitor);
            }
        }
        names
    }

    /// What it is built on, with what is to be known of that.
    #[must_use]
    pub fn built_on(&self) -> String {
        let shared = self.built.facts.iter().any(|option| option == SHARED_MUTEX);
        let note = if shared { "; one mutex for the page caches of all its connections" } else { "" };
        format!("{}{note}", self.built.built)
    }
}

impl Runners {
    /// Asks the programs who they are.
    pub fn ask(programs: &[String]) -> Result<Self, String> {
        programs.iter().map(|program| Runner::ask(program)).collect::<Result<_, _>>().map(Self)
    }

    /// The programs.
    #[must_use]
    pub fn all(&self) -> &[Runner] {
        &self.0
    }

    /// What each program is built on, as text for people.
    #[must_use]
    pub fn described(&self) -> String {
        let mut text = String::new();
        for runner in &self.0 {
            text += &format!("{}\n  {}\n", runner.built_on(), runner.names().join(", "));
            if !runner.built.facts.is_empty() {
                text += &format!("  SQLite compiled with {}\n", runner.built.facts.join(" "));
            }
        }
        text
    }

    /// The entries of these scenarios (of all, where none is named), scenario by scenario.
    pub fn chosen(&self, scenarios: &[String]) -> Result<Vec<Entry>, String> {
        let all: Vec<Entry> = self.0.iter().flat_map(Runner::entries).collect();
        if let Some(nobodys) = scenarios.iter().find(|name| all.iter().all(|entry| entry.scenario != **name)) {
            return Err(format!("no program measures `{nobodys}`"));
        }
        let mut order: Vec<String> = scenarios.to_vec();
        for entry in &all {
            if scenarios.is_empty() && !order.contains(&entry.scenario) {
                order.push(entry.scenario.clone());
            }
        }
        Ok(order
            .iter()
            .flat_map(|scenario| all.iter().filter(move |entry| entry.scenario == *scenario))
            .cloned()
            .collect())
    }

    /// Has a database filled; tells whether there is somebody who can.
    pub fn fill(&self, path: &OsStr, mib: Option<u64>) -> Result<bool, String> {
        let Some(runner) = self.0.iter().find(|runner| runner.built.fills) else { return Ok(false) };
        let mut command = Command::new(&runner.program);
        command.arg("fill").arg(path).args(mib.map(|mib| mib.to_string()));
        call(&mut command).map(|_| true)
    }
}

impl Entry {
    /// Measures once.
    pub fn measure(&self, order: &Order) -> Result<Vec<Line>, String> {
        // What it makes for itself goes where it is removed with all the rest, however the program ends.
        let lines = call(Command::new(&self.program).args(order.words()).env("TMPDIR", &order.folder))?;
        if lines.is_empty() { Err("it said nothing".into()) } else { Ok(lines) }
    }
}

/// Runs a program to its end and reads its lines; what it says is far less than a pipe holds.
fn call(command: &mut Command) -> Result<Vec<Line>, String> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let in_time = ended_in_time(&mut child)?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !in_time {
        let late = || format!("not done within {} s", PATIENCE.as_secs());
        return Err(if interrupt::asked() { interrupt::WHY.into() } else { late() });
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.lines().take(3).collect::<Vec<_>>().join(" | ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Line::parse).collect())
}

fn ended_in_time(child: &mut Child) -> Result<bool, String> {
    let began = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if began.elapsed() > PATIENCE || interrupt::asked() {
            child.kill().map_err(|error| error.to_string())?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(together: bool) -> Runner {
        let who =
            |scenario: &str, competitor: &str| Competitor { scenario: scenario.into(), competitor: competitor.into() };
        let takes_part = vec![who("read", "ours"), who("write", "ours"), who("read", "theirs")];
        Runner { program: "none".into(), built: Built { together, ..Built::default() }, takes_part }
    }

    #[test]
    fn entries_stand_scenario_by_scenario_in_the_order_asked_for() {
        let runners = Runners(vec![runner(false)]);
        let names = |scenarios: &[String]| -> Vec<String> {
            let entries = runners.chosen(scenarios).unwrap();
            entries.iter().map(|entry| format!("{} {}", entry.scenario, entry.competitors.join("+"))).collect()
        };
        assert_eq!(names(&[]), ["read ours", "read theirs", "write ours"]);
        assert_eq!(names(&["write".into(), "read".into()]), ["write ours", "read ours", "read theirs"]);
        assert_eq!(runners.chosen(&["mend".into()]).unwrap_err(), "no program measures `mend`");
    }

    #[test]
    fn those_who_are_measured_together_are_one_entry() {
        let entries = Runners(vec![runner(true)]).chosen(&["read".into()]).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].competitors, ["ours", "theirs"]);
    }

    #[test]
    fn old_builds_of_sqlite_are_told_from_new_ones() {
        let mut runner = runner(false);
        runner.built = Built { built: "SQLite 3.40".into(), ..Built::default() };
        assert_eq!(runner.built_on(), "SQLite 3.40");
        runner.built.facts = vec![SHARED_MUTEX.into()];
        assert_eq!(runner.built_on(), "SQLite 3.40; one mutex for the page caches of all its connections");
    }

    #[test]
    fn a_program_that_cannot_be_started_says_which() {
        assert!(Runners::ask(&["no-such-program".into()]).unwrap_err().starts_with("no-such-program: "));
    }
}
