//! Compares with an earlier run.
//!
//! Must not know how figures were measured. A difference is outside of the noise when the two runs do not overlap: every round of one is
//! above every round of the other. With five rounds each that happens by chance to one figure in 126 that has not changed.

use std::{fmt::Write as _, fs, path::Path};

use peers_figures::Better;
use serde_json::Value;

use crate::{
    report::{Report, Spread},
    table::short,
};

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    WithinNoise,
}

impl Verdict {
    fn of(better: Better, then: Spread, now: Spread) -> Self {
        match better {
            _ if now.min <= then.max && then.min <= now.max => Self::WithinNoise,
            Better::Lower if now.max < then.min => Self::Better,
            Better::Higher if now.min > then.max => Self::Better,
            _ => Self::Worse,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::WithinNoise => "within the noise",
        }
    }
}

/// An earlier run.
#[derive(Debug)]
pub struct Baseline(Vec<Value>);

impl Baseline {
    /// Reads what `--json` wrote.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        serde_json::from_str(&text).map(Self).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn find(&self, scenario: &str, competitor: &str, metric: &str) -> Option<Spread> {
        let row = self
            .0
            .iter()
            .find(|row| row["scenario"] == scenario && row["competitor"] == competitor && row["metric"] == metric)?;
        let number = |name: &str| row[name].as_f64();
        Some(Spread { min: number("min")?, median: number("median")?, max: number("max")? })
    }

    /// The table: then, now, how many times as much, and whether that is outside of the noise of both.
    #[must_use]
    pub fn compared(&self, report: &Report) -> String {
        let mut text = String::from(
            "\ncompared with the earlier run; outside of the noise is what shares no value with it, from lowest to highest round\n",
        );
        let _ = writeln!(
            text,
            "  {:<26} {:<30} {:<24} {:>10} {:>10} {:>8}",
            "scenario", "competitor", "metric", "then", "now", "now/then"
        );
        for scenario in report.scenarios() {
            for row in report.of(scenario) {
                let figure = &row.figure;
                let Some(then) = self.find(scenario, &figure.competitor, &figure.metric) else { continue };
                let now = row.spread();
                let _ = writeln!(
                    text,
                    "  {scenario:<26} {:<30} {:<24} {:>10} {:>10} {:>8}  {}",
                    figure.competitor,
                    format!("{} [{}]", figure.metric, figure.unit),
                    short(then.median),
                    short(now.median),
                    if then.median == 0.0 { "-".into() } else { format!("{:.2}", now.median / then.median) },
                    Verdict::of(figure.better, then, now).text(),
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::figure;

    fn spread(min: f64, max: f64) -> Spread {
        Spread { min, median: f64::midpoint(min, max), max }
    }

    #[test]
    fn only_runs_that_share_no_value_differ() {
        let verdict = |better, now| Verdict::of(better, spread(10.0, 12.0), now);
        assert_eq!(verdict(Better::Lower, spread(11.9, 20.0)), Verdict::WithinNoise);
        assert_eq!(verdict(Better::Lower, spread(12.1, 20.0)), Verdict::Worse);
        assert_eq!(verdict(Better::Lower, spread(8.0, 9.9)), Verdict::Better);
        assert_eq!(verdict(Better::Higher, spread(12.1, 20.0)), Verdict::Better);
        assert_eq!(verdict(Better::Higher, spread(8.0, 9.9)), Verdict::Worse);
        assert_eq!(verdict(Better::Higher, spread(8.0, 20.0)), Verdict::WithinNoise);
    }

    #[test]
    fn a_run_is_compared_with_its_own_file() {
        let mut report = Report::default();
        for value in [20.0, 22.0] {
            report.add(figure("ours", value));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), report.json().to_string()).unwrap();
        let baseline = Baseline::read(file.path()).unwrap();
        let compared = baseline.compared(&report);
        assert!(compared.lines().last().unwrap().ends_with("1.00  within the noise"), "{compared}");
        let mut slower = Report::default();
        slower.add(figure("ours", 42.0));
        slower.add(figure("new here", 1.0));
        let compared = baseline.compared(&slower);
        assert!(compared.lines().last().unwrap().ends_with("2.00  WORSE"), "{compared}");
    }

    #[test]
    fn a_file_that_is_no_run_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{").unwrap();
        assert!(Baseline::read(file.path()).unwrap_err().contains(&*file.path().to_string_lossy()));
    }
}
