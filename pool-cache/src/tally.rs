//! What happened in one shard, and why entries left it.
//!
//! Owns the counts of insertions and departures and the rule that names a reason; must not know locks or entries. Invariant: what had
//! expired when it left has left because of that, whatever the call was about.

use crate::removal::RemovalReason;

/// What happened in one shard; written under its lock.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) insertions: u64,
    pub(crate) rejections: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    pub(crate) replacements: u64,
    pub(crate) invalidations: u64,
}

impl Tally {
    pub(crate) fn left(&mut self, reason: RemovalReason) {
        *match reason {
            RemovalReason::Expired => &mut self.expirations,
            RemovalReason::Evicted => &mut self.evictions,
            RemovalReason::Replaced => &mut self.replacements,
            RemovalReason::Invalidated => &mut self.invalidations,
        } += 1;
    }
}

/// When and why an entry left; what had expired by then has left for that reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) why: RemovalReason,
    pub(crate) now: u64,
}

impl Left {
    pub(crate) fn reason(self, expires_at: u64) -> RemovalReason {
        if expires_at <= self.now { RemovalReason::Expired } else { self.why }
    }
}
