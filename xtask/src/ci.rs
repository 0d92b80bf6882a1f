//! `ci`: everything that decides whether a change lands, in order, each step being a command of its own that anybody can repeat.
//!
//! Invariant: a step is nothing but a command line of this program, so what failed here fails there as well. All steps share the target folder,
//! and as many as possible share one build.

use std::time::{Duration, Instant};

use clap::Parser as _;

use crate::{error::Error, flags::Flags};

/// The steps: what answers fast comes first. loom and the properties get a bounded share of what `loom` and `props` do alone.
const STEPS: &[&[&str]] = &[
    &["layers"],
    &["lint"],
    &["test"],
    &["docs"],
    &["props", "--dev", "--cases", "500"],
    &["san", "--valgrind-only"],
    &["bench", "instructions"],
    &["loom", "--preemptions", "4"],
];

pub(crate) fn run() -> Result<(), Error> {
    let begin = Instant::now();
    let mut times: Vec<(String, Duration)> = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        let name = step.join(" ");
        println!("\n=== {} of {}: {name}", index + 1, STEPS.len());
        let begin = Instant::now();
        let result = crate::run(parse(step).command);
        times.push((name.clone(), begin.elapsed()));
        if let Err(source) = result {
            summary(&times, "FAILED");
            return Err(Error::StepFailed {
                repeat: format!("cargo xtask {name}"),
                step: name,
                source: Box::new(source),
            });
        }
    }
    summary(&times, "passed");
    println!("ci passed in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn parse(step: &[&str]) -> Flags {
    Flags::parse_from(std::iter::once("xtask").chain(step.iter().copied()))
}

/// Prints each step with its time; all but the last have passed.
fn summary(times: &[(String, Duration)], last: &str) {
    println!("\n=== summary");
    for (index, (name, time)) in times.iter().enumerate() {
        let outcome = if index + 1 == times.len() { last } else { "passed" };
        println!("{outcome:>7} {:>7.1} s  {name}", time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_command_of_its_own() {
        for step in STEPS {
            let flags = Flags::try_parse_from(std::iter::once("xtask").chain(step.iter().copied()));
            assert!(flags.is_ok(), "{step:?}: {flags:?}");
        }
    }
}
