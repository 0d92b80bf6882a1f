//! The key of a statement: its SQL text and a hash of it.
//!
//! Owns the hash function, which is `const` so that the key of a text known at compile time costs nothing at run time.
//! Must not know what a statement is. Invariant: equal texts have equal hashes, however the key was made.

use std::num::NonZeroUsize;

/// Names a statement by its SQL text.
///
/// White space around the text does not count: `" SELECT 1 "` and `"SELECT 1"` are one key.
///
/// ```
/// use pool_stmt::{StatementKey, statement};
///
/// const BY_ID: StatementKey<'static> = statement!("SELECT name FROM person WHERE id = ?1");
/// assert_eq!(BY_ID, StatementKey::new("  SELECT name FROM person WHERE id = ?1 "));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StatementKey<'a> {
    text: &'a str,
    hash: u64,
    /// Whether the text stays where it is for ever, so that its address names it.
    fixed: bool,
}

/// Makes a [`StatementKey`] of a text known at compile time, by which a statement is found without a look at its text.
///
/// Its hash is computed by the compiler. A cache that has met the key before tells it by the address of its text.
///
/// ```
/// let key = pool_stmt::statement!("SELECT 1");
/// assert_eq!(key.text(), "SELECT 1");
/// ```
#[macro_export]
macro_rules! statement {
    ($text:expr) => {
        const { $crate::StatementKey::fixed($text) }
    };
}

impl<'a> StatementKey<'a> {
    /// Makes the key of a text.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        let text = text.trim_ascii();
        Self { text, hash: hash(text.as_bytes()), fixed: false }
    }

    /// Makes the key of a text that is never freed; see [`statement!`](crate::statement).
    #[must_use]
    pub const fn fixed(text: &'static str) -> StatementKey<'static> {
        let StatementKey { text, hash, .. } = StatementKey::new(text);
        StatementKey { text, hash, fixed: true }
    }

    /// Returns the address of a text that is never freed, which no other text can have; `None` when it may be freed.
    #[inline]
    pub(crate) fn address(&self) -> Option<NonZeroUsize> {
        if self.fixed { NonZeroUsize::new(self.text.as_ptr().addr()) } else { None }
    }

    /// Returns the text, without white space around it.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the hash of the text.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}

impl<'a> From<&'a str> for StatementKey<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text)
    }
}

impl<'a> From<&'a String> for StatementKey<'a> {
    fn from(text: &'a String) -> Self {
        Self::new(text)
    }
}

impl PartialEq for StatementKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for StatementKey<'_> {}

/// Mixes sixteen bytes at a time by a 64 x 64 -> 128 bit multiplication whose halves are folded.
///
/// It has no secret: whoever can choose SQL texts can make them collide, which costs a comparison with each of the
/// at most `capacity` statements of one connection and nothing else.
pub(crate) const fn hash(bytes: &[u8]) -> u64 {
    let mut state = STEP ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((sixteen, tail)) = rest.split_first_chunk::<16>() {
        // The last sixteen are taken with an overlap below.
        if tail.is_empty() {
            break;
        }
        state = mix(state, sixteen);
        rest = tail;
    }
    let last = match (bytes.last_chunk::<16>(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(sixteen), ..) => *sixteen,
        (None, Some(first), Some(last)) => join(*first, *last),
        _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some([a, b, c, d]), Some([e, f, g, h])) => join([*a, *b, *c, *d, *e, *f, *g, *h], [0; 8]),
            _ => {
                let mut few = [0; 8];
                let mut at = 0;
                while at < bytes.len() {
                    few[at] = bytes[at];
                    at += 1;
                }
                join(few, [0; 8])
            }
        },
    };
    fold(mix(state, &last) ^ STEP, END)
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const END: u64 = 0xD6E8_FEB8_6659_FD93;

const fn mix(state: u64, sixteen: &[u8; 16]) -> u64 {
    let both = u128::from_le_bytes(*sixteen);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of it")]
    let (low, high) = (both as u64, (both >> 64) as u64);
    // A rotation keeps the state when the product is zero.
    fold(low ^ state, high ^ END) ^ state.rotate_left(23)
}

const fn join(first: [u8; 8], last: [u8; 8]) -> [u8; 16] {
    (u64::from_le_bytes(first) as u128 | (u64::from_le_bytes(last) as u128) << 64).to_le_bytes()
}

pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_one_byte_or_in_length_differ_in_hash() {
        let mut seen = std::collections::HashSet::new();
        let base = "SELECT a, b FROM t WHERE id = ?1 AND name LIKE 'x%'";
        for end in 0..=base.len() {
            assert!(seen.insert(hash(&base.as_bytes()[..end])));
        }
        for at in 0..base.len() {
            let mut changed = base.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(seen.insert(hash(&changed)));
        }
    }

    #[test]
    fn hashes_of_numbered_texts_spread_over_the_low_bits() {
        let mut buckets = [0_u32; 128];
        for n in 0..12_800 {
            buckets[(hash(format!("SELECT {n}").as_bytes()) & 127) as usize] += 1;
        }
        assert!(buckets.iter().all(|&hits| (50..200).contains(&hits)), "{buckets:?}");
    }
}
