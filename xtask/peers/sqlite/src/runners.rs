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

use peers_figures::{Competitor, Line};

/// How long one call may take before it is ended.
const PATIENCE: Duration = Duration::from_secs(100);

/// Builds of SQLite with this option share one mutex among the page caches of all connections
/// (<https://www.sqlite.org/compile.html#enable_memory_management>).
const SHARED_MUTEX: &str = "ENABLE_MEMORY_MANAGEMENT";

/// One program.
#[derive(Debug)]
struct Runner {
    program: String,
    built: String,
    options: Vec<String>,
    /// It can make databases for all.
    fills: bool,
    competitors: Vec<Competitor>,
}

/// All programs.
#[derive(Debug)]
pub struct Runners(Vec<Runner>);

/// A competitor in a scenario, and the program that measures it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub who: Competitor,
    program: String,
}

impl Runners {
    /// Asks the programs who they are.
    pub fn ask(programs: &[String]) -> Result<Self, String> {
        let ask = |program: &String| {
            let mut runner = Runner {
                program: program.clone(),
                built: String::new(),
                options: Vec::new(),
                fills: false,
                competitors: Vec::new(),
            };
            for line in call(program, ["list"])? {
                match line {
                    Line::Built { built, facts, fills } => {
                        (runner.built, runner.options, runner.fills) = (built, facts, fills);
                    }
                    Line::Competitor(who) => runner.competitors.push(who),
                    other => return Err(format!("{program} lists {other:?}")),
                }
            }
            Ok(runner)
        };
        programs.iter().map(ask).collect::<Result<_, _>>().map(Self)
    }

    /// What each program is built on, as text for people.
    pub fn described(&self) -> String {
        let mut text = String::new();
        for runner in &self.0 {
            let shared = runner.options.iter().any(|option| option == SHARED_MUTEX);
            let note = if shared { "; one mutex for the page caches of all connections" } else { "" };
            let names = runner.competitors.iter().map(|who| who.competitor.as_str());
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.dedup();
            text += &format!(
                "{}{note}\n  {}\n  compiled with {}\n",
                runner.built,
                names.join(", "),
                runner.options.join(" ")
            );
        }
        text
    }

    /// Who takes part in scenarios and under names that contain these texts; scenario by scenario.
    pub fn chosen(&self, scenario: &str, competitor: &str) -> Vec<Entry> {
        let all = self.0.iter().flat_map(|runner| {
            runner.competitors.iter().map(|who| Entry { who: who.clone(), program: runner.program.clone() })
        });
        let mut chosen: Vec<Entry> = all
            .filter(|entry| entry.who.scenario.contains(scenario) && entry.who.competitor.contains(competitor))
            .collect();
        let mut order: Vec<&str> = Vec::new();
        for who in self.0.iter().flat_map(|runner| &runner.competitors) {
            if !order.contains(&who.scenario.as_str()) {
                order.push(&who.scenario);
            }
        }
        chosen.sort_by_key(|entry| order.iter().position(|name| *name == entry.who.scenario));
        chosen
    }

    /// Has a database filled.
    pub fn fill(&self, path: &OsStr, mib: Option<u64>) -> Result<(), String> {
        let runner = self.0.iter().find(|runner| runner.fills).ok_or("no runner makes databases")?;
        let mib = mib.map(|mib| mib.to_string());
        let words = ["fill".as_ref(), path].into_iter().chain(mib.iter().map(AsRef::as_ref));
        call(&runner.program, words).map(drop)
    }
}

impl Entry {
    /// Measures once.
    pub fn measure(&self, time: Duration, round: u64, template: &OsStr, folder: &OsStr) -> Result<Vec<Line>, String> {
        let (millis, round) = (time.as_millis().to_string(), round.to_string());
        let words: [&OsStr; 11] = [
            "run".as_ref(),
            self.who.scenario.as_ref(),
            self.who.competitor.as_ref(),
            "--millis".as_ref(),
            millis.as_ref(),
            "--round".as_ref(),
            round.as_ref(),
            "--template".as_ref(),
            template,
            "--folder".as_ref(),
            folder,
        ];
        let lines = call(&self.program, words)?;
        if lines.is_empty() { Err("it said nothing".into()) } else { Ok(lines) }
    }
}

/// Runs a program to its end and reads its lines; what it says is far less than a pipe holds.
fn call<W: AsRef<OsStr>>(program: &str, words: impl IntoIterator<Item = W>) -> Result<Vec<Line>, String> {
    let started =
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("{program}: {error}"))?;
    let in_time = ended_in_time(&mut child)?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !in_time {
        return Err(format!("not done within {} s", PATIENCE.as_secs()));
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
        if began.elapsed() > PATIENCE {
            child.kill().map_err(|error| error.to_string())?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}
