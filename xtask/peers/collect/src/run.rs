//! A run: what was measured, by which command, when, on what, for how long.
//!
//! Must not know how it is shown.

use std::time::{Duration, SystemTime};

use crate::{drive::Effort, headline::Measured, machine::Facts, report::Report, runners::Runner};

/// A run that is over.
#[derive(Debug)]
pub struct Run<'r> {
    pub report: &'r Report,
    pub runners: &'r [Runner],
    pub facts: Facts,
    pub claims: Vec<Measured>,
    pub effort: Effort,
    pub began: SystemTime,
    pub took: Duration,
    /// The command line that repeats it.
    pub typed: &'r str,
}

impl Run<'_> {
    /// When it began: `2026-11-24 18:30 UTC`.
    #[must_use]
    pub fn date(&self) -> String {
        let date = humantime::format_rfc3339_seconds(self.began).to_string();
        format!("{} UTC", date[..16].replace('T', " "))
    }

    /// How long it took, in whole seconds.
    #[must_use]
    pub fn took(&self) -> String {
        humantime::format_duration(Duration::from_secs(self.took.as_secs())).to_string()
    }

    /// How much was measured.
    #[must_use]
    pub fn rounds(&self) -> String {
        format!("{} rounds of {:?} each, after a warm-up", self.effort.rounds, self.effort.time)
    }
}
