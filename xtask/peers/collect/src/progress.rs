//! The bar with the remaining time; silent where nobody watches a terminal.
//!
//! Must not know what is measured. Invariant: what remains is reckoned from how long each competitor took so far; who was not measured
//! yet counts as the average of the others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How far the measuring is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    remaining: Remaining,
    began: Instant,
}

impl Progress {
    /// A bar for these competitors, each by a number, and how often each is measured.
    #[must_use]
    pub fn new(times: Vec<u64>) -> Self {
        let bar = ProgressBar::new(times.iter().sum());
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len}, {prefix} left: {wide_msg}");
        bar.set_style(style.expect("BUG: the template is in order"));
        Self { bar, remaining: Remaining::new(times), began: Instant::now() }
    }

    /// Says what is measured now.
    pub fn begin(&mut self, what: String) {
        let left = self.remaining.left();
        self.bar.set_prefix(left.map_or("some time".into(), |left| {
            humantime::format_duration(Duration::from_secs(left.as_secs().max(1))).to_string()
        }));
        self.bar.set_message(what);
        self.bar.tick();
        self.began = Instant::now();
    }

    /// Lets something be printed without the bar in between.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// The competitor of this number was measured once.
    pub fn done(&mut self, number: usize) {
        self.remaining.done(number, self.began.elapsed());
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[derive(Debug)]
struct Remaining {
    /// How often each is still to be measured.
    times: Vec<u64>,
    /// How long each took, the last time.
    took: HashMap<usize, Duration>,
}

impl Remaining {
    fn new(times: Vec<u64>) -> Self {
        Self { times, took: HashMap::new() }
    }

    fn done(&mut self, number: usize, took: Duration) {
        self.times[number] -= 1;
        self.took.insert(number, took);
    }

    fn left(&self) -> Option<Duration> {
        let average = self.took.values().sum::<Duration>().checked_div(self.took.len() as u32)?;
        let each = self.times.iter().enumerate().map(|(number, times)| {
            self.took.get(&number).copied().unwrap_or(average) * u32::try_from(*times).unwrap_or(u32::MAX)
        });
        Some(each.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_follows_from_what_each_took() {
        let mut remaining = Remaining::new(vec![2, 2, 1]);
        assert_eq!(remaining.left(), None);
        remaining.done(0, Duration::from_secs(1));
        // One more of the first, and three of whom nothing is known yet.
        assert_eq!(remaining.left(), Some(Duration::from_secs(4)));
        remaining.done(1, Duration::from_secs(3));
        assert_eq!(remaining.left(), Some(Duration::from_secs(1 + 3 + 2)));
    }
}
