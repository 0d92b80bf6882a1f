//! Chance in how long results are kept, so that what was stored together is not computed anew together.
//!
//! Owns the dice. The cache below has jitter, too, but fixed when it is made; this one follows the settings.
//! Invariant: a time is only ever shortened, and a positive one stays positive.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The golden ratio's bits, by which the state of splitmix64 grows (Steele, Lea and Flood 2014).
const GROWTH: u64 = 0x9E37_79B9_7F4A_7C15;

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    // One for each thread: cached calls throw on every hit, and must not meet there.
    static DICE: Cell<u64> = Cell::new(mix(THREADS.fetch_add(GROWTH, Ordering::Relaxed)));
}

/// Shortens a time by up to a share of it, 0 to 1.
#[inline]
pub(crate) fn shorten(time: Duration, share: f64) -> Duration {
    if share <= 0.0 {
        return time;
    }
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let less = (nanos as f64 * share.min(1.0) * throw()) as u64;
    Duration::from_nanos(nanos.saturating_sub(less).max(u64::from(nanos > 0)))
}

/// A number in `[0, 1)`.
fn throw() -> f64 {
    let state = DICE.get().wrapping_add(GROWTH);
    DICE.set(state);
    (mix(state) >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_the_share_and_never_lengthened() {
        let second = Duration::from_secs(1);
        assert_eq!(shorten(second, 0.0), second);
        assert_eq!(shorten(Duration::ZERO, 0.5), Duration::ZERO);
        let times: Vec<_> = (0..1_000).map(|_| shorten(second, 0.2)).collect();
        let (low, middle) = (Duration::from_millis(800), Duration::from_millis(900));
        assert!(times.iter().all(|time| (low..=second).contains(time)));
        assert!(times.iter().filter(|time| **time < middle).count() > 300);
        assert!(times.iter().filter(|time| **time >= middle).count() > 300);
        assert!((0..1_000).all(|_| !shorten(Duration::from_nanos(2), 1.0).is_zero()));
    }
}
