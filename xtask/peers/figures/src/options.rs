//! The options all comparisons have, and a way to ask for those that only one has.
//!
//! Must not know what they are for. Invariant: an option that nobody asked for is an error, not silence.

use std::{path::PathBuf, time::Duration};

/// The command line of a comparison.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each figure is measured.
    pub rounds: u64,
    /// How long each measuring takes.
    pub time: Duration,
    /// Only scenarios whose name contains this.
    pub only: String,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// Everything smaller and shorter.
    pub quick: bool,
    rest: Vec<(String, Option<String>)>,
}

impl Options {
    /// Reads `--rounds N --millis N --only TEXT --json FILE --quick` and keeps the rest for [`take`](Self::take). Without `--rounds` and
    /// `--millis` the given ones hold, and with `--quick` 3 rounds of 100 ms.
    ///
    /// # Errors
    ///
    /// Says which option has no value, or one that is no number.
    pub fn parse(words: impl IntoIterator<Item = String>, rounds: u64, millis: u64) -> Result<Self, String> {
        let mut rest: Vec<(String, Option<String>)> = Vec::new();
        for word in words {
            if word.starts_with("--") {
                rest.push((word, None));
            } else if let Some((_, value @ None)) = rest.last_mut() {
                *value = Some(word);
            } else {
                return Err(format!("`{word}` belongs to no option"));
            }
        }
        let mut options = Self { rounds, time: Duration::ZERO, only: String::new(), json: None, quick: false, rest };
        options.quick = options.flag("--quick")?;
        let (rounds, millis) = if options.quick { (3, 100) } else { (rounds, millis) };
        options.rounds = options.number("--rounds", rounds)?.max(1);
        options.time = Duration::from_millis(options.number("--millis", millis)?.max(1));
        options.only = options.take("--only")?.unwrap_or_default();
        options.json = options.take("--json")?.map(PathBuf::from);
        Ok(options)
    }

    /// Takes the value of an option that may be there.
    ///
    /// # Errors
    ///
    /// When it is there without a value.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(place) = self.rest.iter().position(|(option, _)| option == name) else { return Ok(None) };
        match self.rest.remove(place) {
            (_, Some(value)) => Ok(Some(value)),
            (option, None) => Err(format!("{option} wants a value")),
        }
    }

    /// Takes an option that has no value.
    ///
    /// # Errors
    ///
    /// When it has one.
    pub fn flag(&mut self, name: &str) -> Result<bool, String> {
        let Some(place) = self.rest.iter().position(|(option, _)| option == name) else { return Ok(false) };
        match self.rest.remove(place) {
            (_, None) => Ok(true),
            (option, Some(value)) => Err(format!("{option} wants no value, not `{value}`")),
        }
    }

    /// Takes the number an option gives.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn number(&mut self, name: &str, default: u64) -> Result<u64, String> {
        let text = self.take(name)?;
        text.map_or(Ok(default), |text| text.parse().map_err(|_| format!("{name} wants a number, not `{text}`")))
    }

    /// Says which option nobody asked for.
    ///
    /// # Errors
    ///
    /// When there is one.
    pub fn all_taken(&self) -> Result<(), String> {
        self.rest.first().map_or(Ok(()), |(option, _)| Err(format!("no option is called {option}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from), 5, 300)
    }

    #[test]
    fn quick_is_a_default_that_numbers_override() {
        let options = parse("--quick --rounds 9").unwrap();
        assert_eq!((options.rounds, options.time), (9, Duration::from_millis(100)));
        let options = parse("").unwrap();
        assert_eq!((options.rounds, options.time), (5, Duration::from_millis(300)));
    }

    #[test]
    fn an_option_may_be_given_again_for_each_of_several_values() {
        let mut options = parse("--runner a --only x --runner b").unwrap();
        assert_eq!(options.take("--runner").unwrap().as_deref(), Some("a"));
        assert_eq!(options.take("--runner").unwrap().as_deref(), Some("b"));
        assert!(options.all_taken().is_ok());
    }

    #[test]
    fn what_nobody_understands_is_an_error() {
        assert!(parse("--rounds many").is_err());
        assert!(parse("--rounds").is_err());
        assert!(parse("--quick yes").is_err());
        assert!(parse("loose").is_err());
        assert!(parse("--unheard-of 1").unwrap().all_taken().is_err());
    }
}
