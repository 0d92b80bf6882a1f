//! The key of a statement: its SQL text and a hash of it.
//!
//! Owns the hash function, which is `const` so that the key of a text known at compile time costs nothing at run time.
//! Must not know what a statement is. Invariant: equal texts have equal hashes, however the key was made.

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
}

/// Makes a [`StatementKey`] whose hash is computed at compile time.
///
/// ```
/// let key = pool_stmt::statement!("SELECT 1");
/// assert_eq!(key.text(), "SELECT 1");
/// ```
#[macro_export]
macro_rules! statement {
    ($text:expr) => {
        const { $crate::StatementKey::new($text) }
    };
}

impl<'a> StatementKey<'a> {
    /// Makes the key of a text.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        let text = text.trim_ascii();
        Self { text, hash: hash(text.as_bytes()) }
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

/// Mixes eight bytes at a time by a 64 x 64 -> 128 bit multiplication whose halves are folded.
///
/// It has no secret: whoever can choose SQL texts can make them collide, which costs a comparison with each of the
/// at most `capacity` statements of one connection and nothing else.
const fn hash(bytes: &[u8]) -> u64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = STEP ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((eight, tail)) = rest.split_first_chunk::<8>() {
        state = fold(state ^ u64::from_le_bytes(*eight), STEP);
        rest = tail;
    }
    let mut last = 0;
    let mut at = 0;
    while at < rest.len() {
        last |= (rest[at] as u64) << (8 * at);
        at += 1;
    }
    fold(fold(state ^ last, STEP) ^ STEP, 0xD6E8_FEB8_6659_FD93)
}

const fn fold(a: u64, b: u64) -> u64 {
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
