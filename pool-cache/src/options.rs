//! What can be said about one entry when it is inserted.
//!
//! Owns the choice of a time to live and its jitter; must not know the cache. Invariant: jitter only ever shortens, so
//! no entry lives longer than its time to live.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::nanos;
use crate::wheel::NEVER;

/// Time to live, weight and tags of one entry. What is not set comes from the cache's settings.
///
/// ```
/// use pool_cache::{EntryOptions, TtlCache};
/// use std::time::Duration;
///
/// let cache = TtlCache::builder().max_weight(1_000).build()?;
/// let options = EntryOptions::new().ttl(Duration::from_secs(5)).weight(300).tag("users").tags(["orders", "items"]);
/// cache.insert_with("report", vec![1, 2, 3], options);
/// assert_eq!((cache.len(), cache.weight()), (1, 300));
/// assert_eq!(cache.invalidate_tag("orders"), 1);
/// assert!(cache.is_empty());
/// # Ok::<(), pool_cache::SettingError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct EntryOptions {
    ttl: Ttl,
    pub(crate) weight: Option<u64>,
    pub(crate) tags: Tags,
}

/// The tags of one entry; most have none, which costs as much as a null pointer.
#[derive(Clone, Debug, Default)]
#[allow(clippy::box_collection)] // One word in each entry that comes in, and not three.
pub(crate) struct Tags(Option<Box<Vec<Arc<str>>>>);

impl Tags {
    fn add(&mut self, tags: impl IntoIterator<Item = Arc<str>>) {
        let mut tags = tags.into_iter().peekable();
        if tags.peek().is_some() {
            self.0.get_or_insert_default().extend(tags);
        }
    }
}

impl Deref for Tags {
    type Target = [Arc<str>];

    #[inline]
    fn deref(&self) -> &[Arc<str>] {
        self.0.as_ref().map_or(&[], |tags| tags)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ttl {
    #[default]
    FromCache,
    Never,
    After(Duration),
}

impl EntryOptions {
    /// Creates options that leave everything to the cache's settings, without tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the entry may be returned, from the moment it is stored. Zero stores nothing. From 10 seconds on it may end
    /// earlier by the time between two timer interrupts (1 to 10 ms), never later.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Ttl::After(ttl);
        self
    }

    /// Lets the entry live until it is evicted or invalidated, whatever the cache's default.
    pub fn never_expires(mut self) -> Self {
        self.ttl = Ttl::Never;
        self
    }

    /// Sets the weight of the entry, in the unit of `max_weight`. Without it the cache's weigher is asked, or it is 1.
    pub fn weight(mut self, weight: u64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Adds a tag, by which the entry can be invalidated together with others.
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.add([tag.into()]);
        self
    }

    /// Adds several tags.
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.add(tags.into_iter().map(Into::into));
        self
    }

    /// How long the entry may live, before jitter.
    pub(crate) fn time_to_live(&self, default_ttl: u64) -> u64 {
        match self.ttl {
            Ttl::FromCache => default_ttl,
            Ttl::Never => NEVER,
            Ttl::After(ttl) => nanos(ttl),
        }
    }

    /// Finds the moment of expiry. `dice` is any number that differs from entry to entry.
    pub(crate) fn expires_at(&self, now: u64, default_ttl: u64, jitter: f64, dice: u64) -> u64 {
        let ttl = self.time_to_live(default_ttl);
        if ttl == NEVER {
            return NEVER;
        }
        let shortened = if jitter > 0.0 { ttl - (ttl as f64 * jitter * fraction(dice)) as u64 } else { ttl };
        // A positive time to live stays positive.
        now.saturating_add(shortened.max(u64::from(ttl > 0)))
    }
}

/// A number in `[0, 1)` from the mixed bits of `dice` (the finalizer of splitmix64, Steele and others, 2014).
fn fraction(dice: u64) -> f64 {
    let mixed = (dice ^ (dice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_spreads_and_never_lengthens() {
        let options = EntryOptions::new().ttl(Duration::from_nanos(1_000));
        let times: Vec<u64> = (0..1000).map(|dice| options.expires_at(5, NEVER, 0.2, dice)).collect();
        assert!(times.iter().all(|t| (805..=1005).contains(t)));
        assert!(times.iter().filter(|&&t| t < 905).count() > 300);
        assert!(times.iter().filter(|&&t| t >= 905).count() > 300);
    }

    #[test]
    fn ttl_is_own_then_default_then_never() {
        assert_eq!(EntryOptions::new().expires_at(5, 10, 0.0, 1), 15);
        assert_eq!(EntryOptions::new().expires_at(5, NEVER, 0.5, 1), NEVER);
        assert_eq!(EntryOptions::new().never_expires().expires_at(5, 10, 0.5, 1), NEVER);
        assert_eq!(EntryOptions::new().ttl(Duration::from_nanos(3)).expires_at(5, 10, 0.0, 1), 8);
        assert_eq!(EntryOptions::new().ttl(Duration::from_nanos(1)).expires_at(5, 10, 1.0, 99), 6);
        assert_eq!(EntryOptions::new().ttl(Duration::ZERO).expires_at(5, 10, 0.5, 1), 5);
    }
}
