//! What moves while the demo runs: lines that are redrawn on a terminal, and plain lines everywhere else.
//!
//! Knows terminals, and no figure.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How wide the name of a phase may get.
const NAME_WIDTH: usize = 18;

/// Where the demo shows how it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// The standard output.
    pub(crate) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal, colour }
    }

    /// Tells whether somebody watches.
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Tells whether there are colours.
    pub(crate) fn has_colour(self) -> bool {
        self.colour
    }

    /// Green, where there are colours.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint(text, "32")
    }

    /// Red, where there are colours.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(text, "31;1")
    }

    /// Bold, where there are such letters.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// Grey, where there are colours.
    pub(crate) fn quiet(self, text: &str) -> String {
        self.paint(text, "2")
    }

    fn paint(self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    /// Begins a line of figures that change until [`Line::finish`].
    pub(crate) fn line(self, name: &str) -> Line {
        self.begin(name, None, "{spinner:.cyan} {prefix} {wide_msg}")
    }

    /// Begins a line with a bar that fills up to `length`.
    pub(crate) fn bar(self, name: &str, length: u64) -> Line {
        self.begin(name, Some(length), "{spinner:.cyan} {prefix} {bar:28.cyan/black.bright} {percent:>3} %  {wide_msg}")
    }

    /// Shows that something goes on, to who watches, until [`Line::abandon`].
    pub(crate) fn wait(self, what: &str) -> Line {
        let line = self.begin(what, None, "{spinner:.cyan} {prefix}");
        if let Some((bar, _)) = &line.bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        line
    }

    fn begin(self, name: &str, length: Option<u64>, template: &str) -> Line {
        let prefix = format!("{name:<NAME_WIDTH$}");
        if !self.terminal {
            return Line { prefix, bar: None };
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stdout());
        bar.set_style(style(template));
        bar.set_prefix(self.strong(&prefix));
        Line { prefix, bar: Some((bar, self)) }
    }
}

/// A line that changes.
#[derive(Debug)]
pub(crate) struct Line {
    prefix: String,
    /// `None` where nobody watches.
    bar: Option<(ProgressBar, Screen)>,
}

impl Line {
    /// How often it is worth showing something new.
    pub(crate) fn interval(&self) -> Duration {
        if self.bar.is_some() { Duration::from_millis(100) } else { Duration::from_secs(1) }
    }

    /// Shows these figures now.
    pub(crate) fn show(&self, figures: &str) {
        match &self.bar {
            Some((bar, _)) => {
                bar.set_message(figures.to_owned());
                bar.tick();
            }
            None => println!("  {} {figures}", self.prefix),
        }
    }

    /// Fills a bar up to here.
    pub(crate) fn fill(&self, position: u64) {
        if let Some((bar, _)) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Shows the last figures and leaves the line standing.
    pub(crate) fn finish(self, figures: &str) {
        match self.bar {
            Some((bar, screen)) => {
                bar.finish_and_clear();
                println!("{} {} {figures}", screen.good("✓"), screen.strong(&self.prefix));
            }
            None => println!("✓ {} {figures}", self.prefix),
        }
    }

    /// Takes the line away: what it showed came to nothing.
    pub(crate) fn abandon(self) {
        if let Some((bar, _)) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|error| panic!("BUG: template {template:?}: {error}"));
    style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ").progress_chars("━╸━")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        let screen = Screen { terminal: true, colour: true };
        screen.line("a line").abandon();
        screen.bar("a bar", 10).abandon();
    }

    #[test]
    fn nothing_is_painted_where_there_are_no_colours() {
        assert_eq!(Screen { terminal: false, colour: false }.good("✓"), "✓");
        assert_eq!(Screen { terminal: true, colour: true }.good("✓"), "\x1b[32m✓\x1b[0m");
    }
}
