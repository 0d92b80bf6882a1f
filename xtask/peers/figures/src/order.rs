//! What the program that collects asks of one that measures, in words of a command line.
//!
//! Must not know what is measured. Invariant: `parse` understands what `words` says.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// One measuring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub scenario: String,
    pub competitor: String,
    /// How long to measure.
    pub time: Duration,
    /// Counts from one.
    pub round: u64,
    /// An empty folder.
    pub folder: PathBuf,
    /// A filled database to copy, for those who measure on one.
    pub template: PathBuf,
}

impl Order {
    /// The words of the command line.
    #[must_use]
    pub fn words(&self) -> [OsString; 7] {
        [
            "run".into(),
            self.scenario.clone().into(),
            self.competitor.clone().into(),
            self.time.as_millis().to_string().into(),
            self.round.to_string().into(),
            self.folder.clone().into(),
            self.template.clone().into(),
        ]
    }

    /// Reads them.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Self> {
        let [run, scenario, competitor, millis, round, folder, template] = words else { return None };
        (run == "run").then_some(())?;
        Some(Self {
            scenario: scenario.clone(),
            competitor: competitor.clone(),
            time: Duration::from_millis(millis.parse().ok()?),
            round: round.parse().ok()?,
            folder: folder.into(),
            template: template.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_understood_as_it_was_given() {
        let order = Order {
            scenario: "read".into(),
            competitor: "ours (async)".into(),
            time: Duration::from_millis(300),
            round: 2,
            folder: "folder".into(),
            template: "".into(),
        };
        let words = order.words().map(|word| word.into_string().unwrap());
        assert_eq!(Order::parse(&words), Some(order));
        assert_eq!(Order::parse(&words[1..]), None);
    }
}
