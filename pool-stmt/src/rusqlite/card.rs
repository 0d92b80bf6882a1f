//! What is remembered of one prepared statement of one connection.
//!
//! Owns the link from a prepared statement to its facts and its counts. Must not know the connection.
//! Invariant: what is counted here is handed on in bundles, so that connections do not contend for the shared counts, and nothing
//! is lost when the statement goes.

use super::lodging::Resident;
use crate::facts::{Facts, StatementKind};
use crate::known::KnownStatement;
use crate::membership::{Counters, StatementEvent};
use crate::registry::StatementRegistry;
use rusqlite::{Statement, StatementStatus};
use std::sync::Arc;

/// After how many uses what was counted is told at the latest.
const BUNDLE: u32 = 32;

/// So many preparations by SQLite itself, for every other run at least, are not for changes of the schema.
const MANY: u64 = 4;

/// What is remembered of one prepared statement.
#[derive(Debug)]
pub(super) struct Card {
    facts: Arc<Facts>,
    known: Arc<KnownStatement>,
    counters: Arc<Counters>,
    /// Whether a change of the schema can change it.
    pub(super) has_tables: bool,
    pub(super) has_parameters: bool,
    /// Whether `sqlite3_clear_bindings` costs a preparation: SQLite prepares a statement again whose plan may depend on a parameter,
    /// which that call takes for changed whatever it was. Unbinding one parameter expires the statement only if it really can
    /// change the plan, which most can't.
    pub(super) expires_when_cleared: bool,
    /// The epoch of the connection's schema in which it was prepared.
    pub(super) epoch: u64,
    /// The latest observation in which it is listed; 0 for none.
    pub(super) observation: u64,
    /// Uses not told yet.
    uses: u32,
    /// After how many of them they are told next.
    bundle: u32,
}

impl Card {
    pub(super) fn new(facts: Arc<Facts>, known: Arc<KnownStatement>, counters: &Arc<Counters>, epoch: u64) -> Self {
        Self {
            has_tables: facts.accesses.touches_tables(),
            has_parameters: !facts.parameters.is_empty(),
            expires_when_cleared: false,
            facts,
            known,
            counters: Arc::clone(counters),
            epoch,
            observation: 0,
            uses: 0,
            bundle: 1,
        }
    }

    #[inline]
    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    pub(super) fn known(&self) -> &KnownStatement {
        &self.known
    }

    /// Tells whether it makes sense to keep it: what changes the schema would have to be prepared again in any case, and what found
    /// nothing to change (`IF NOT EXISTS`) names no table by which it could be told that there is something now.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.facts.kind != StatementKind::Schema && !self.facts.accesses.changes_schema
    }

    /// Counts a use; returns whether it is time to [tell](Self::tell).
    #[inline]
    pub(super) const fn count_use(&mut self) -> bool {
        self.uses += 1;
        self.uses >= self.bundle
    }

    /// Tells what was counted since the last time, here and by SQLite.
    #[cold]
    pub(super) fn tell(&mut self, statement: &Statement<'_>, registry: &StatementRegistry) {
        self.bundle = (self.bundle * 2).min(BUNDLE);
        let uses = u64::from(self.uses);
        self.hand_on(statement);
        registry.used(&self.known, uses);
    }

    fn hand_on(&mut self, statement: &Statement<'_>) {
        self.known.count(StatementEvent::Hit, u64::from(std::mem::take(&mut self.uses)));
        let statuses = [
            (StatementStatus::Run, StatementEvent::Run),
            (StatementStatus::VmStep, StatementEvent::Step),
            (StatementStatus::FullscanStep, StatementEvent::FullscanStep),
            (StatementStatus::Sort, StatementEvent::Sort),
            (StatementStatus::AutoIndex, StatementEvent::AutoIndexRow),
            (StatementStatus::RePrepare, StatementEvent::Reprepare),
        ];
        let mut runs = 0;
        for (status, event) in statuses {
            // SQLite counts in 32 bits without a sign.
            let times = u64::from(statement.reset_status(status).cast_unsigned());
            match event {
                StatementEvent::Run => runs = times,
                StatementEvent::Reprepare => self.expires_when_cleared |= times >= MANY && times * 2 >= runs,
                _ => {}
            }
            if times > 0 {
                self.known.count(event, times);
                self.counters.count(event, times);
            }
        }
        if self.known.wants_memory() {
            self.known.takes_memory(u64::from(statement.get_status(StatementStatus::MemUsed).cast_unsigned()));
        }
    }
}

impl Resident for Card {
    fn evicted(&mut self) {
        self.known.count(StatementEvent::Evict, 1);
        self.counters.count(StatementEvent::Evict, 1);
    }

    fn leave(&mut self, statement: &Statement<'_>) {
        self.known.add_uses(u64::from(self.uses));
        self.hand_on(statement);
    }
}
