//! What is remembered of one prepared statement of one connection.
//!
//! Owns the link from a prepared statement to its facts and its use count. Must not know the connection.
//! Invariant: uses are counted here and handed on in bundles, so that connections do not contend for the shared count.

use super::classify;
use super::recorder::Recording;
use crate::facts::{Accesses, Column, Facts, StatementKind};
use crate::registry::{KnownStatement, StatementRegistry};
use rusqlite::Statement;
use std::sync::Arc;

/// After how many uses the shared count is told.
const BUNDLE: u32 = 32;

/// What is remembered of one prepared statement.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) facts: Arc<Facts>,
    pub(super) known: Arc<KnownStatement>,
    /// Whether a change of the schema can change it.
    pub(super) has_tables: bool,
    /// The epoch of the connection's schema in which it was prepared.
    pub(super) epoch: u64,
    /// The latest observation in which it is listed; 0 for none.
    pub(super) observation: u64,
    pub(super) uses: u32,
}

impl Card {
    pub(super) fn is_empty(&self) -> bool {
        self.facts.kind == StatementKind::Empty
    }

    /// Tells whether it makes sense to keep it: what changes the schema would have to be prepared again in any case.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.facts.kind != StatementKind::Empty && !self.facts.accesses.changes_schema
    }

    #[inline]
    pub(super) fn count_use(&mut self, registry: &StatementRegistry) {
        self.uses += 1;
        if self.uses >= BUNDLE {
            self.flush_uses();
            registry.remember(&self.known);
        }
    }

    pub(super) fn flush_uses(&mut self) {
        self.known.used(u64::from(std::mem::take(&mut self.uses)));
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.flush_uses();
    }
}

/// Puts together what is known about a statement.
pub(super) fn facts(
    text: &str,
    statement: &Statement<'_>,
    recording: Recording,
    is_deterministic: impl Fn(&str) -> bool,
) -> Facts {
    let Recording { mut accesses, first_write } = recording;
    let mut kind = classify::kind(text);
    let explains = statement.is_explain() != 0;
    if explains {
        kind = StatementKind::Explain;
        // It shows what would be done and does none of it.
        accesses = Accesses { unknown: true, ..Accesses::default() };
    }
    if kind == StatementKind::Query {
        kind = first_write.unwrap_or(kind);
    }
    // It may renumber the rows of tables and says nothing of what it does.
    accesses.changes_schema |= kind == StatementKind::Vacuum;
    let read_only = explains
        || (matches!(kind, StatementKind::Query | StatementKind::Pragma | StatementKind::Empty)
            && statement.readonly()
            && accesses.tables_written.is_empty()
            && !accesses.changes_schema
            && !accesses.controls_transaction);
    let nondeterministic_functions =
        accesses.functions.iter().filter(|name| !is_deterministic(name)).cloned().collect();
    let parameters = (1..=statement.parameter_count()).map(|at| statement.parameter_name(at).map(Into::into)).collect();
    let columns = statement
        .columns()
        .map(|column| Column { name: column.name().into(), declared_type: column.decl_type().map(Into::into) })
        .collect();
    Facts { kind, read_only, accesses, nondeterministic_functions, parameters, columns }
}
