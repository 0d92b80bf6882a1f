//! A share in what is heard on a connection.
//!
//! Owns nothing; lets code that has no access to the connection, such as a hook into SQLite, look at what its statements touch. Must not
//! take anything away: that is the connection's to do.

use super::recorder::Heard;
use crate::facts::Accesses;
use std::sync::Arc;

/// Shows what was prepared and handed out on a connection since its accesses were taken last; from
/// [`StatementConnection::overheard`](super::StatementConnection::overheard).
///
/// Outlives the connection; nothing more is heard then.
#[derive(Debug, Clone)]
pub struct Overheard(Arc<Heard>);

impl Overheard {
    pub(super) fn new(heard: Arc<Heard>) -> Self {
        Self(heard)
    }

    /// Shows, part by part, what [`take_accesses`](super::StatementConnection::take_accesses) would return now.
    ///
    /// Nothing is taken: the next call shows it again. `look` must not use the connection.
    pub fn look(&self, look: impl FnMut(&Accesses)) {
        self.0.look(look);
    }
}
