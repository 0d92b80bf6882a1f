//! Drives the programs that measure and shows what they say: `cargo xtask bench` builds them and names them with `--runner`.
//!
//! Every figure of every round is a process of its own, and competitors take turns round by round. Knows the order of things; what they
//! are is the business of the other files. Measure on a machine that does nothing else.

mod baseline;
mod curves;
mod drive;
mod flags;
mod headline;
mod machine;
mod page;
mod progress;
mod report;
mod runners;
mod table;

use std::{fs, path::Path, process::ExitCode, time::SystemTime};

use clap::Parser as _;

use crate::{
    baseline::Baseline,
    flags::Flags,
    page::{Page, page},
    runners::{Entry, Runners},
};

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), String> {
    let baseline = flags.baseline.as_deref().map(Baseline::read).transpose()?;
    let runners = Runners::ask(&flags.runners)?;
    let chosen = chosen(flags, &runners)?;
    let (effort, began) = (flags.effort(), SystemTime::now());
    let folder = flags.folder.clone().unwrap_or_else(std::env::temp_dir);
    let place = tempfile::tempdir_in(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let facts = machine::described(place.path());
    println!("{}\n{}", machine::text(&facts), runners.described());
    println!("{} rounds of {:?} each, after a warm-up", effort.rounds, effort.time);
    let report = drive::drive(&runners, &chosen, effort, place.path(), |report, scenario| {
        print!("{}", table::table(report, scenario));
    })?;
    let claims = headline::measured(&report);
    if flags.headline {
        print!("{}", headline::table(&claims));
    }
    if let Some(baseline) = &baseline {
        print!("{}", baseline.compared(&report));
    }
    if let Some(file) = &flags.json {
        write(file, &format!("{:#}\n", report.json()))?;
    }
    if let Some(file) = &flags.html {
        let took = began.elapsed().unwrap_or_default();
        let page = page(&Page {
            report: &report,
            runners: runners.all(),
            facts,
            claims,
            effort,
            began,
            took,
            typed: &flags.typed,
        });
        write(file, &page)?;
        println!("\nplots: {}", file.display());
    }
    Ok(())
}

/// What the flags ask for.
fn chosen(flags: &Flags, runners: &Runners) -> Result<Vec<Entry>, String> {
    let needed = headline::needed();
    let mut scenarios = flags.scenarios.clone();
    if flags.headline {
        scenarios = needed.iter().map(|(scenario, _)| (*scenario).to_owned()).collect();
        scenarios.dedup();
    }
    let mut chosen = runners.chosen(&scenarios)?;
    let wanted = flags.competitor.as_deref().unwrap_or_default();
    chosen.retain_mut(|entry| {
        let claimed = |name: &String| needed.contains(&(entry.scenario.as_str(), name));
        entry.competitors.retain(|name| name.contains(wanted) && (!flags.headline || claimed(name)));
        !entry.competitors.is_empty()
    });
    Ok(chosen)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
