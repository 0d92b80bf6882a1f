//! Which colour somebody has, on all plots of the page the same; the colours themselves are the style sheet's.
//!
//! Must not know what is plotted.

use crate::standing::base;

/// Competitors by name without their variant, and the class of their colour. Those who meet on a plot differ.
const COLOURS: &[(&str, &str)] = &[
    ("ours", "c-ours"),
    ("raw-rusqlite", "c-1"),
    ("r2d2", "c-2"),
    ("deadpool", "c-3"),
    ("deadpool-sqlite", "c-3"),
    ("tokio-rusqlite", "c-4"),
    ("async-sqlite", "c-5"),
    ("sqlx", "c-6"),
    ("bb8", "c-4"),
    ("mobc", "c-5"),
    ("fast_pool", "c-6"),
    ("quick_cache", "c-1"),
    ("moka", "c-3"),
    ("lru", "c-4"),
    ("optimum", "c-none"),
];

/// The class of somebody's colour.
#[must_use]
pub fn class(competitor: &str) -> &'static str {
    let known = COLOURS.iter().find(|(name, _)| *name == base(competitor));
    known.map_or("c-7", |(_, class)| class)
}

/// The class of somebody's line among these: the first of a name is drawn through, further variants are broken in other ways.
#[must_use]
pub fn stroke(all: &[&str], competitor: &str) -> &'static str {
    let same = all.iter().filter(|other| base(other) == base(competitor));
    match same.take_while(|other| **other != competitor).count() {
        0 => "s-0",
        1 => "s-1",
        2 => "s-2",
        _ => "s-3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_share_a_colour_and_differ_in_their_line() {
        let all = ["ours (async)", "ours (blocking)", "r2d2"];
        assert_eq!(class(all[0]), class(all[1]));
        assert_ne!(stroke(&all, all[0]), stroke(&all, all[1]));
        assert_eq!(stroke(&all, all[2]), "s-0");
        let four = ["raw (a)", "raw (b)", "raw (c)", "raw (d)"];
        assert_eq!(four.map(|name| stroke(&four, name)), ["s-0", "s-1", "s-2", "s-3"]);
        assert_ne!(class("r2d2"), class("ours"));
    }
}
