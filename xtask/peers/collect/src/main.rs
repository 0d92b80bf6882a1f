//! Drives the programs that measure and shows what they say: `cargo xtask bench` builds them and names them with `--runner`.
//!
//! Every figure of every round is a process of its own, and competitors take turns round by round. Knows the order of things; what they
//! are is the business of the other files. Measure on a machine that does nothing else.

mod baseline;
mod curves;
mod drive;
mod flags;
mod headline;
mod interrupt;
mod machine;
mod markdown;
mod output;
mod page;
mod progress;
mod report;
mod run;
mod runners;
mod standing;
mod table;
mod units;

use std::{process::ExitCode, time::SystemTime};

use clap::Parser as _;

use crate::{
    baseline::Baseline,
    flags::Flags,
    markdown::markdown,
    output::Output,
    page::page,
    run::Run,
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
    interrupt::listen()?;
    let baseline = flags.baseline.as_deref().map(Baseline::read).transpose()?;
    let output = |file: &Option<_>| file.as_deref().map(Output::prepare).transpose();
    let (json, html, page_of_text) = (output(&flags.json)?, output(&flags.html)?, output(&flags.markdown)?);
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
    let took = began.elapsed().unwrap_or_default();
    let run = Run { report: &report, runners: runners.all(), facts, claims, effort, began, took, typed: &flags.typed };
    if let Some(output) = json {
        println!("\nfigures: {}", output.write(&format!("{:#}\n", report.json()))?.display());
    }
    if let Some(output) = page_of_text {
        println!("\nfigures: {}", output.write(&markdown(&run))?.display());
    }
    if let Some(output) = html {
        println!("\nplots: {}", output.write(&page(&run))?.display());
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
    if chosen.is_empty() {
        return Err(format!("no competitor is called `{wanted}`"));
    }
    Ok(chosen)
}
