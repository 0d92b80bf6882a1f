//! The known name nearest to a mistyped one.
//!
//! Owns the distance and when a name is near enough to be worth suggesting; it must not know who asks.
//! Invariant: the work is bounded however long the mistyped name is.

use crate::key::{Key, Spelling};

/// Names longer than this are no typos.
const LONGEST: usize = 64;

/// Parts of names shorter than this say too little.
const SHORTEST_PART: usize = 5;

/// Returns the key whose name is near enough to `name` that it was probably meant, in the spelling that is nearer.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let folded = folded(name);
    if folded.is_empty() || folded.len() > LONGEST {
        return None;
    }
    // A part of exactly one name was cut short rather than mistyped.
    let text: String = folded.iter().collect();
    let whole = |key: &&Key| self::folded(key.name()).into_iter().collect::<String>().contains(&text);
    let mut holders = Key::ALL.iter().filter(whole);
    let only = holders.next().filter(|_| holders.next().is_none() && folded.len() >= SHORTEST_PART);
    // Comparing without case, `_` and `-` finds `MAX-CONNECTIONS` as well as `maxconections`.
    let (far, key) =
        Key::ALL.iter().map(|key| (distance(&folded, &self::folded(key.name())), *key)).min_by_key(|(far, _)| *far)?;
    let written_camel = name.chars().any(|c| c.is_ascii_uppercase()) && !name.contains(['_', '-']);
    let snake_only = !name.chars().any(|c| c.is_ascii_lowercase());
    let spelling = if written_camel && !snake_only { Spelling::Camel } else { Spelling::Snake };
    only.copied().or((far * 3 <= folded.len()).then_some(key)).map(|key| key.spelled(spelling))
}

/// Words a suggestion as the end of an error text; empty when nothing is near.
pub(crate) fn hint(name: &str) -> String {
    nearest(name).map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

fn folded(name: &str) -> Vec<char> {
    name.chars().take(LONGEST * 2).filter(|c| *c != '_' && *c != '-').map(|c| c.to_ascii_lowercase()).collect()
}

/// Counts the insertions, deletions, replacements and swaps of neighbours that turn one name into the other
/// (the optimal string alignment distance).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_the_key_that_was_meant() {
        for (typo, meant) in [
            ("max_connection", "max_connections"),
            ("maxConections", "maxConnections"),
            ("MAX_CONNECTIONS", "max_connections"),
            ("max-connections", "max_connections"),
            ("maxconnections", "max_connections"),
            ("acquire_timout", "acquire_timeout"),
            ("aqcuireTimeout", "acquireTimeout"),
            ("query_cache", "enable_query_cache"),
            ("mmap_sizes", "mmap_size"),
        ] {
            assert_eq!(nearest(typo), Some(meant), "{typo}");
        }
    }

    #[test]
    fn names_far_from_every_key_suggest_nothing() {
        for name in ["", "_", "colour", "password", "a", &"max_connections".repeat(1_000)] {
            assert_eq!(nearest(name), None, "{name}");
        }
    }

    #[test]
    fn swapped_neighbours_count_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }
}
